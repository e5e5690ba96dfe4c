"""The figures of the run log: gathered on the device, seen by the host when a line is due."""

import time

import torch
from lightning_fabric import Fabric
from torch import Tensor

from speechssl.data.batches import Batch
from speechssl.evaluation.geometry import effective_rank
from speechssl.training.task import StepOutput

MAX_VECTORS = 4096
"""Of a micro-batch's context that its effective rank is taken of."""


class Meter:
    """Means of the figures between two lines of the log; kept on the device until a line is due."""

    def __init__(self) -> None:
        self.reset()
        self.wait_at_start = 0.0

    def reset(self) -> None:
        """Start a new interval."""
        self.sums: dict[str, Tensor] = {}
        self.norms: list[Tensor] = []
        self.num_targets = 0
        self.audio_seconds = 0.0
        self.padded_seconds = 0.0
        self.context: Tensor | None = None
        self.started = time.monotonic()

    def restart_clock(self, wait_seconds: float) -> None:
        """Leave out the time that a checkpoint took."""
        self.started = time.monotonic()
        self.wait_at_start = wait_seconds

    def add_step(self, output: StepOutput, batch: Batch, sample_rate: int) -> None:
        """Add one micro-batch."""
        for name, value in output.sums.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.num_targets += output.num_targets
        views = 1 if batch.second is None else 2
        self.audio_seconds += views * float(batch.lengths.sum()) / sample_rate
        self.padded_seconds += views * batch.audio.numel() / sample_rate
        self.context = output.context

    def add_update(self, norm: Tensor) -> None:
        """Add one update's gradient norm."""
        self.norms.append(norm.detach())

    def figures(self, fabric: Fabric, wait_seconds: float, num_bad: int) -> dict[str, float]:
        """Means since the last call, over all ranks; starts a new interval."""
        names = sorted(self.sums)
        values = [self.sums[name].double().cpu() for name in names]
        counted = (self.num_targets, self.audio_seconds, self.padded_seconds, num_bad)
        values += [torch.tensor(x).double() for x in counted]
        totals = torch.stack(values)
        if fabric.world_size > 1:
            totals = fabric.all_reduce(totals, reduce_op="sum").cpu()  # type: ignore[union-attr]
        *sums, num_targets, audio_seconds, padded_seconds, bad_samples = totals.tolist()
        elapsed = max(time.monotonic() - self.started, 1e-9)
        figures = {name: value / max(num_targets, 1.0) for name, value in zip(names, sums, strict=True)}
        figures["gradient_norm"] = float(torch.stack(self.norms).mean())
        if self.context is not None:
            figures["effective_rank"] = effective_rank(self.context.flatten(0, 1)[:MAX_VECTORS].float())
        figures["audio_seconds_per_second"] = audio_seconds / elapsed
        figures["padding_share"] = 1.0 - audio_seconds / max(padded_seconds, 1e-9)
        if bad_samples:
            figures["bad_samples"] = bad_samples
        figures["wait_share"] = (wait_seconds - self.wait_at_start) / elapsed
        self.reset()
        self.wait_at_start = wait_seconds
        return figures
