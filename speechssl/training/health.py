"""Health of a training run: failures that a falling loss can hide, named with their usual causes and remedies.

A watch sees the figures and scores of the run log and nothing else, so every rank that is shown the same ones comes to
the same verdict.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from speechssl.config import HealthConfig
from speechssl.errors import HealthError
from speechssl.objectives.objective import Objective, Symptom

logger = logging.getLogger(__name__)

_EXPLODED = 1_000  # loss as a multiple of the one that the run began with
_SMALLEST_START = 1.0  # nats; the start of a run that goes on with a small loss is no measure

_NON_FINITE_ADVICE = """\
Usual causes: a learning rate that is too high or rises too fast; bf16 arithmetic on a model that needs fp32;
non-finite samples in the audio; in fine-tuning, transcripts longer than their frames.
Remedies: lower --optimizer.learning_rate or lengthen --schedule.warmup; set --optimizer.max_grad_norm 1;
set --training.precision fp32."""

_EXPLODING_ADVICE = """\
The weights have been thrown off, and a run rarely comes back from that.
Usual causes: a learning rate that is too high or rises too fast; gradients that are not clipped; samples that are loud
beyond full scale, or noise.
Remedies: lower --optimizer.learning_rate or lengthen --schedule.warmup; set --optimizer.max_grad_norm 1; look at what
`speechssl shard` said of levels in report.json."""

_CLOSING = (
    "The last checkpoint from before is kept. Mend the cause and start again in another --output, "
    "or go on regardless with --health.on_failure warn."
)


class Finding(NamedTuple):
    """One thing that is wrong with a run."""

    name: str
    """What it is called: "non-finite loss", "exploding loss", "empty outputs", or as the pretext task calls it."""
    message: str
    """Its name, figures, usual causes and remedies."""


@dataclass
class _Persistence:
    """Since when each symptom has been present without a break, as the last update at which it was absent."""

    patience: int
    last_absent: dict[str, int] = field(default_factory=dict)
    last_named: dict[str, int] = field(default_factory=dict)
    present: dict[str, int] = field(default_factory=dict)
    """Symptoms seen at the last check, however long they have lasted, with the update at which they were first seen."""

    def lasting(self, symptom: str, update: int, *, present: bool, healthy_until: int = 0) -> bool:
        """Whether the symptom has now lasted the patience; a run starts without proof of health.

        Args:
            symptom: its name.
            update: of the check.
            present: whether it was seen.
            healthy_until: update up to which it is no symptom.
        """
        if not present:
            self.present.pop(symptom, None)
            self.last_absent[symptom] = update
            self.last_named.pop(symptom, None)
            return False
        self.present.setdefault(symptom, update)
        return update - max(self.last_absent.get(symptom, 0), healthy_until) >= self.patience

    def due(self, symptom: str, update: int) -> bool:
        """Whether to speak of a lasting symptom: when first seen and again after each further patience."""
        if symptom in self.last_named and update - self.last_named[symptom] < max(1, self.patience):
            return False
        self.last_named[symptom] = update
        return True


class Watch:
    """What both watches share: memory, its saving, the loss, and the verdict."""

    def __init__(self, config: HealthConfig) -> None:
        self.config = config
        self.memory = _Persistence(config.patience_updates)
        self.figures: dict[str, float] = {}
        """Earlier figures that later ones are compared with."""

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Plain values for the training state, so that a resumed run keeps its patience."""
        memory = self.memory
        return {
            "last_absent": dict(memory.last_absent),
            "last_named": dict(memory.last_named),
            "present": dict(memory.present),
            "figures": dict(self.figures),
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Take up what state_dict gave; earlier versions remembered less."""
        self.memory.last_absent = dict(state["last_absent"])
        self.memory.last_named = dict(state["last_named"])
        self.memory.present = dict(state.get("present", {}))
        self.figures = dict(state.get("figures", {}))

    def check(self, update: int, metrics: Mapping[str, float]) -> list[Finding]:
        """Name what is wrong with the figures after an update; raise HealthError if the run is to stop."""
        raise NotImplementedError

    def check_scores(self, update: int, scores: Mapping[str, float]) -> list[Finding]:
        """The same for scores on held-out data, once the checkpoint that they are of is on disk."""
        return self.verdict(update, self.loss_failures(update, scores), [])

    def loss_failures(self, update: int, figures: Mapping[str, float]) -> list[Finding]:
        """A loss that is not finite, or a thousand times what it was at the first check."""
        found = [_non_finite(update, figures), self._exploding(update, figures)]
        return [finding for finding in found if finding]

    def _exploding(self, update: int, figures: Mapping[str, float]) -> Finding | None:
        loss = figures.get("loss", math.nan)
        if not math.isfinite(loss):
            return None
        start = self.figures.setdefault("loss at the start", max(loss, _SMALLEST_START))
        if loss < _EXPLODED * start:
            return None
        return Finding(
            "exploding loss",
            f"exploding loss: {loss:.4g} nats per target at update {update}, {loss / start:,.0f} times the {start:.3f} "
            f"of the start.\n{_EXPLODING_ADVICE}",
        )

    def warn_at_end(self, update: int) -> None:
        """Name the symptoms with which a run ends before they have lasted long enough to stop it."""
        unjudged = sorted(self.memory.present.keys() - self.memory.last_named.keys())
        if unjudged:
            logger.warning(
                "the run ends at update %d with signs of: %s. It was too short to be judged by "
                "(health.patience_updates is %d); do not expect anything of its weights.",
                update,
                ", ".join(unjudged),
                self.config.patience_updates,
            )

    def verdict(self, update: int, failures: list[Finding], warnings: list[Finding]) -> list[Finding]:
        """Log what is due, or raise at the first failure of a run that is told to stop."""
        if failures and self.config.on_failure == "stop":
            raise HealthError(f"{failures[0].message}\n{_CLOSING}")
        named = [finding for finding in failures + warnings if self.memory.due(finding.name, update)]
        for finding in named:
            logger.warning("%s", finding.message)
        return named


class PretrainHealth(Watch):
    """Watch over a pretraining run, which asks the pretext task what its failures look like.

    Args:
        config: limits, and whether to stop.
        objective: the task.
    """

    def __init__(self, config: HealthConfig, objective: Objective) -> None:
        super().__init__(config)
        self._objective = objective

    def check(self, update: int, metrics: Mapping[str, float]) -> list[Finding]:
        """Judge the figures of the run log at one update.

        Args:
            update: optimiser updates done.
            metrics: the task's figures per target, and ``gradient_norm``. A check whose figures are missing is left
                out.

        Returns:
            The findings that were newly logged as warnings.

        Raises:
            HealthError: a failure was found and ``config.on_failure`` is "stop".
        """
        lasting: dict[str, list[Symptom]] = {}
        for symptom in self._objective.symptoms(metrics, self.config):
            if self.memory.lasting(symptom.key, update, present=symptom.present):
                lasting.setdefault(symptom.name, []).append(symptom)
        found = [self._finding(update, symptoms) for symptoms in lasting.values()]
        return self.verdict(update, self.loss_failures(update, metrics) + found, [])

    def _finding(self, update: int, symptoms: list[Symptom]) -> Finding:
        """One for all symptoms of a name."""
        name, texts = symptoms[0].name, "; ".join(symptom.text.rstrip(".") for symptom in symptoms)
        return Finding(
            name,
            f"{name}: at update {update}, and for {self.config.patience_updates} updates or more "
            f"(health.patience_updates): {texts}.\n{symptoms[0].advice}",
        )


def _non_finite(update: int, metrics: Mapping[str, float]) -> Finding | None:
    """A loss or gradient that is not finite has spoilt the weights, or will with this update."""
    found = [name for name in ("loss", "gradient_norm") if not math.isfinite(metrics.get(name, 0.0))]
    if not found:
        return None
    figures = ", ".join(f"{name.replace('_', ' ')} {metrics[name]}" for name in found)
    name = f"non-finite {found[0].replace('_', ' ')}"
    return Finding(name, f"{name}: {figures} at update {update}.\n{_NON_FINITE_ADVICE}")
