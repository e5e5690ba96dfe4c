"""Where a loss or a gradient was first not finite: seen on the device, told when the host looks at the figures."""

import torch
from lightning_fabric import Fabric
from torch import Tensor

from speechssl.data.corpus import SampleRef
from speechssl.data.streams import StreamPlan

MAX_NAMED = 12
_NEVER = 2**62


class NonFinite:
    """Remembers the first micro-batch whose loss, and the first update whose gradient, was not finite.

    Both are numbers on the device, which no step waits for. Which samples they stand for follows from the plan.
    """

    def __init__(self) -> None:
        self._loss: Tensor | None = None
        self._gradient: Tensor | None = None
        self._told = False

    def add_loss(self, loss: Tensor, plan: StreamPlan, update: int, stream: int) -> None:
        """Look at the loss of a micro-batch of an update, counted from 0."""
        self._loss = earlier(self._loss, loss, update * plan.num_streams + stream)

    def add_gradient(self, norm: Tensor, update: int) -> None:
        """Look at the norm of an update's gradient."""
        self._gradient = earlier(self._gradient, norm, update)

    def describe(self, plan: StreamPlan, fabric: Fabric) -> str:
        """What was not finite first, and the samples of its batch; every rank must ask.

        Empty if all was finite, or it has been told before.
        """
        if self._loss is None or self._gradient is None or self._told:
            return ""
        first = torch.stack([self._loss, self._gradient])
        if fabric.world_size > 1:
            first = fabric.all_reduce(first, reduce_op="min")  # type: ignore[assignment]
        micro_batch, of_gradient = (int(number) for number in first.tolist())
        update, stream = divmod(micro_batch, plan.num_streams)
        if micro_batch < _NEVER and update <= of_gradient:
            streams, what = [stream], "loss"
        elif of_gradient < _NEVER:
            update, streams, what = of_gradient, list(range(plan.num_streams)), "gradient"
        else:
            return ""
        refs = [ref for number in streams for ref in plan.batch(update, number).refs]
        self._told = True
        where = "in the micro-batch of" if what == "loss" else "which heard"
        return f"The {what} was first not finite at update {update + 1}, {where} {named(refs)}."


def earlier(so_far: Tensor | None, value: Tensor, number: int) -> Tensor:
    """The number of the first value that was not finite, int64 (), on the device of the values."""
    found = torch.where(value.detach().isfinite(), _NEVER, number)
    return found if so_far is None else torch.minimum(so_far, found)


def named(refs: list[SampleRef]) -> str:
    """Samples by shard and key, as many as a person reads."""
    by_shard: dict[str, list[str]] = {}
    for ref in refs[:MAX_NAMED]:
        by_shard.setdefault(ref.shard, []).append(ref.key)
    listed = "; ".join(f"{shard}: {', '.join(keys)}" for shard, keys in by_shard.items())
    return f"{listed} and {len(refs) - MAX_NAMED} more" if len(refs) > MAX_NAMED else listed
