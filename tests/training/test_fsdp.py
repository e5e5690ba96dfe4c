"""Runs whose model lies in shards on several ranks: the same model, the same checkpoints, the same ends."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import write_corpus
from forked_ranks import run_ranks
from lightning_fabric.strategies import DDPStrategy
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from speechssl import ingest
from speechssl.config import ContextConfig, DropoutConfig, ShardConfig
from speechssl.model.context import ContextNetwork
from speechssl.training.checkpoints import latest_checkpoint, load_checkpoint, load_training_state
from speechssl.training.processes import build_strategy
from speechssl.training.run_log import read_log
from speechssl.training.sharding import ShardedStrategy, SharedLayerDrop

# Blocks are often skipped: on one rank and not on the other, and in some updates by all micro-batches.
TRAINING = {
    "max_updates": 6, "checkpoint_every": 3, "log_every": 1, "precision": "fp32", "accelerator": "cpu",
    "num_threads": 1,
}  # fmt: skip
CONSTANT = {"decay": "none", "warmup": 0.0}
PRETRAIN: dict[str, Any] = {
    "data": {"num_streams": 4, "max_batch_seconds": 4, "max_seconds": 2},
    "dev": {"max_batch_seconds": 8},
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
    "dropout": {"hidden": 0.1, "layer_drop": 0.6},
    "optimizer": {"max_grad_norm": 2.0},
    "schedule": CONSTANT,
    "training": TRAINING,
}  # fmt: skip
FINETUNE: dict[str, Any] = {
    "train": {"num_streams": 4, "max_batch_seconds": 4},
    "dev": {"max_batch_seconds": 8},
    "head": {"num_lstm_layers": 1, "lstm_dim": 7},
    "masking": {"time_prob": 0.3, "time_length": 2, "channel_prob": 0.0},
    "dropout": {"layer_drop": 0.6},
    "freeze_context_updates": 3,
    "schedule": CONSTANT,
    "training": TRAINING,
}

CONTEXT = ContextConfig(num_layers=6, dim=8, ffn_dim=8, num_heads=2, pos_conv_kernel=4, pos_conv_groups=2)


def train(
    verb: str, config: dict[str, Any], output: Path, shards: Path, *options: str, ranks: int = 1, strategy: str = "auto"
) -> None:
    """Run a verb to its end; it says why if it fails."""
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    errors = output.with_suffix(".txt")
    data = "data" if verb == "pretrain" else "train"
    argv = [verb, "--config", str(path), "--output", str(output), f"--{data}.shards", str(shards), *options]
    argv += ["--dev.shards", str(shards), "--training.devices", str(ranks), "--training.strategy", strategy]
    assert run_ranks(argv, ranks, errors) == [0] * ranks, errors.read_text()


def check_same_learning(expected: Path, found: Path, *, loss_tolerance: float = 1e-5, tolerance: float = 1e-4) -> None:
    """Losses, scores, weights and optimiser state of two runs agree to rounding, and so does the form of the latter."""
    for a, b in zip(read_log(expected / "log.jsonl"), read_log(found / "log.jsonl"), strict=True):
        assert (a["kind"], a["update"], a.keys()) == (b["kind"], b["update"], b.keys())
        for name in a.keys() & {"loss", "gradient_norm", "accuracy", "perplexity_0", "blank_share", "wer", "cer"}:
            assert b[name] == pytest.approx(a[name], rel=loss_tolerance), (name, a["update"])
    check_same_checkpoint(expected, found, tolerance)


def check_same_checkpoint(expected: Path, found: Path, tolerance: float = 1e-4) -> None:
    (weights, state), (found_weights, found_state) = (newest(run) for run in (expected, found))
    assert list(found_weights) == list(weights)
    for name, value in weights.items():
        torch.testing.assert_close(found_weights[name], value, rtol=tolerance, atol=tolerance / 100, msg=name)
    assert found_state["param_groups"] == state["param_groups"]
    assert found_state["state"].keys() == state["state"].keys()
    for number, values in state["state"].items():
        assert found_state["state"][number].keys() == values.keys()
        assert found_state["state"][number]["step"] == values["step"], number
        scale = values["exp_avg"].abs().max().item()
        torch.testing.assert_close(
            found_state["state"][number]["exp_avg"], values["exp_avg"], rtol=10 * tolerance, atol=tolerance * scale
        )


def newest(run: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights and optimiser state of the last checkpoint."""
    path = latest_checkpoint(run)
    assert path is not None
    return load_checkpoint(path).model_state, load_training_state(path)["optimizer"]


