"""Two views from end to end: negatives of all streams, and what goes on elsewhere."""

from pathlib import Path

import pytest
import torch
from objective_runs import straight_run
from small_runs import PRETRAIN, changed, command, newest_weights, train

from speechssl.embedder import load_encoder
from speechssl.training.run_log import read_log


@pytest.fixture
def one(shards: Path) -> Path:
    """A run of one process."""
    return straight_run("two_view", shards)


def test_views_are_told_from_those_of_all_streams(one: Path) -> None:
    line = next(line for line in read_log(one / "log.jsonl") if line["kind"] == "train")
    # A micro-batch has at most three pairs; an update has more than one micro-batch's.
    assert line["chance"] < 1 / 5


def test_a_run_goes_on_elsewhere_with_its_projection(shards: Path, one: Path, tmp_path: Path) -> None:
    config = changed(PRETRAIN, objective={"name": "two_view"}, data={"max_seconds": 0.4})
    config["objective"] = {"name": "two_view"}
    train(command("pretrain", config, tmp_path / "run", shards, "--init", str(one), "--training.max_updates", "1"))
    found = newest_weights(tmp_path / "run")
    assert found["projection.0.weight"].shape == newest_weights(one)["projection.0.weight"].shape == (9, 32)


def test_its_pooled_context_is_reached_from_python(one: Path) -> None:
    context = load_encoder(one, "cpu").embed(0.1 * torch.randn(16_000).numpy(), 16_000, layers=["context"])["context"]
    assert torch.cat([context.mean(0), context.std(0)]).shape == (32,)
