"""What of a run is on disk, to go on from: its checkpoints, when they are written, scored and deleted."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric

from speechssl.config.reading import to_dict
from speechssl.shards.addresses import without_credentials
from speechssl.training.checkpoints import Best, mark_best, prune_checkpoints, read_best, save_checkpoint, set_metrics
from speechssl.training.sharding import ShardedStrategy, WholeState, gather_state
from speechssl.training.task import RunConfig, Task


@dataclass
class Progress:
    """Where a run stands."""

    update: int = 0
    """Updates done."""
    wall_seconds: float = 0.0
    """Training time so far, interrupted parts included."""


@dataclass(frozen=True)
class Saved:
    """The newest checkpoint of a run."""

    update: int = 0
    """Updates that it holds; 0 if there is none."""
    unscored: bool = False
    """Whether it is due, thus to be scored on held-out data, and has not been."""


class Saver:
    """Writes the checkpoints of a run; every rank calls it, and the first one writes.

    Args:
        config: resolved configuration of the run.
        task: whose weights, labels and health are kept.
        fabric: launched devices.
        fingerprint: makes what decides the result besides the configuration, as plain values.
    """

    def __init__(
        self,
        config: RunConfig,
        task: Task,
        fabric: Fabric,
        fingerprint: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.config = config
        self.task = task
        self.fabric = fabric
        self.fingerprint = fingerprint
        self.newest = Saved()

    def write(self, optimizer: torch.optim.Optimizer, progress: Progress, *, due: bool) -> None:
        """Write a checkpoint: one that is due, whose scores are then to come, or one that bridges an interruption."""
        if isinstance(self.fabric.strategy, ShardedStrategy):
            state = gather_state(self.task.module, optimizer)
        else:
            state = WholeState(self.task.module.state_dict(), optimizer.state_dict())
        if self.fabric.is_global_zero:
            save_checkpoint(
                self.config.output,
                kind=self.task.kind,
                update=progress.update,
                config=without_credentials(to_dict(self.config)),
                model_state=state.model,
                training_state={
                    **self.fingerprint(),
                    "optimizer": state.optimizer,
                    "wall_seconds": progress.wall_seconds,
                    "health": self.task.health.state_dict(),
                    "unscored": due,
                },
                vocabulary=self.task.vocabulary,
                teacher=self.task.teacher,
            )
        self.newest = Saved(progress.update, unscored=due)

    def add_scores(self, scores: Mapping[str, float]) -> None:
        """Give the newest checkpoint its scores, and keep it if they are the best."""
        if scores and self.fabric.is_global_zero:
            set_metrics(self.config.output, self.newest.update, scores, self.task.calibration)
        self.keep_best(scores)
        self.newest = Saved(self.newest.update)

    def keep_best(self, scores: Mapping[str, float]) -> None:
        """Mark the newest checkpoint if no earlier one has a better score."""
        score = self.task.score
        if score is None or not self.fabric.is_global_zero or not math.isfinite(scores.get(score.name, math.nan)):
            return
        value, best = scores[score.name], read_best(self.config.output)
        if best is None or best.score != score.name or score.prefers(value, best.value):
            mark_best(self.config.output, Best(self.newest.update, score.name, value))

    def prune(self) -> None:
        """Delete the checkpoints that are not to be kept."""
        if self.fabric.is_global_zero:
            run, keep = self.config.output, self.config.training.keep_checkpoints
            best = read_best(run)
            prune_checkpoints(run, keep, best.update if best else None)
