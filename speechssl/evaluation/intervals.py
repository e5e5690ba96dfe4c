"""How sure a word error rate is, and what one model saves over another: by resampling speakers, and by the spread of
seeds.

Utterances of one speaker are easy or hard together, so resampling utterances (Bisani and Ney 2004, "Bootstrap estimates
for confidence intervals in ASR performance evaluation") gives an interval for other utterances of the same people.
Whole speakers are resampled where they are known, as blocks (Liu and Peng 2020, "Statistical testing on ASR performance
via blockwise bootstrap"). docs/decisions.md has the coverage of both in a simulation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

from speechssl.errors import DataError

Unit = Literal["speakers", "utterances"]

MIN_SPEAKERS = 10
"""Fewer speakers than this are not resampled: an interval from so few says little about others."""
UPPER = 0.975
"""Upper end of a 95% interval."""
# Weights of resamples are drawn in blocks, or those of many utterances would fill the memory.
_BLOCK_DRAWS = 10_000_000


@dataclass(frozen=True)
class WordCounts:
    """Edits and reference words of each utterance, in one order for all models."""

    edits: np.ndarray
    """(N,)."""
    words: np.ndarray
    """(N,)."""
    speakers: np.ndarray | None = None
    """Number of each utterance's speaker, counted from 0, (N,); None unless all are known."""
    texts: str = ""
    """Digest of ids and references."""


class Estimate(NamedTuple):
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float


class Interval(NamedTuple):
    """95% interval of a word error rate."""

    low: float
    high: float


@dataclass(frozen=True)
class RelativeReduction:
    """How much lower the word error rate of one model is, as a share of the other's."""

    reduction: float
    low: float
    """Lower end of the 95% interval."""
    high: float
    unit: Unit
    """What the interval expects to be others next time."""
    num_units: int
    covers_seeds: bool
    """Whether it expects other seeds too. Without two seeds of each model their spread is not known."""
    p_value: float
    """Two-sided: how likely so large a reduction or increase is where there is none; of the same t as the interval."""


def num_speakers(counts: WordCounts) -> int:
    """Speakers of a set; 0 unless all are known."""
    return 0 if counts.speakers is None else int(counts.speakers.max()) + 1


def unit_of(counts: WordCounts) -> Unit:
    """What is resampled: speakers if all are known and there are at least ``MIN_SPEAKERS``."""
    return "speakers" if num_speakers(counts) >= MIN_SPEAKERS else "utterances"


def name_units(unit: Unit, num_speakers: int, num_utterances: int) -> str:
    """What an interval is over, in words, and why it is not over speakers if it is not."""
    if unit == "speakers":
        return f"{num_speakers} speakers"
    if num_speakers == 0:
        return f"{num_utterances} utterances, whose speakers are not known: over other speakers it is wider"
    return (
        f"{num_utterances} utterances: {num_speakers} speakers are fewer than {MIN_SPEAKERS}, so it says nothing about "
        "others"
    )


def by_unit(values: np.ndarray, counts: WordCounts) -> np.ndarray:
    """Sums of a figure per utterance, (N,), over each of the units that are resampled, (units,)."""
    if unit_of(counts) == "utterances":
        return values
    return np.bincount(counts.speakers, weights=values)  # type: ignore[arg-type]


