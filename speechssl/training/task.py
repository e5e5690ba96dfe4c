"""What the training loop knows of what is trained."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from speechssl.data.batches import Batch
from speechssl.training.checkpoints import CheckpointKind
from speechssl.training.health import Watch


class StepOutput(NamedTuple):
    """What one micro-batch gives."""

    loss: Tensor
    """Loss summed over the targets, a scalar with a graph."""
    num_targets: int
    """Masked frames in pretraining, labels in fine-tuning."""
    sums: Mapping[str, Tensor]
    """Figures for the log, each summed over the targets, without a graph."""
    context: Tensor
    """Context vectors (B, T, D), detached, for the effective rank."""


class Task(Protocol):
    """What the loop must know of pretraining or fine-tuning."""

    kind: CheckpointKind
    module: nn.Module
    vocabulary: dict[str, Any] | None

    def set_module(self, module: nn.Module) -> None:
        """Take the module as wrapped for the devices; steps must go through it."""

    def step(self, batch: Batch, update: int) -> StepOutput:
        """Forward pass of one micro-batch at an update, counted from 0."""

    @property
    def health(self) -> Watch:
        """Raises HealthError if the run is not learning."""

    @property
    def scores_start(self) -> bool:
        """Whether held-out data is also scored before the first update."""

    def validate(self, update: int) -> dict[str, float]:
        """Score held-out data after an update, whose checkpoint is on disk; {} if there is none.

        Called on the first rank, or on every rank if each has only a part of the module.
        """

    def after_checkpoint(self, update: int, scores: Mapping[str, float]) -> None:
        """Called on the first rank when a checkpoint is on disk with its scores."""
