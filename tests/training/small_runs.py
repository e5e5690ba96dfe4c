"""What tests of whole runs share: a very small model, the command that trains it, and comparisons of what came out."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import write_corpus
from forked_ranks import run_ranks

from speechssl.config import ShardConfig
from speechssl.training.checkpoints import latest_checkpoint, load_checkpoint, load_training_state
from speechssl.training.run_log import read_log
from speechssl.verbs import shard as ingest

Config = dict[str, Any]

SPEECHSSL = [sys.executable, "-m", "speechssl"]
CONSTANT: Config = {"decay": "none", "warmup": 0.0}
TRAINING: Config = {
    "max_updates": 6, "checkpoint_every": 3, "log_every": 1, "precision": "fp32", "accelerator": "cpu",
    "num_threads": 1,
}  # fmt: skip
# Widths of 15 and 33, which no two shards share evenly.
PRETRAIN: Config = {
    "data": {"num_streams": 4, "max_batch_seconds": 4, "max_seconds": 2},
    "model": {
        "feature_encoder": {"conv_layers": [[8, 10, 5], [8, 8, 8], [15, 8, 8]]},
        "context": {
            "num_layers": 2, "dim": 16, "ffn_dim": 33, "num_heads": 2, "pos_conv_kernel": 8, "pos_conv_groups": 2
        },
    },
    "objective": {
        "quantizer": {"num_entries": 8, "dim": 8},
        "masking": {"time_prob": 0.5, "time_length": 3},
        "final_dim": 8,
        "num_negatives": 5,
    },
    "dropout": {"hidden": 0.1, "layer_drop": 0.0},
    "training": TRAINING,
}  # fmt: skip
# Blocks are often skipped: on one rank and not on the other, and in some updates by all micro-batches.
SKIPPING: Config = {
    **PRETRAIN,
    "dropout": {"hidden": 0.1, "layer_drop": 0.6},
    "optimizer": {"max_grad_norm": 2.0},
    "schedule": CONSTANT,
}
FINETUNE: Config = {
    "train": {"num_streams": 4, "max_batch_seconds": 4},
    "dev": {"max_batch_seconds": 8},
    "head": {"num_lstm_layers": 1, "lstm_dim": 7},
    "masking": {"time_prob": 0.3, "time_length": 2, "channel_prob": 0.0},
    "dropout": {"layer_drop": 0.0},
    "training": TRAINING,
}
COMPARED = {"loss", "gradient_norm", "accuracy", "perplexity_0", "padding_share", "blank_share", "wer", "cer"}


def changed(config: Config, **sections: Any) -> Config:
    """A copy with other values: of single keys where a section is a mapping."""
    result = copy.deepcopy(config)
    for name, value in sections.items():
        result[name] = {**result.get(name, {}), **value} if isinstance(value, dict) else value
    return result


def command(verb: str, config: Config, output: Path, shards: Path, *options: str) -> list[str]:
    """What comes after ``speechssl``; the configuration is written beside the output.

    The shards are trained on, and scored as well if the configuration has a ``dev`` section.
    """
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    argv = [verb, "--config", str(path), "--output", str(output)]
    argv += ["--data.shards" if verb == "pretrain" else "--train.shards", str(shards)]
    argv += ["--dev.shards", str(shards)] if "dev" in config else []
    return [*argv, *options]


def spread(ranks: int, strategy: str = "auto") -> list[str]:
    """Options for several ranks."""
    return ["--training.devices", str(ranks), "--training.strategy", strategy]


def train(argv: list[str], ranks: int = 1, strategy: str = "auto") -> str:
    """Run a command to its end in forked ranks; returns what it printed, and fails with it if a rank does."""
    ended = run_ranks([*argv, *spread(ranks, strategy)], ranks)
    assert ended.statuses == [0] * ranks, ended.text
    return ended.text


def refused(argv: list[str]) -> str:
    """What a command prints that is refused, in one line."""
    ended = run_ranks(argv, 1)
    assert ended.statuses == [2], ended.text
    return " ".join(ended.text.split())


def run_as_user(argv: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a user starts it; Fabric starts the processes beyond the first."""
    return subprocess.run([*SPEECHSSL, *argv], capture_output=True, text=True, timeout=180, check=False)


def shards_of_which_the_second_rank_fails(folder: Path) -> Path:
    """Eight utterances, of which the last one, u007, is damaged; it is in the second rank's half."""
    manifest = write_corpus(folder / "audio", [16000] * 8)
    ingest.run(ShardConfig(sources=[str(manifest)], output=folder / "shards"))
    shard = next((folder / "shards").glob("*.tar"))
    content = bytearray(shard.read_bytes())
    last = content.rindex(b"fLaC")
    content[last : last + 4000] = bytes(4000)
    shard.write_bytes(content)
    return folder / "shards"


def losses(run: Path) -> list[tuple[int, float]]:
    """Losses of the log with their updates."""
    return [(line["update"], line["loss"]) for line in read_log(run / "log.jsonl")]


def newest_weights(run: Path) -> dict[str, torch.Tensor]:
    """Weights of the last checkpoint."""
    return load_checkpoint(newest(run)).model_state


def newest(run: Path) -> Path:
    path = latest_checkpoint(run)
    assert path is not None
    return path


def check_same_learning(expected: Path, found: Path, *, loss_tolerance: float = 1e-5, tolerance: float = 1e-4) -> None:
    """Losses, scores, weights and optimiser state of two runs agree to rounding, and so does the form of the latter."""
    for a, b in zip(read_log(expected / "log.jsonl"), read_log(found / "log.jsonl"), strict=True):
        assert (a["kind"], a["update"], a.keys()) == (b["kind"], b["update"], b.keys())
        for name in a.keys() & COMPARED:
            assert b[name] == pytest.approx(a[name], rel=loss_tolerance), (name, a["update"])
    check_same_checkpoint(expected, found, tolerance)


def check_same_checkpoint(expected: Path, found: Path, tolerance: float = 1e-4) -> None:
    """Weights and optimiser state of the last checkpoints agree to rounding."""
    assert newest(found).name == newest(expected).name
    weights, found_weights = newest_weights(expected), newest_weights(found)
    assert list(found_weights) == list(weights)
    for name, value in weights.items():
        torch.testing.assert_close(found_weights[name], value, rtol=tolerance, atol=tolerance / 100, msg=name)
    state, found_state = (load_training_state(newest(run))["optimizer"] for run in (expected, found))
    assert found_state["param_groups"] == state["param_groups"]
    assert found_state["state"].keys() == state["state"].keys()
    for number, values in state["state"].items():
        assert found_state["state"][number].keys() == values.keys()
        assert found_state["state"][number]["step"] == values["step"], number
        scale = values["exp_avg"].abs().max().item()
        torch.testing.assert_close(
            found_state["state"][number]["exp_avg"], values["exp_avg"], rtol=10 * tolerance, atol=tolerance * scale
        )