def resampled_sums(columns: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Sums over resamples of the rows, drawn with replacement.

    Args:
        columns: figures of each unit, (units, K).
        samples: resamples.
        seed: of the rng.

    Returns:
        (samples, K).
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    num_units = len(columns)
    sums, block = [], max(1, _BLOCK_DRAWS // num_units)
    for start in range(0, samples, block):
        size = min(block, samples - start)
        sums.append(rng.multinomial(num_units, np.full(num_units, 1 / num_units), size=size) @ columns)
    return np.concatenate(sums)


def wer_interval(counts: WordCounts, samples: int, seed: int) -> Interval:
    """95% percentile interval of the word error rate over resampled speakers or utterances.

    The percentiles are expanded for a small number of units, whose resamples vary too little (Hesterberg 2015, "What
    teachers should know about the bootstrap"): to 0.9 and 99.1 for 10 of them.
    """
    columns = np.stack([by_unit(counts.edits, counts), by_unit(counts.words, counts)], axis=1)
    edits, words = resampled_sums(columns, samples, seed).T
    num_units = max(len(columns), 2)
    tail = 100 * ndtr(-np.sqrt(num_units / (num_units - 1)) * stdtrit(num_units - 1, UPPER))
    low, high = np.percentile(edits / np.maximum(words, 1), (tail, 100 - tail))
    return Interval(float(low), float(high))


def relative_reduction(
    baseline: Sequence[WordCounts], model: Sequence[WordCounts], *, bootstrap_samples: int = 10_000, seed: int = 0
) -> RelativeReduction:
    """Reduction of the mean word error rate over seeds, (baseline - model) / baseline.

    The interval is one of Student's t on the logarithm of the ratio of the two rates. Its variance is that over
    resampled speakers or utterances, the same for both models, and, where each model has two seeds, the variance of
    either mean over seeds; Welch and Satterthwaite's formula gives its degrees of freedom. Resampling three seeds
    instead would give two thirds of their variance. A rate of 0 counts as half an error.

    Args:
        baseline: counts of each seed, over the same utterances throughout.
        model: likewise.
        bootstrap_samples: resamples of speakers or utterances.
        seed: of the resamples.

    Raises:
        DataError: the models were scored on different references.
    """
    units = common_units([*baseline, *model])
    arms = [np.stack([by_unit(counts.edits, units) for counts in arm], axis=1) for arm in (baseline, model)]
    num_units = len(arms[0])
    resampled = resampled_sums(np.stack([arm.mean(1) for arm in arms], axis=1), bootstrap_samples, seed)
    ratios = log_ratio(*resampled.T)
    # Resamples of n units vary by (n - 1) / n of what new units would.
    parts = [(float(ratios.var()) * num_units / max(num_units - 1, 1), max(num_units - 1, 1))]
    covers_seeds = min(len(baseline), len(model)) > 1
    if covers_seeds:
        parts += [(squared_error_of_mean(arm.sum(0)), arm.shape[1] - 1) for arm in arms]
    centre = float(log_ratio(*(arm.mean(1).sum() for arm in arms)))
    error, freedom = spread_of(parts)
    margin = t_margin(parts)
    return RelativeReduction(
        reduction=float(1 - np.exp(centre)),
        low=float(1 - np.exp(centre + margin)),
        high=float(1 - np.exp(centre - margin)),
        unit=unit_of(units),
        num_units=num_units,
        covers_seeds=covers_seeds,
        p_value=float(2 * stdtr(freedom, -abs(centre) / error)) if error else float(centre == 0),
    )


def common_units(every: Sequence[WordCounts]) -> WordCounts:
    """Words, speakers and texts that all have; no speakers if one evaluation does not know them.

    Raises:
        DataError: the references differ.
    """
    first = every[0]
    if any(counts.texts != first.texts or not np.array_equal(counts.words, first.words) for counts in every):
        raise DataError("the two arms were scored on different references; evaluate both on the same shards")
    known = all(counts.speakers is not None and np.array_equal(counts.speakers, first.speakers) for counts in every)  # type: ignore[arg-type]
    return WordCounts(first.edits, first.words, first.speakers if known else None, first.texts)


def log_ratio(baseline: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Logarithm of model / baseline, in edits over the same words."""
    return np.log(np.maximum(model, 0.5) / np.maximum(baseline, 0.5))


def squared_error_of_mean(edits: np.ndarray) -> float:
    """Variance of the logarithm of the mean over seeds, (seeds,), to first order."""
    return float(edits.var(ddof=1) / len(edits) / max(edits.mean(), 0.5) ** 2)


def t_margin(parts: Sequence[tuple[float, int]]) -> float:
    """Half the width of a 95% interval from a sum of variances, each with its degrees of freedom."""
    error, freedom = spread_of(parts)
    return float(stdtrit(freedom, UPPER) * error)


def spread_of(parts: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Standard error, and its degrees of freedom, from variances with theirs (Satterthwaite)."""
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return 0.0, 1.0
    return float(np.sqrt(total)), total**2 / sum(variance**2 / degrees for variance, degrees in parts)
