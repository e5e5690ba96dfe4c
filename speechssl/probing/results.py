"""What a probe finds: a figure for each layer, task, head and measure."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from speechssl.evaluation.error_rates import numbered
from speechssl.evaluation.intervals import Interval, WordCounts, wer_interval
from speechssl.probing.features import LayerFrames


class NotProbedError(Exception):
    """A task cannot be scored on these sets; says why."""


class Figure(NamedTuple):
    """One number of the table."""

    layer: str
    task: str
    head: str
    """"linear" or "recurrent"; "none" where nothing is trained on labels."""
    measure: str
    value: float
    """Mean over seeds."""
    seeds: tuple[float, ...]
    """Value of each seed."""
    interval: Interval | None = None
    """95%, over speakers or utterances, not over seeds; None where there is none."""

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; 0 of one."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else 0.0

    def plain(self) -> dict[str, Any]:
        """For probe.json."""
        low, high = self.interval or (None, None)
        return {
            **{name: getattr(self, name) for name in ("layer", "task", "head", "measure", "value", "spread")},
            "low": low,
            "high": high,
            "seeds": list(self.seeds),
        }


class ProbedLayer(NamedTuple):
    """A layer in memory."""

    name: str
    train: LayerFrames
    """Each dimension of zero mean and unit variance over the frames of train, and ``test`` by the same numbers."""
    test: LayerFrames
    raw: LayerFrames
    """Test as it was."""

    @property
    def dim(self) -> int:
        """D."""
        return self.train.x.shape[1]


class Probe(Protocol):
    """A task: figures of one layer after the other."""

    def score(self, layer: ProbedLayer) -> list[Figure]:
        """Train what there is to train on the layer, and score it."""
        ...


def error_interval(errors: np.ndarray, totals: np.ndarray, speakers: Sequence[str], bootstrap_samples: int) -> Interval:
    """95% interval of a rate of errors, as that of word error rates.

    Args:
        errors: of each utterance, or of each speaker, (N,); means over seeds.
        totals: of what, (N,).
        speakers: of each; empty for one that is not known.
        bootstrap_samples: resamples.
    """
    return wer_interval(WordCounts(errors, totals, numbered(list(speakers))), bootstrap_samples, seed=0)


def accuracy_interval(errors: Interval) -> Interval:
    """Of what is not an error."""
    return Interval(1 - errors.high, 1 - errors.low)
