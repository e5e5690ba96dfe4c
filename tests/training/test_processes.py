"""Runs of several processes, as a user starts them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import write_corpus

from speechssl import ingest
from speechssl.config import ShardConfig, TrainingConfig
from speechssl.errors import ConfigError
from speechssl.training import processes
from speechssl.training.checkpoints import latest_checkpoint, load_checkpoint
from speechssl.training.ranks import is_first_rank
from speechssl.training.run_lock import run_lock
from speechssl.training.run_log import read_log

MODEL = {
    "feature_encoder": {"conv_layers": [[8, 10, 5], [8, 8, 8], [16, 8, 8]]},
    "context": {
        "num_layers": 2, "dim": 16, "ffn_dim": 32, "num_heads": 2, "pos_conv_kernel": 8, "pos_conv_groups": 2
    },
}  # fmt: skip
PRETRAIN: dict[str, Any] = {
    "data": {"num_streams": 2, "max_batch_seconds": 4, "max_seconds": 2},
    "model": MODEL,
    "objective": {
        "quantizer": {"num_entries": 8, "dim": 8},
        "masking": {"time_prob": 0.5, "time_length": 3},
        "final_dim": 8,
        "num_negatives": 5,
    },
    "dropout": {"hidden": 0.1, "layer_drop": 0.0},
    "training": {"max_updates": 6, "checkpoint_every": 3, "log_every": 2, "precision": "fp32", "accelerator": "cpu"},
}


def run(folder: Path, output: str, shards: Path, *options: str) -> subprocess.CompletedProcess[str]:
    config = folder / "pretrain.yaml"
    config.write_text(yaml.safe_dump(PRETRAIN))
    argv = [sys.executable, "-m", "speechssl", "pretrain", "--config", str(config), "--output", str(folder / output)]
    return subprocess.run(
        [*argv, "--data.shards", str(shards), *options], capture_output=True, text=True, timeout=180, check=False
    )


def weights(output: Path) -> dict[str, torch.Tensor]:
    path = latest_checkpoint(output)
    assert path is not None
    return load_checkpoint(path).model_state


def test_two_processes_learn_what_one_does(shards: Path, tmp_path: Path) -> None:
    dev = ("--dev.shards", str(shards), "--dev.max_batch_seconds", "8")
    one = run(tmp_path, "one", shards, *dev)
    two = run(tmp_path, "two", shards, *dev, "--training.devices", "2", "--training.num_threads", "1")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert "2 process(es)" in two.stdout
    assert "Warning" not in two.stderr
    assert "RANK" not in two.stderr
    for a, b in zip(read_log(tmp_path / "one/log.jsonl"), read_log(tmp_path / "two/log.jsonl"), strict=True):
        assert a["update"] == b["update"]
        assert a.keys() == b.keys()
        for name in a.keys() & {"loss", "gradient_norm", "accuracy", "perplexity_0", "padding_share"}:
            assert b[name] == pytest.approx(a[name], rel=1e-4), name
    expected, found = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_run_goes_on_with_another_number_of_processes(shards: Path, tmp_path: Path) -> None:
    options = ("--schedule.decay", "none", "--schedule.warmup", "0")
    straight = run(tmp_path, "straight", shards, *options)
    first = run(tmp_path, "parts", shards, *options, "--training.max_updates", "3")
    rest = run(tmp_path, "parts", shards, *options, "--training.devices", "2")
    assert (straight.returncode, first.returncode, rest.returncode) == (0, 0, 0), rest.stderr
    assert "resuming after update 3" in rest.stdout
    expected, found = weights(tmp_path / "straight"), weights(tmp_path / "parts")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_two_processes_finetune_as_one_does(shards: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "pretrain", shards, "--training.max_updates", "2").returncode == 0
    config = {
        "init": str(tmp_path / "pretrain"),
        "train": {"shards": [str(shards)], "num_streams": 2, "max_batch_seconds": 4},
        "dev": {"shards": [str(shards)], "max_batch_seconds": 8},
        "head": {"num_lstm_layers": 1, "lstm_dim": 8},
        "masking": {"time_prob": 0.3, "time_length": 2, "channel_prob": 0.0},
        "dropout": {"layer_drop": 0.0},
        "freeze_feature_encoder": "never",
        "freeze_context_updates": 2,
        "training": {
            "max_updates": 4,
            "checkpoint_every": 2,
            "log_every": 1,
            "precision": "fp32",
            "accelerator": "cpu",
        },
    }
    path = tmp_path / "finetune.yaml"
    path.write_text(yaml.safe_dump(config))
    for devices in ("1", "2"):
        argv = [sys.executable, "-m", "speechssl", "finetune", "--config", str(path), "--training.devices", devices]
        done = subprocess.run(
            [*argv, "--output", str(tmp_path / devices)], capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stderr
    lines = [read_log(tmp_path / devices / "log.jsonl") for devices in ("1", "2")]
    for a, b in zip(*lines, strict=True):
        name = "loss" if a["kind"] == "train" else "cer"
        assert b[name] == pytest.approx(a[name], rel=1e-4)
    for name, value in weights(tmp_path / "1").items():
        torch.testing.assert_close(weights(tmp_path / "2")[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_feature_encoder_without_gradients_trains_in_two_processes(shards: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "run", shards, "--training.devices", "2", "--objective.feature_grad_scale", "0")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_what_goes_wrong_in_one_process_is_told_once_and_ends_all(tmp_path: Path, strategy: str) -> None:
    manifest = write_corpus(tmp_path / "audio", [16000] * 8)
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards"))
    shard = next((tmp_path / "shards").glob("*.tar"))
    content = bytearray(shard.read_bytes())
    last = content.rindex(b"fLaC")  # the last utterance is in the second process's half
    content[last : last + 4000] = bytes(4000)
    shard.write_bytes(content)
    done = run(tmp_path, "run", tmp_path / "shards", "--training.devices", "2", "--training.strategy", strategy)
    assert done.returncode == 2
    assert done.stderr.count("u007") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--optimizer.learning_rate", "1e30"], 3, "finite"),
        (["--optimizer.learning_rate", "2e-3"], 2, "optimizer.learning_rate was"),
        (["--data.num_streams", "3"], 2, "choose a number of streams"),
    ],
    ids=["not learning", "other configuration", "streams"],
)
def test_what_goes_wrong_in_every_process_is_told_once(
    shards: Path, tmp_path: Path, options: list[str], status: int, message: str
) -> None:
    if message.startswith("optimizer"):
        assert run(tmp_path, "run", shards, "--training.max_updates", "2").returncode == 0
    done = run(tmp_path, "run", shards, "--training.devices", "2", *options)
    assert done.returncode == status
    assert done.stderr.count("speechssl: error:") == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_two_runs_do_not_share_a_folder(shards: Path, tmp_path: Path) -> None:
    with run_lock(tmp_path / "run"):
        done = run(tmp_path, "run", shards)
        assert done.returncode == 2
        assert "another process is training in this folder" in done.stderr
    with run_lock(tmp_path / "run"):
        pass


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "8", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "3"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),
    ],
)
def test_one_rank_speaks_for_the_run(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], first: bool) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_rank() is first


@pytest.mark.parametrize(
    ("cores", "num_streams", "num_nodes", "expected"), [(1, 8, 1, 1), (6, 8, 1, 4), (2, 3, 1, 1), (16, 8, 2, 4)]
)
def test_as_many_processes_as_cores_and_streams_allow(
    monkeypatch: pytest.MonkeyPatch, cores: int, num_streams: int, num_nodes: int, expected: int
) -> None:
    monkeypatch.setattr(processes, "num_cores", lambda: cores)
    config = TrainingConfig(devices="auto", accelerator="cpu", num_nodes=num_nodes)
    assert processes.resolve_devices(config, num_streams) == expected


@pytest.mark.parametrize(
    "environment",
    [
        {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "4"},
        {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "pretrain"},
    ],
    ids=["torchrun", "slurm"],
)
def test_processes_that_are_there_are_not_started_again(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert processes.resolve_devices(TrainingConfig(devices="auto", accelerator="cpu"), 8) == 4
    with pytest.raises(ConfigError, match=r"4 processes were started.*give --training\.devices 4, or auto"):
        processes.resolve_devices(TrainingConfig(accelerator="cpu"), 8)


@pytest.mark.parametrize(
    "environment",
    [
        {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"},
        {"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "pretrain", "SLURM_NNODES": "2"},
    ],
    ids=["torchrun", "slurm"],
)
def test_machines_that_were_not_configured_are_named(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    two = TrainingConfig(devices="auto", num_nodes=2, accelerator="cpu")
    assert processes.resolve_devices(two, 8) == 4
    with pytest.raises(ConfigError, match=r"started on 2 machine\(s\).*num_nodes is 1.*--training\.num_nodes 2"):
        processes.resolve_devices(TrainingConfig(devices="auto", accelerator="cpu"), 8)


def test_impossible_numbers_of_devices_and_threads_are_named() -> None:
    config = TrainingConfig(devices=0, num_nodes=0, num_threads=-1, accelerator="cpu")
    assert [problem.split(",")[0] for problem in processes.training_problems(config)] == [
        "training.devices is 0", "training.num_nodes is 0", "training.num_threads is -1",
    ]  # fmt: skip


def test_the_number_of_threads_is_taken() -> None:
    code = (
        "import torch\nfrom speechssl.config import TrainingConfig\n"
        "from speechssl.training.machine import settle_cpu\n"
        "settle_cpu(TrainingConfig(num_threads=3, accelerator='cpu'))\nprint(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "3"
