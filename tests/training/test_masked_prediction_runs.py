"""Masked prediction from end to end: where its units come from, who keeps them, and what is refused."""

import shutil
from pathlib import Path

import pytest
import torch
from forked_ranks import run_ranks
from objective_runs import TASKS, UNITS, straight_run
from small_runs import (
    PRETRAIN,
    changed,
    check_same_learning,
    command,
    newest,
    newest_weights,
    refused,
    shards_of_which_the_second_rank_fails,
    train,
)

from speechssl.training.checkpoints import load_checkpoint

CONFIG = TASKS["masked_prediction"]


@pytest.fixture
def one(shards: Path) -> Path:
    """A run of one process."""
    return straight_run("masked_prediction", shards)


def units_of(run: Path) -> dict[str, torch.Tensor]:
    return {name: value for name, value in newest_weights(run).items() if name.startswith("units.")}


def test_units_of_a_layer_of_an_earlier_run_are_all_that_a_run_needs_of_it(
    shards: Path, one: Path, tmp_path: Path
) -> None:
    layer = {"features": "layer", "checkpoint": str(shutil.copytree(one, tmp_path / "teacher")), "layer": 2}
    config = changed(CONFIG, objective={"units": UNITS | layer})
    argv = command("pretrain", config, tmp_path / "run", shards)
    train([*argv, "--training.max_updates", "3"])
    shutil.rmtree(tmp_path / "teacher")
    assert "resuming after update 3" in train(argv)
    train(command("pretrain", config, tmp_path / "further", shards, "--init", str(tmp_path / "run")))
    teacher = {
        name.removeprefix("units.features."): value
        for name, value in units_of(tmp_path / "run").items()
        if name.startswith("units.features.")
    }
    first = newest_weights(one)
    assert teacher.keys() == {name for name in first if name.startswith("encoder.")}
    assert all(torch.equal(value, first[name]) for name, value in teacher.items())


def test_units_of_cepstra_are_the_same_on_two_processes(shards: Path, tmp_path: Path) -> None:
    config = changed(CONFIG, objective={"units": {"features": "mfcc", "num_entries": [4], "dim": 0}})
    for name, ranks in (("one", 1), ("two", 2)):
        train(command("pretrain", config, tmp_path / name, shards, "--training.max_updates", "2"), ranks=ranks)
    check_same_learning(tmp_path / "one", tmp_path / "two")
    assert units_of(tmp_path / "one")["units.codebook_0"].shape == (4, 39)


def test_a_layer_that_is_not_there_is_named(shards: Path, one: Path, tmp_path: Path) -> None:
    config = changed(CONFIG, objective={"units": {"features": "layer", "checkpoint": str(one), "layer": 3}})
    assert "objective.units.layer is 3" in refused(command("pretrain", config, tmp_path / "run", shards))
    config = changed(CONFIG, objective={"units": {"features": "layer"}})
    assert "give --objective.units.checkpoint RUN and --objective.units.layer" in refused(
        command("pretrain", config, tmp_path / "run", shards)
    )


def test_a_run_goes_on_elsewhere_with_its_units(shards: Path, one: Path, tmp_path: Path) -> None:
    text = train(command("pretrain", CONFIG, tmp_path / "run", shards, "--init", str(one)))
    assert "fitting" not in text
    found = units_of(tmp_path / "run")
    assert all(torch.equal(value, found[name]) for name, value in units_of(one).items())


def test_another_task_does_not_go_on_from_it(shards: Path, one: Path, tmp_path: Path) -> None:
    assert "was pretrained by masked_prediction, and objective.name is contrastive" in refused(
        command("pretrain", PRETRAIN, tmp_path / "run", shards, "--init", str(one))
    )


def test_its_encoder_is_fine_tuned_and_exported(shards: Path, one: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the transformers package (speechssl[interop])")
    ended = run_ranks(["export", str(one), str(tmp_path / "hf"), "--to", "huggingface"], 1)
    assert ended.statuses == [0], ended.text
    assert "other frameworks have no masked_prediction" in ended.text
    assert load_checkpoint(newest(one)).config["objective"]["name"] == "masked_prediction"


def test_other_units_than_those_of_init_are_refused(shards: Path, one: Path, tmp_path: Path) -> None:
    config = changed(CONFIG, objective={"units": {"num_entries": [4], "dim": 6}})
    assert "objective.units.num_entries is [4], and [3, 5] in the run of --init" in refused(
        command("pretrain", config, tmp_path / "run", shards, "--init", str(one))
    )


def test_units_are_fitted_around_damaged_samples_that_a_run_admits(tmp_path: Path) -> None:
    damaged = shards_of_which_the_second_rank_fails(tmp_path)
    text = train(command("pretrain", CONFIG, tmp_path / "run", damaged, "--data.max_bad_share", "0.2"))
    assert "trained for 6 updates" in text


def test_held_out_audio_in_which_nothing_is_masked_has_scores(shards: Path, tmp_path: Path) -> None:
    masking = {"time_prob": 0.001, "time_length": 3, "min_time_spans": 0}
    config = changed(CONFIG, objective={"masking": masking}, dev={})
    train(command("pretrain", config, tmp_path / "run", shards))
    assert load_checkpoint(newest(tmp_path / "run")).metrics["masked_share"] < 0.01
