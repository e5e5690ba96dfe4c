"""Fully sharded data parallelism (FSDP2): weights, gradients and optimiser state lie in equal parts on all ranks.

A transformer block is whole only while it computes. Checkpoints are whole, as without shards, so a run can go on spread
in any other way.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from lightning_fabric.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from speechssl.model.context import ContextNetwork


class ShardedStrategy(ModelParallelStrategy):
    """Fabric's strategy for FSDP2, with all processes in one group; ``in_bf16`` is how they exchange gradients."""

    def __init__(self, num_processes: int, *, in_bf16: bool = False) -> None:
        super().__init__(self.shard, data_parallel_size=num_processes, tensor_parallel_size=1)
        self.in_bf16 = in_bf16
        self.layer_drop: SharedLayerDrop | None = None

    def shard(self, module: nn.Module, mesh: DeviceMesh) -> nn.Module:
        """Shard each transformer block, then what is left of the model as one more group; in place.

        The first context network is the one that learns; a teacher's has no gradients and skips nothing.
        """
        networks = [part for part in module.modules() if isinstance(part, ContextNetwork)]
        if networks[0].layer_drop > 0:
            self.layer_drop = SharedLayerDrop(networks[0])
        ranks = mesh["data_parallel"]
        blocks = [block for network in networks for block in network.blocks]
        for group in (*blocks, module):
            sharded: Any = fully_shard(group, mesh=ranks)
            if self.in_bf16:
                sharded.set_custom_reduce_scatter(ReduceScatterInBf16())
        return module

    def forget_skipped(self) -> None:
        """Remove the gradients of blocks that every micro-batch of the update skipped, on every rank.

        If all blocks were, then also that of the position bias they share. These gradients are zero, and the optimiser
        would move the weights by their momentum and decay them.
        """
        if self.layer_drop is None:
            return
        kept = self.all_reduce(self.layer_drop.take_kept().to(self.root_device), reduce_op="sum")
        unused = [block for block, num in zip(self.layer_drop.blocks, kept.tolist(), strict=True) if not num]
        if len(unused) == len(self.layer_drop.blocks) and self.layer_drop.position_bias is not None:
            unused.append(self.layer_drop.position_bias)
        for module in unused:
            for parameter in module.parameters():
                parameter.grad = None


class ReduceScatterInBf16:
    """How FSDP2 sends gradients: float32 in bf16, and gives back float32.

    FSDP2's own ``reduce_dtype`` would also sum micro-batches in bf16, where small gradients vanish beside the sum.
    """

    def allocate(self, size: Sequence[int | torch.SymInt], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Memory for what is sent and received."""
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: ProcessGroup,
        op: Any,
        async_op: bool = False,
    ) -> None:
        """Reduce (W x N,) of every rank to this rank's (N,)."""
        received = torch.empty_like(output_tensor, dtype=torch.bfloat16)
        torch.distributed.reduce_scatter_tensor(received, input_tensor.bfloat16(), op, group)
        output_tensor.copy_(received)


class SharedLayerDrop:
    """Layer drop in which a skipped block takes part in what the ranks exchange.

    Each rank draws for its own micro-batches. One that left a block out would keep the others waiting for its shard of
    it, so it computes the block and throws the result away. The context network's own layer drop is replaced, with the
    same draws.
    """

    def __init__(self, context: ContextNetwork) -> None:
        self.blocks = list(context.blocks)
        self.position_bias = context.position_bias
        self.prob, context.layer_drop = context.layer_drop, 0.0
        self.kept: set[nn.Module] = set()
        self.skipped: nn.Module | None = None
        for block in self.blocks:
            block.register_forward_pre_hook(self.draw)
            block.register_forward_hook(self.discard)

    def draw(self, block: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Decide on a block before it computes."""
        if not block.training:
            return
        if torch.rand(()).item() < self.prob:
            self.skipped = block
            block.eval()  # its dropout must not use up random numbers, or all noise after it would be another
        else:
            self.kept.add(block)

    def discard(self, block: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        """Give a skipped block's input for its output."""
        if self.skipped is not block:
            return output
        self.skipped = None
        block.train()
        return Discard.apply(inputs[0], output)

    def take_kept(self) -> Tensor:
        """Which blocks this rank has kept in any micro-batch since the last call, one number each."""
        kept = torch.tensor([float(block in self.kept) for block in self.blocks])
        self.kept.clear()
        return kept


class Discard(torch.autograd.Function):
    """First argument as it is; the second has a gradient of zero, so that what computed it still runs backwards."""

    @staticmethod
    def forward(ctx, x: Tensor, discarded: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        return gradient, torch.zeros_like(gradient)


class WholeState(NamedTuple):
    """What a checkpoint holds of a sharded run; empty on all ranks but the first."""

    model: dict[str, Any]
    """Weights by name, on the CPU."""
    optimizer: dict[str, Any]
    """As ``optimizer.state_dict()`` of a run without shards."""


def gather_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> WholeState:
    """Put the shards together on the first rank; every rank must call it."""
    # Imported here because it takes a quarter of a second, which runs without shards need not spend.
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, named = get_state_dict(module, optimizer, options=options)
    return WholeState(weights, number_parameters(named)) if named else WholeState({}, {})


def number_parameters(state: dict[str, Any]) -> dict[str, Any]:
    """Optimiser state that calls parameters by number, as optimisers do, from one that calls them by name."""
    counter = itertools.count()
    numbers = {name: next(counter) for group in state["param_groups"] for name in group["params"]}
    groups = [{**group, "params": [numbers[name] for name in group["params"]]} for group in state["param_groups"]]
    return {"state": {numbers[name]: value for name, value in state["state"].items()}, "param_groups": groups}


def shard_optimizer_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """This rank's shards of a whole optimiser state, for ``optimizer.load_state_dict``.

    PyTorch's own function for this invents a state for parameters that have none yet, such as frozen ones.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    shards = {
        number: {name: shard_like(parameters[number], value) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {"state": shards, "param_groups": state["param_groups"]}


def shard_like(parameter: DTensor, value: Tensor) -> Tensor:
    """This rank's shard of a whole tensor that belongs to a parameter; a number, as the step count, stays as it is."""
    if value.shape != parameter.shape:
        return value
    on_device = value.to(parameter.device)
    # Every rank has read the whole tensor: none needs to be sent one.
    return distribute_tensor(on_device, parameter.device_mesh, parameter.placements, src_data_rank=None)
