"""Self-distillation from end to end: teacher and codebooks move alike on any number of processes, and when resumed."""

from pathlib import Path

import pytest
import torch
from small_runs import (
    CONSTANT,
    PRETRAIN,
    changed,
    check_same_learning,
    command,
    losses,
    newest,
    newest_weights,
    run_as_user,
    train,
)

from speechssl.training.checkpoints import load_checkpoint

OBJECTIVE = {
    "name": "self_distillation",
    "teacher": {"decay_start": 0.5, "decay_end": 0.9, "ramp_updates": 4, "top_layers": 2},
    "masking": {"time_prob": 0.5, "time_length": 3},
}
CODEBOOK = {"targets": "codebook", "codebook": {"num_entries": 7}}
ANCHOR = {"anchor": {"weight": 0.5, "units": {"num_entries": [3, 5], "dim": 6}}}
REGRESSION = changed({**PRETRAIN, "objective": OBJECTIVE}, data={"num_streams": 2}, schedule=CONSTANT)
ANCHORED = changed(REGRESSION, objective={**CODEBOOK, **ANCHOR})


@pytest.fixture(scope="module")
def one(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process."""
    output = tmp_path_factory.mktemp("distilled") / "one"
    train(command("pretrain", ANCHORED, output, shards))
    return output


def test_teacher_and_codebooks_have_moved(one: Path) -> None:
    weights = newest_weights(one)
    assert not torch.equal(weights["codebooks.counts"], torch.ones(2, 7))
    own, teacher = (weights[f"{whose}.blocks.1.ffn_out.weight"] for whose in ("encoder.context", "teacher.context"))
    assert not torch.equal(own, teacher)
    torch.testing.assert_close(own, teacher, rtol=0, atol=0.02)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_does(shards: Path, one: Path, tmp_path: Path, strategy: str) -> None:
    train(command("pretrain", ANCHORED, tmp_path / "two", shards), ranks=2, strategy=strategy)
    check_same_learning(one, tmp_path / "two")


def test_a_resumed_run_ends_bit_equal(shards: Path, one: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(command("pretrain", ANCHORED, run, shards, "--training.max_updates", "3"))
    train(command("pretrain", ANCHORED, run, shards))
    assert losses(run) == losses(one)
    found = newest_weights(run)
    for name, value in newest_weights(one).items():
        assert torch.equal(found[name], value), name


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize(
    "options",
    [[], ["--dropout.layer_drop", "0.6"], ["--training.precision", "bf16"], ["--augmentation.noise.prob", "0.5"]],
    ids=str,
)
def test_regression_is_spread_and_resumed(shards: Path, tmp_path: Path, options: list[str], strategy: str) -> None:
    train(command("pretrain", REGRESSION, tmp_path / "one", shards, *options))
    for updates in ("3", "6"):
        argv = command("pretrain", REGRESSION, tmp_path / "two", shards, *options, "--training.max_updates", updates)
        train(argv, ranks=2, strategy=strategy)
    check_same_learning(tmp_path / "one", tmp_path / "two")


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
    ended = run_as_user(command("pretrain", config, tmp_path / "run", shards, "--init", str(one)))
    assert ended.returncode == 2
    assert "objective.codebook.num_entries is 9, and 7 in the run of --init" in " ".join(ended.stderr.split())
