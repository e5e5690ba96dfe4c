"""The promise of the streams: any number of processes and workers, killed at any moment, gives the same model."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import write_corpus
from killing import Forked, finish_as_user, kill_often, start_as_user
from small_runs import PRETRAIN, changed, command, losses, newest_weights, spread, train

from speechssl.shards.listing import REPORT_FILE, UNFINISHED
from speechssl.training.checkpoints import latest_checkpoint

CONFIG = changed(
    PRETRAIN,
    data={"num_streams": 6, "max_batch_seconds": 2, "max_seconds": 1},
    augmentation={"noise": {"prob": 0.5}, "speed": {"prob": 0.5}},
    training={"max_updates": 12},
)


def check_killed_training(shards: Path, folder: Path, updates: int, kill: Callable[[list[str]], None]) -> None:
    """A run in ``folder / "killed"`` that ``kill`` starts and kills must end as one that is left alone."""
    options = ("--training.max_updates", str(updates), "--training.checkpoint_every", "5", "--data.num_streams", "2")
    train(command("pretrain", CONFIG, folder / "straight", shards, *options))
    argv = command("pretrain", CONFIG, folder / "killed", shards, *options)
    kill(argv)
    assert "resuming after update" in train(argv)
    assert losses(folder / "killed") == losses(folder / "straight")
    expected, found = newest_weights(folder / "straight"), newest_weights(folder / "killed")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_killed_run_ends_bit_equal(shards: Path, tmp_path: Path) -> None:
    def kill(argv: list[str]) -> None:
        def start() -> Forked:
            return Forked(argv, tmp_path / "printed.txt")

        kill_often(start, lambda: latest_checkpoint(tmp_path / "killed"), 1, random.Random(0))

    check_killed_training(shards, tmp_path, 40, kill)


def has_begun(run: Path) -> bool:
    log = run / "log.jsonl"
    return log.is_file() and log.stat().st_size > 0


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_bit_equal(shards: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    draws = random.Random(0)

    def kill(argv: list[str]) -> None:
        # Once at its beginning, where there may be nothing to go on from; then anywhere between checkpoints.
        kill_often(lambda: start_as_user(argv), lambda: has_begun(killed), 1, draws)
        kill_often(lambda: start_as_user(argv), lambda: latest_checkpoint(killed), 19, draws, most_seconds=0.2)

    check_killed_training(shards, tmp_path, 800, kill)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file but the picture, whose bytes hold no data."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".png"
    }


def check_killed_ingest(tmp_path: Path, num_kills: int) -> None:
    num_recordings = 100 * (num_kills + 1)
    manifest = write_corpus(tmp_path / "audio", [16000 + 16 * i for i in range(num_recordings)])
    argv = ["shard", str(manifest), "--max_shard_megabytes", "0.1", "--num_workers", "2", "--output"]
    finish_as_user([*argv, str(tmp_path / "straight")])
    work = tmp_path / "killed" / UNFINISHED

    def progress() -> int:
        return len(list(work.glob("*.outcome.json"))) + (work / "scan.jsonl").is_file()

    argv = [*argv, str(tmp_path / "killed")]
    kill_often(lambda: start_as_user(argv), progress, num_kills, random.Random(1))
    finish_as_user(argv)
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "straight")
    assert json.loads((tmp_path / "killed" / REPORT_FILE).read_text())["num_samples"] == num_recordings


def test_a_killed_ingest_loses_and_doubles_nothing(tmp_path: Path) -> None:
    check_killed_ingest(tmp_path, 1)


@pytest.mark.slow
def test_an_ingest_killed_twenty_times_loses_and_doubles_nothing(tmp_path: Path) -> None:
    check_killed_ingest(tmp_path, 20)


@pytest.mark.slow
def test_processes_and_workers_change_nothing(shards: Path, tmp_path: Path) -> None:
    runs = []
    for devices in (1, 2, 3):
        for workers in (0, 1, 2):
            name = f"{devices}x{workers}"
            options = [*spread(devices), "--data.num_workers", str(workers)]
            finish_as_user(command("pretrain", CONFIG, tmp_path / name, shards, *options))
            runs.append(losses(tmp_path / name))
    for run in runs[1:]:
        assert [update for update, _ in run] == [update for update, _ in runs[0]]
        assert [loss for _, loss in run] == pytest.approx([loss for _, loss in runs[0]], rel=1e-5)
