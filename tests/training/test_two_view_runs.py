"""Two views from end to end: negatives of all streams, the same on any number of processes, and when resumed."""

from pathlib import Path

import pytest
import torch
from small_runs import CONSTANT, PRETRAIN, changed, check_same_learning, command, losses, newest_weights, train

from speechssl.embedder import load_encoder
from speechssl.training.run_log import read_log

OBJECTIVE = {"name": "two_view", "hidden_dim": 9, "final_dim": 5, "temperature": 0.5}
CONFIG = changed(
    {**PRETRAIN, "objective": OBJECTIVE},
    data={"num_streams": 4, "max_batch_seconds": 3, "max_seconds": 0.4},
    augmentation={"noise": {"prob": 0.8}, "speed": {"prob": 0.5}, "gain": {"prob": 0.5}},
    schedule=CONSTANT,
    dev={"max_batch_seconds": 4},
)


@pytest.fixture(scope="module")
def one(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process."""
    output = tmp_path_factory.mktemp("viewed") / "one"
    train(command("pretrain", CONFIG, output, shards))
    return output


def test_views_are_told_from_those_of_all_streams(one: Path) -> None:
    line = next(line for line in read_log(one / "log.jsonl") if line["kind"] == "train")
    # A micro-batch has at most three pairs; an update has more than one micro-batch's.
    assert line["chance"] < 1 / 5


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_does(shards: Path, one: Path, tmp_path: Path, strategy: str) -> None:
    train(command("pretrain", CONFIG, tmp_path / "two", shards), ranks=2, strategy=strategy)
    check_same_learning(one, tmp_path / "two")


def test_a_resumed_run_ends_bit_equal(shards: Path, one: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(command("pretrain", CONFIG, run, shards, "--training.max_updates", "3"))
    train(command("pretrain", CONFIG, run, shards))
    assert losses(run) == losses(one)
    found = newest_weights(run)
    for name, value in newest_weights(one).items():
        assert torch.equal(found[name], value), name


def test_a_run_goes_on_elsewhere_with_its_projection(shards: Path, one: Path, tmp_path: Path) -> None:
    config = changed(PRETRAIN, objective={"name": "two_view"}, data={"max_seconds": 0.4})
    config["objective"] = {"name": "two_view"}
    train(command("pretrain", config, tmp_path / "run", shards, "--init", str(one), "--training.max_updates", "1"))
    found = newest_weights(tmp_path / "run")
    assert found["projection.0.weight"].shape == newest_weights(one)["projection.0.weight"].shape == (9, 32)


def test_its_pooled_context_is_reached_from_python(one: Path) -> None:
    context = load_encoder(one, "cpu").embed(0.1 * torch.randn(16_000).numpy(), 16_000, layers=["context"])["context"]
    assert torch.cat([context.mean(0), context.std(0)]).shape == (32,)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize(
    "options", [["--dropout.layer_drop", "0.6"], ["--training.precision", "bf16"], ["--data.num_streams", "2"]], ids=str
)
def test_runs_are_spread_and_resumed(shards: Path, tmp_path: Path, options: list[str], strategy: str) -> None:
    train(command("pretrain", CONFIG, tmp_path / "one", shards, *options))
    for updates in ("3", "6"):
        argv = command("pretrain", CONFIG, tmp_path / "two", shards, *options, "--training.max_updates", updates)
        train(argv, ranks=2, strategy=strategy)
    check_same_learning(tmp_path / "one", tmp_path / "two")