@pytest.fixture(scope="module")
def pretrained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining run of one process."""
    output = tmp_path_factory.mktemp("one") / "run"
    train("pretrain", PRETRAIN, output, shards)
    return output


def test_shards_learn_what_one_process_does(shards: Path, pretrained: Path, tmp_path: Path) -> None:
    train("pretrain", PRETRAIN, tmp_path / "run", shards, ranks=2, strategy="fsdp")
    check_same_learning(pretrained, tmp_path / "run")


def test_a_run_goes_on_spread_in_another_way(shards: Path, pretrained: Path, tmp_path: Path) -> None:
    for updates, ranks, strategy in ((2, 2, "ddp"), (4, 2, "fsdp"), (6, 1, "auto")):
        train(
            "pretrain", PRETRAIN, tmp_path / "run", shards, "--training.max_updates", str(updates),
            ranks=ranks, strategy=strategy,
        )  # fmt: skip
    check_same_checkpoint(pretrained, tmp_path / "run")


def test_shards_are_finetuned_as_one_process_does(shards: Path, pretrained: Path, tmp_path: Path) -> None:
    init = ("--init", str(pretrained))
    train("finetune", FINETUNE, tmp_path / "one", shards, *init)
    # Interrupted while the encoder is frozen and has no optimiser state.
    for updates in ("3", "6"):
        options = (*init, "--training.max_updates", updates)
        train("finetune", FINETUNE, tmp_path / "two", shards, *options, ranks=2, strategy="fsdp")
    check_same_learning(tmp_path / "one", tmp_path / "two")


def test_a_rank_whose_data_fails_ends_all(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [16000] * 8)
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards"))
    shard = next((tmp_path / "shards").glob("*.tar"))
    content = bytearray(shard.read_bytes())
    last = content.rindex(b"fLaC")  # the last utterance is in the second rank's half
    content[last : last + 4000] = bytes(4000)
    shard.write_bytes(content)
    path = tmp_path / "pretrain.yaml"
    path.write_text(yaml.safe_dump({**PRETRAIN, "dev": {}}))
    argv = ["pretrain", "--config", str(path), "--output", str(tmp_path / "run"), "--data.shards", str(shard)]
    statuses = run_ranks([*argv, "--training.devices", "2", "--training.strategy", "fsdp"], 2, tmp_path / "errors.txt")
    errors = (tmp_path / "errors.txt").read_text()
    assert statuses == [2, 2], errors
    assert errors.count("u007") == 1
    assert "connection to another process of this run broke" in errors
    assert "Traceback" not in errors


def test_the_configured_strategy_is_taken() -> None:
    strategies = [build_strategy(choice, 2, skips_parameters=False) for choice in ("auto", "ddp", "fsdp")]
    assert [type(strategy) for strategy in strategies] == [DDPStrategy, DDPStrategy, ShardedStrategy]
    assert build_strategy("fsdp", 1, skips_parameters=False) == "auto"


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    """A mesh of this process alone, as Fabric makes them."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1, 1), mesh_dim_names=("data_parallel", "tensor_parallel"))
    torch.distributed.destroy_process_group()


def test_every_block_is_a_group_of_its_own_and_no_parameter_is_left_out(mesh: DeviceMesh) -> None:
    network = ContextNetwork(CONTEXT, DropoutConfig(layer_drop=0.0))
    model = torch.nn.Sequential(network, torch.nn.Linear(8, 3))
    strategy = ShardedStrategy(1)
    assert strategy.shard(model, mesh) is model
    assert [part for part in model.modules() if isinstance(part, FSDPModule)] == [model, *network.blocks]
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    assert strategy.layer_drop is None


