"""What the loop asks of a task and of a run's configuration; ``speechssl.tasks`` has the tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lightning_fabric import Fabric
from torch import Tensor, nn

from speechssl.config import OptimizerConfig, ScheduleConfig, TrainingConfig
from speechssl.data.batches import Batch
from speechssl.data.streams import StreamPlan
from speechssl.evaluation.diagnosis import Diagnosis
from speechssl.training.checkpoints import CheckpointKind
from speechssl.training.health import Watch


class StepOutput(NamedTuple):
    """What one micro-batch gives."""

    loss: Tensor
    """Loss summed over the targets, a scalar with a graph."""
    num_targets: int
    """Masked frames or views in pretraining, labels in fine-tuning."""
    sums: Mapping[str, Tensor]
    """Figures for the log, each summed over the targets, without a graph."""
    context: Tensor
    """Context vectors (B, T, D), detached, for the effective rank."""


class ParameterGroup(NamedTuple):
    """Parameters that learn at one rate."""

    parameters: list[nn.Parameter]
    rate_scale: float = 1.0
    """Factor on the learning rate."""


class Score(NamedTuple):
    """The figure of held-out data by which the best checkpoint is chosen."""

    name: str
    """In the scores of ``validate``, the run log and best.json."""
    lower_is_better: bool
    data: str = "dev "
    """What it is of, before its name in messages."""

    def prefers(self, value: float, best: float) -> bool:
        """Whether a later value becomes the best; the later of equals has seen more."""
        return value <= best if self.lower_is_better else value >= best


class Task(Protocol):
    """What the loop must know of what it trains."""

    kind: CheckpointKind
    module: nn.Module
    vocabulary: dict[str, Any] | None
    teacher: dict[str, Any] | None
    """The ``model`` section of an earlier encoder that is part of the module, for its checkpoints."""
    calibration: dict[str, Any] | None
    """Of the confidence of words on held-out data when that was last scored, by decoder; None of other tasks."""
    score: Score | None
    """None keeps the newest checkpoints alone."""

    def set_module(self, module: nn.Module) -> None:
        """Take the module as wrapped for the devices; steps must go through it."""

    def begin(self, plan: StreamPlan, fabric: Fabric) -> None:
        """Make a module of random weights ready to learn; one that goes on from a checkpoint is."""

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """All that may learn, once the module is wrapped; the order is that of the optimiser's state."""

    def before_update(self, batches: Sequence[Batch], update: int, fabric: Fabric) -> None:
        """Called on every rank before the steps of an update, with its micro-batches of it."""

    def step(self, batch: Batch, update: int) -> StepOutput:
        """Forward pass of one micro-batch at an update, counted from 0."""

    def after_update(self, update: int) -> None:
        """Called once after each optimiser step, on every rank; ``update`` counts those done."""

    @property
    def health(self) -> Watch:
        """Raises HealthError if the run is not learning."""

    @property
    def scores_start(self) -> bool:
        """Whether held-out data is also scored before the first update."""

    @property
    def enough(self) -> str:
        """Why the run may end before its last update, in words; empty if it goes on. All ranks have the same scores."""

    def validate(self, update: int) -> dict[str, float]:
        """Score held-out data after an update, whose checkpoint is on disk; {} if there is none.

        Called on the first rank, or on every rank if each has only a part of the module.
        """

    def diagnose(self) -> list[Diagnosis]:
        """What is wrong with the newest outputs for held-out data, once a run has ended; called on the first rank."""


class RunConfig(Protocol):
    """Sections of a configuration that every run has."""

    @property
    def output(self) -> Path: ...
    @property
    def training(self) -> TrainingConfig: ...
    @property
    def optimizer(self) -> OptimizerConfig: ...
    @property
    def schedule(self) -> ScheduleConfig: ...
