"""The promise of the streams: any number of processes and workers, killed at any moment, gives the same model."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import write_corpus

from speechssl.data.listing import REPORT_FILE, UNFINISHED
from speechssl.training.checkpoints import latest_checkpoint, load_checkpoint
from speechssl.training.run_log import read_log

CONFIG: dict[str, Any] = {
    "data": {"num_streams": 6, "max_batch_seconds": 2, "max_seconds": 1},
    "model": {
        "feature_encoder": {"conv_layers": [[8, 10, 5], [8, 8, 8], [16, 8, 8]]},
        "context": {
            "num_layers": 1, "dim": 16, "ffn_dim": 32, "num_heads": 2, "pos_conv_kernel": 8, "pos_conv_groups": 2
        },
    },
    "objective": {
        "quantizer": {"num_entries": 8, "dim": 8},
        "masking": {"time_prob": 0.5, "time_length": 3},
        "final_dim": 8,
        "num_negatives": 5,
    },
    "dropout": {"hidden": 0.1, "layer_drop": 0.0},
    "augmentation": {"noise": {"prob": 0.5}, "speed": {"prob": 0.5}},
    "training": {
        "max_updates": 12, "checkpoint_every": 3, "log_every": 1, "precision": "fp32", "accelerator": "cpu",
        "num_threads": 1,
    },
}  # fmt: skip


def command(folder: Path, output: str, shards: Path, *options: str) -> list[str]:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    argv = [sys.executable, "-m", "speechssl", "pretrain", "--config", str(path), "--output", str(folder / output)]
    return [*argv, "--data.shards", str(shards), *options]


def finish(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def weights(run: Path) -> dict[str, torch.Tensor]:
    path = latest_checkpoint(run)
    assert path is not None
    return load_checkpoint(path).model_state


def losses(run: Path) -> list[tuple[int, float]]:
    return [(line["update"], line["loss"]) for line in read_log(run / "log.jsonl")]


def kill_until_done(argv: list[str], progress: Callable[[], int], num_kills: int, draws: random.Random) -> None:
    """Start a command again and again, and kill it a drawn time after it has got further; then let it finish."""
    killed = 0
    for _ in range(num_kills):
        before = progress()
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 60
        while progress() == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(draws.uniform(0, 0.1))
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert killed > num_kills / 2, "it ended before it could be killed: give it more to do"
    finish(argv)


def check_killed_training(shards: Path, tmp_path: Path, num_kills: int) -> None:
    options = ("--training.max_updates", str(40 * (num_kills + 1)), "--training.checkpoint_every", "5")
    finish(command(tmp_path, "straight", shards, *options))
    log = tmp_path / "killed" / "log.jsonl"

    def progress() -> int:
        return log.read_bytes().count(b"\n") if log.is_file() else 0

    kill_until_done(command(tmp_path, "killed", shards, *options), progress, num_kills, random.Random(0))
    assert losses(tmp_path / "killed") == losses(tmp_path / "straight")
    expected, found = weights(tmp_path / "straight"), weights(tmp_path / "killed")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_killed_run_ends_bit_equal(shards: Path, tmp_path: Path) -> None:
    check_killed_training(shards, tmp_path, 1)


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_bit_equal(shards: Path, tmp_path: Path) -> None:
    check_killed_training(shards, tmp_path, 20)


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
    argv = [sys.executable, "-m", "speechssl", "shard", str(manifest)]
    options = ["--max_shard_megabytes", "0.1", "--num_workers", "2"]
    finish([*argv, str(tmp_path / "straight"), *options])
    work = tmp_path / "killed" / UNFINISHED

    def progress() -> int:
        return len(list(work.glob("*.outcome.json"))) + (work / "scan.jsonl").is_file()

    kill_until_done([*argv, str(tmp_path / "killed"), *options], progress, num_kills, random.Random(1))
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
            options = ("--training.devices", str(devices), "--data.num_workers", str(workers))
            finish(command(tmp_path, name, shards, *options))
            runs.append(losses(tmp_path / name))
    for run in runs[1:]:
        assert [update for update, _ in run] == [update for update, _ in runs[0]]
        assert [loss for _, loss in run] == pytest.approx([loss for _, loss in runs[0]], rel=1e-5)
