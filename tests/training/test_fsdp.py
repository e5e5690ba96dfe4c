"""Runs whose model lies in shards on several ranks: the same model, the same checkpoints, the same ends."""

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
from forked_ranks import run_ranks
from objective_runs import TASKS, straight_run
from small_runs import (
    CONSTANT,
    FINETUNE,
    SKIPPING,
    changed,
    check_same_checkpoint,
    check_same_learning,
    command,
    shards_of_which_the_second_rank_fails,
    spread,
    train,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from speechssl.config import ContextConfig, DropoutConfig, TrainingConfig
from speechssl.model.context import ContextNetwork
from speechssl.training.processes import ReplicatedStrategy, build_strategy
from speechssl.training.sharding import ShardedStrategy, SharedLayerDrop

SCORED = TASKS["contrastive"]
TUNED = changed(FINETUNE, dropout={"layer_drop": 0.6}, freeze_context_updates=3, schedule=CONSTANT)

CONTEXT = ContextConfig(num_layers=6, dim=8, ffn_dim=8, num_heads=2, pos_conv_kernel=4, pos_conv_groups=2)


def train_in_parts(shards: Path, output: Path, parts: Iterable[tuple[int, int, str]]) -> None:
    """Pretrain up to each number of updates, in so many ranks with the strategy that follows."""
    for updates, ranks, strategy in parts:
        argv = command("pretrain", SCORED, output, shards, "--training.max_updates", str(updates))
        train(argv, ranks=ranks, strategy=strategy)


@pytest.mark.slow
def test_a_run_goes_on_spread_in_another_way(shards: Path, tmp_path: Path) -> None:
    train_in_parts(shards, tmp_path / "run", [(2, 2, "ddp"), (4, 2, "fsdp"), (6, 1, "auto")])
    check_same_checkpoint(straight_run("contrastive", shards), tmp_path / "run")


def test_shards_are_finetuned_as_one_process_does(shards: Path, tmp_path: Path) -> None:
    init = ("--init", str(straight_run("contrastive", shards)))
    train(command("finetune", TUNED, tmp_path / "one", shards, *init))
    # Interrupted while the encoder is frozen and has no optimiser state.
    for updates in ("3", "6"):
        argv = command("finetune", TUNED, tmp_path / "two", shards, *init, "--training.max_updates", updates)
        train(argv, ranks=2, strategy="fsdp")
    check_same_learning(tmp_path / "one", tmp_path / "two")


def test_a_rank_whose_data_fails_ends_all(tmp_path: Path) -> None:
    shards = shards_of_which_the_second_rank_fails(tmp_path)
    ended = run_ranks([*command("pretrain", SKIPPING, tmp_path / "run", shards), *spread(2, "fsdp")], 2)
    assert ended.statuses == [2, 2], ended.text
    assert ended.text.count("u007") == 1
    assert "connection to another process of this run broke" in ended.text
    assert "Traceback" not in ended.text


def test_the_configured_strategy_is_taken() -> None:
    configs = [TrainingConfig(strategy=choice) for choice in ("auto", "ddp", "fsdp")]
    strategies = [build_strategy(config, 2, skips_parameters=False) for config in configs]
    assert [type(x) for x in strategies] == [ReplicatedStrategy, ReplicatedStrategy, ShardedStrategy]
    assert build_strategy(configs[-1], 1, skips_parameters=False) == "auto"


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
    shards: Path, tmp_path: Path, variant: str, ranks: int
) -> None:
    verb, options = VARIANTS[variant]
    if verb == "pretrain":
        config = changed(SCORED, data={"num_streams": 6})
    else:
        config = changed(TUNED, train={"num_streams": 6})
        if variant == "from scratch":
            config["model"] = SCORED["model"]
        else:
            config["init"] = str(straight_run("contrastive", shards))
    train(command(verb, config, tmp_path / "one", shards, *options))
    train(command(verb, config, tmp_path / "shards", shards, *options), ranks=ranks, strategy="fsdp")
    check_same_learning(tmp_path / "one", tmp_path / "shards")


@pytest.mark.slow
def test_a_run_that_changes_its_strategy_at_every_checkpoint(shards: Path, tmp_path: Path) -> None:
    spreads = ((2, "fsdp"), (1, "auto"), (4, "fsdp"), (2, "ddp"), (2, "fsdp"), (4, "ddp"))
    train_in_parts(shards, tmp_path / "run", [(i, *how) for i, how in enumerate(spreads, start=1)])
    check_same_checkpoint(straight_run("contrastive", shards), tmp_path / "run")
