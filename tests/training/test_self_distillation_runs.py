"""Self-distillation from end to end: teacher and codebooks move, go on elsewhere, or are refused."""

from pathlib import Path

import pytest
import torch
from objective_runs import TASKS, TWO_STREAMS, straight_run
from small_runs import changed, command, newest, newest_weights, refused, train

from speechssl.training.checkpoints import load_checkpoint

OBJECTIVE = {key: TASKS["self_distillation"]["objective"][key] for key in ("name", "teacher", "masking")}
REGRESSION = {**TWO_STREAMS, "objective": OBJECTIVE}


@pytest.fixture
def one(shards: Path) -> Path:
    """A run of one process."""
    return straight_run("self_distillation", shards)


def test_teacher_and_codebooks_have_moved(one: Path) -> None:
    weights = newest_weights(one)
    assert not torch.equal(weights["codebooks.counts"], torch.ones(2, 7))
    own, teacher = (weights[f"{whose}.blocks.1.ffn_out.weight"] for whose in ("encoder.context", "teacher.context"))
    assert not torch.equal(own, teacher)
    torch.testing.assert_close(own, teacher, rtol=0, atol=0.02)


def test_a_run_goes_on_elsewhere_with_its_teacher(shards: Path, one: Path, tmp_path: Path) -> None:
    config = changed(REGRESSION, objective={"teacher": {"decay_start": 1.0, "decay_end": 1.0, "ramp_updates": 0}})
    options = ("--init", str(one), "--training.max_updates", "1")
    text = train(command("pretrain", config, tmp_path / "run", shards, *options))
    assert "fitting" not in text
    resolved = load_checkpoint(newest(tmp_path / "run")).config["objective"]
    assert (resolved["targets"], resolved["anchor"]["weight"]) == ("codebook", 0.5)
    first, found = newest_weights(one), newest_weights(tmp_path / "run")
    kept = [name for name in first if name.startswith("teacher.context.blocks.")]
    assert kept
    assert all(torch.equal(found[name], first[name]) for name in kept)


def test_other_targets_than_those_of_init_are_refused(shards: Path, one: Path, tmp_path: Path) -> None:
    config = changed(REGRESSION, objective={"targets": "codebook", "codebook": {"num_entries": 9}})
    assert "objective.codebook.num_entries is 9, and 7 in the run of --init" in refused(
        command("pretrain", config, tmp_path / "run", shards, "--init", str(one))
    )
