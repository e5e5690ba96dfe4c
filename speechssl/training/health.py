"""Health of a training run: failures that a falling loss can hide, named with their usual causes and remedies.

A watch sees the figures and scores of the run log and nothing else, so every rank that is shown the same ones comes to
the same verdict.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from speechssl.config import HealthConfig
from speechssl.errors import HealthError

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
class Memory:
    """What a watch has seen, as plain values; a resumed run keeps it."""

    last_absent: dict[str, int] = field(default_factory=dict)
    """Update at which each symptom was last not seen."""
    last_named: dict[str, int] = field(default_factory=dict)
    """Update at which it was last spoken of."""
    present: dict[str, int] = field(default_factory=dict)
    """Symptoms of the last check, however long they have lasted, with the update at which they were first seen."""
    figures: dict[str, float] = field(default_factory=dict)
    """Earlier figures that later ones are compared with."""
    told: dict[str, str] = field(default_factory=dict)
    """First line of what was said of each finding that is not known to be over, when it was last named."""


class Watch:
    """What all watches share: memory, the loss, and the verdict."""

    def __init__(self, config: HealthConfig) -> None:
        self.config = config
        self.memory = Memory()

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """The memory, for the training state."""
        return asdict(self.memory)

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Take up what state_dict gave; earlier versions remembered less."""
        self.memory = Memory(**{name: dict(values) for name, values in state.items()})

    def lasts(self, symptom: str, update: int, *, present: bool, healthy_until: int = 0) -> bool:
        """Whether a symptom has now lasted the patience; a run starts without proof of health.

        Up to the update ``healthy_until`` it is none.
        """
        memory = self.memory
        if not present:
            memory.present.pop(symptom, None)
            memory.last_absent[symptom] = update
            memory.last_named.pop(symptom, None)
            memory.told.pop(symptom, None)  # it is over
            return False
        memory.present.setdefault(symptom, update)
        return update - max(memory.last_absent.get(symptom, 0), healthy_until) >= self.config.patience_updates

    def is_due(self, symptom: str, update: int) -> bool:
        """Whether to speak of a lasting symptom: when first seen and again after each further patience."""
        named = self.memory.last_named
        if symptom in named and update - named[symptom] < max(1, self.config.patience_updates):
            return False
        named[symptom] = update
        return True

    def check(self, update: int, metrics: Mapping[str, float]) -> list[Finding]:
        """Judge the figures of the run log after an update; a check whose figures are missing is left out.

        Returns:
            The findings that were newly logged as warnings.

        Raises:
            HealthError: a failure was found and ``config.on_failure`` is "stop".
        """
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
        start = self.memory.figures.setdefault("loss at the start", max(loss, _SMALLEST_START))
        if loss < _EXPLODED * start:
            return None
        return Finding(
            "exploding loss",
            f"exploding loss: {loss:.4g} nats per target at update {update}, {loss / start:,.0f} times the {start:.3f} "
            f"of the start{show_step(figures)}.\n{_EXPLODING_ADVICE}",
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
        named = [finding for finding in failures + warnings if self.is_due(finding.name, update)]
        for finding in named:
            logger.warning("%s", finding.message)
            self.memory.told[finding.name] = finding.message.partition("\n")[0]
        return named


def show_step(figures: Mapping[str, float]) -> str:
    """The gradient's norm and the learning rate of an update, to end a sentence; empty of scores, which have none."""
    shown = [
        f"{label} {figures[name]:.2g}"
        for name, label in (("gradient_norm", "gradient norm"), ("learning_rate", "learning rate"))
        if name in figures
    ]
    return f", with {' and '.join(shown)}" if shown else ""


def _non_finite(update: int, metrics: Mapping[str, float]) -> Finding | None:
    """A loss or gradient that is not finite has spoilt the weights, or will with this update."""
    found = [name for name in ("loss", "gradient_norm") if not math.isfinite(metrics.get(name, 0.0))]
    if not found:
        return None
    figures = ", ".join(f"{name.replace('_', ' ')} {metrics[name]}" for name in found)
    name = f"non-finite {found[0].replace('_', ' ')}"
    rate = f", with learning rate {metrics['learning_rate']:.2g}" if "learning_rate" in metrics else ""
    return Finding(name, f"{name}: {figures} at update {update}{rate}.\n{_NON_FINITE_ADVICE}")