def test_shared_layer_drop_gives_the_values_and_gradients_of_the_networks_own() -> None:
    dropout = DropoutConfig(hidden=0.3, attention=0.3, layer_drop=0.5)
    torch.manual_seed(0)
    own = ContextNetwork(CONTEXT, dropout)
    shared = copy.deepcopy(own)
    layer_drop = SharedLayerDrop(shared)
    found = []
    for network in (own, shared):
        torch.manual_seed(1)
        x = network(torch.linspace(-1, 1, 80).view(2, 5, 8)).x
        x.square().sum().backward()
        found.append(x)
    assert torch.equal(*found)
    skipped = [block.ffn_in.weight.grad is None for block in own.blocks]
    assert True in skipped
    assert False in skipped
    assert layer_drop.take_kept().tolist() == [not x for x in skipped]
    for a, b in zip(own.parameters(), shared.parameters(), strict=True):
        assert b.grad is not None
        assert torch.equal(b.grad, torch.zeros_like(b) if a.grad is None else a.grad)
    with torch.no_grad():
        assert torch.equal(*(network.eval()(torch.ones(1, 5, 8)).x for network in (own, shared)))


RELATIVE_BIAS = ["--model.context.relative_bias", "true", "--model.context.num_buckets", "8"]
VARIANTS: dict[str, tuple[str, list[str]]] = {
    "pretraining": ("pretrain", []),
    "feature encoder without gradients": ("pretrain", ["--objective.feature_grad_scale", "0"]),
    "all blocks always": ("pretrain", ["--dropout.layer_drop", "0"]),
    "bf16": ("pretrain", ["--training.precision", "bf16"]),
    "relative bias that no block may use": ("pretrain", ["--dropout.layer_drop", "0.8", *RELATIVE_BIAS]),
    "relative bias in bf16": ("pretrain", ["--training.precision", "bf16", *RELATIVE_BIAS]),
    "several positional convolutions": ("pretrain", ["--model.context.pos_conv_depth", "2"]),
    "augmented": ("pretrain", ["--augmentation.noise.prob", "0.5"]),
    "fine-tuning": ("finetune", []),
    "fine-tuning without time masks": ("finetune", ["--masking.time_prob", "0", "--freeze_context_updates", "0"]),
    "fine-tuning of everything": ("finetune", ["--freeze_feature_encoder", "never"]),
    "from scratch": ("finetune", ["--model.context.norm_first", "true", "--model.feature_encoder.norm", "layer"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_shards_of_any_number_learn_what_one_process_does(
    shards: Path, pretrained: Path, tmp_path: Path, variant: str, ranks: int
) -> None:
    verb, options = VARIANTS[variant]
    config = copy.deepcopy(PRETRAIN if verb == "pretrain" else FINETUNE)
    config["data" if verb == "pretrain" else "train"]["num_streams"] = 6
    if variant == "from scratch":
        config["model"] = copy.deepcopy(PRETRAIN["model"])
    elif verb == "finetune":
        options = [*options, "--init", str(pretrained)]
    train(verb, config, tmp_path / "one", shards, *options)
    train(verb, config, tmp_path / "shards", shards, *options, ranks=ranks, strategy="fsdp")
    check_same_learning(tmp_path / "one", tmp_path / "shards")


@pytest.mark.slow
def test_a_run_that_changes_its_strategy_at_every_checkpoint(shards: Path, pretrained: Path, tmp_path: Path) -> None:
    spreads = ((2, "fsdp"), (1, "auto"), (4, "fsdp"), (2, "ddp"), (2, "fsdp"), (4, "ddp"))
    for i, (ranks, strategy) in enumerate(spreads):
        train(
            "pretrain", PRETRAIN, tmp_path / "run", shards, "--training.max_updates", str(i + 1),
            ranks=ranks, strategy=strategy,
        )  # fmt: skip
    check_same_checkpoint(pretrained, tmp_path / "run")
