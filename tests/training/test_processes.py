"""Runs of several processes, as a user starts them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import write_corpus

from speechssl.config import ShardConfig, TrainingConfig
from speechssl.data import sharding
from speechssl.errors import ConfigError
from speechssl.training import machine
from speechssl.training.checkpoints import latest_checkpoint, load_checkpoint
from speechssl.training.claim import claimed
from speechssl.training.run_log import read_log

MODEL = {
    "feature_encoder": {"conv_layers": [[8, 10, 5], [8, 8, 8], [16, 8, 8]]},
    "context": {
        "num_layers": 2, "dim": 16, "ffn_dim": 32, "num_heads": 2, "pos_conv_kernel": 8, "pos_conv_groups": 2
    },
}  # fmt: skip
PRETRAIN = {
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
    one = run(tmp_path, "one", shards)
    two = run(tmp_path, "two", shards, "--training.devices", "2", "--training.cpu_threads", "1")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert "2 process(es)" in two.stdout
    assert "Warning" not in two.stderr
    assert "RANK" not in two.stderr
    for a, b in zip(read_log(tmp_path / "one/log.jsonl"), read_log(tmp_path / "two/log.jsonl"), strict=True):
        assert a["update"] == b["update"]
        for name in ("loss", "gradient_norm", "accuracy", "perplexity_0", "padding_share"):
            assert b[name] == pytest.approx(a[name], rel=1e-4), name
    expected, found = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_run_goes_on_with_another_number_of_processes(shards: Path, tmp_path: Path) -> None:
    straight = run(tmp_path, "straight", shards)
    first = run(tmp_path, "parts", shards, "--training.max_updates", "3", "--schedule.decay", "none")
    assert (straight.returncode, first.returncode) == (0, 0)
    rest = run(tmp_path, "parts", shards, "--training.devices", "auto", "--schedule.decay", "none")
    assert rest.returncode == 0, rest.stderr
    assert "resuming after update 3" in rest.stdout
    assert read_log(tmp_path / "parts/log.jsonl")[-1]["update"] == 6


def test_what_goes_wrong_in_one_process_is_told_once_and_ends_all(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [16000] * 8)
    sharding.run(ShardConfig(manifest=manifest, output=tmp_path / "shards"))
    shard = next((tmp_path / "shards").glob("*.tar"))
    content = bytearray(shard.read_bytes())
    last = content.rindex(b"fLaC")  # the last utterance is in the second process's half
    content[last : last + 4000] = bytes(4000)
    shard.write_bytes(content)
    done = run(tmp_path, "run", tmp_path / "shards", "--training.devices", "2")
    assert done.returncode != 0
    assert done.stderr.count("u007") == 1
    assert "Traceback" not in done.stderr


def test_a_run_that_is_not_learning_says_so_once(shards: Path, tmp_path: Path) -> None:
    options = ("--training.devices", "2", "--optimizer.learning_rate", "1e30")
    done = run(tmp_path, "run", shards, *options)
    assert done.returncode == 3
    assert done.stderr.count("speechssl: error:") == 1


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with claimed(tmp_path / "run"):
        with pytest.raises(ConfigError, match="another process is training in this folder"), claimed(tmp_path / "run"):
            pass
        with claimed(tmp_path / "other"):
            pass
    with claimed(tmp_path / "run"):
        pass


@pytest.mark.parametrize(
    ("cores", "num_streams", "num_nodes", "expected"), [(1, 8, 1, 1), (6, 8, 1, 4), (2, 3, 1, 1), (16, 8, 2, 4)]
)
def test_as_many_processes_as_cores_and_streams_allow(
    monkeypatch: pytest.MonkeyPatch, cores: int, num_streams: int, num_nodes: int, expected: int
) -> None:
    monkeypatch.setattr(machine, "num_cores", lambda: cores)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    config = TrainingConfig(devices="auto", accelerator="cpu", num_nodes=num_nodes)
    assert machine.resolve_devices(config, num_streams) == expected
