"""What every pretext task promises of its runs: the same on any number of processes, and when they are resumed."""

from pathlib import Path

import pytest
import torch
from objective_runs import TASKS, straight_run
from small_runs import check_same_learning, command, losses, newest_weights, train

EACH = pytest.mark.parametrize("task", TASKS)
SPREAD = pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
REGRESSION = ["--objective.targets", "regression", "--objective.anchor.weight", "0"]
SKIPPED_BLOCKS = ["--dropout.layer_drop", "0.6"]
BF16 = ["--training.precision", "bf16"]


def fitted(text: str) -> int:
    """How often units were fitted."""
    return text.count("fitting 3 and 5 units")


@SPREAD
@EACH
def test_two_processes_learn_what_one_does(shards: Path, tmp_path: Path, task: str, strategy: str) -> None:
    text = train(command("pretrain", TASKS[task], tmp_path / "two", shards), ranks=2, strategy=strategy)
    assert text.count("2 process(es)") == 1
    assert fitted(text) == ("units" in str(TASKS[task]))
    check_same_learning(straight_run(task, shards), tmp_path / "two")


@EACH
def test_a_resumed_run_ends_bit_equal(shards: Path, tmp_path: Path, task: str) -> None:
    run, straight = tmp_path / "run", straight_run(task, shards)
    train(command("pretrain", TASKS[task], run, shards, "--training.max_updates", "3"))
    text = train(command("pretrain", TASKS[task], run, shards))
    assert "resuming after update 3" in text
    assert fitted(text) == 0
    assert losses(run) == losses(straight)
    found = newest_weights(run)
    for name, value in newest_weights(straight).items():
        assert torch.equal(found[name], value), name


@pytest.mark.slow
@SPREAD
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("self_distillation", REGRESSION),
        ("self_distillation", [*REGRESSION, *SKIPPED_BLOCKS]),
        ("self_distillation", [*REGRESSION, *BF16]),
        ("self_distillation", [*REGRESSION, "--augmentation.noise.prob", "0.5"]),
        ("two_view", SKIPPED_BLOCKS),
        ("two_view", BF16),
        ("two_view", ["--data.num_streams", "2"]),
    ],
    ids=str,
)
def test_runs_are_spread_and_resumed(
    shards: Path, tmp_path: Path, task: str, options: list[str], strategy: str
) -> None:
    train(command("pretrain", TASKS[task], tmp_path / "one", shards, *options))
    for updates in ("3", "6"):
        argv = command("pretrain", TASKS[task], tmp_path / "two", shards, *options, "--training.max_updates", updates)
        train(argv, ranks=2, strategy=strategy)
    check_same_learning(tmp_path / "one", tmp_path / "two")
