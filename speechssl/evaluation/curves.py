"""Word error rates against an amount of data: how much of it one model needs to read as well as another.

A model that reads at 30% with 5 minutes of labels, where the one from scratch takes 12 for it, saves 7 minutes. Between
measured amounts the rate is taken to fall linearly in the logarithm of the amount. What lies outside the amounts that
were measured is not guessed: it is below the least of them, 0, or beyond the most, infinity.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from speechssl.evaluation.intervals import WordCounts, by_unit, common_units, resampled_sums

BOOTSTRAP_SAMPLES = 2000
TAILS = (2.5, 97.5)


class Amount(NamedTuple):
    """What a model came to with an amount of data."""

    amount: float
    seeds: Sequence[WordCounts]
    """One for each seed, over the same utterances throughout."""


class Needed(NamedTuple):
    """The least amount with which the baseline reads as well, and its 95% interval; 0: less than any that was measured,
    infinite: more than any."""

    amount: float
    low: float
    high: float


def mean_counts(seeds: Sequence[WordCounts]) -> WordCounts:
    """The mean of the seeds' edits.

    Raises:
        DataError: their references differ.
    """
    common = common_units(seeds)
    return WordCounts(np.mean([counts.edits for counts in seeds], axis=0), common.words, common.speakers)


def amount_needed(amounts: np.ndarray, rates: np.ndarray, rate: float) -> float:
    """The least amount at which a curve is down at a rate.

    Args:
        amounts: ascending, over 0, (K,).
        rates: at these amounts; they need not fall throughout, (K,).
        rate: to be reached.

    Returns:
        0 if the least amount is enough, infinity if no amount is.
    """
    reached = np.flatnonzero(rates <= rate)
    if len(reached) == 0:
        return float("inf")
    i = int(reached[0])
    if rates[i] == rate:
        return float(amounts[i])
    if i == 0:
        return 0.0
    share = (rates[i - 1] - rate) / (rates[i - 1] - rates[i])
    return float(np.exp(np.interp(share, (0, 1), np.log(amounts[i - 1 : i + 1]))))


def baseline_needs(baseline: Sequence[Amount], model: Sequence[WordCounts], *, seed: int = 0) -> Needed:
    """How much data the baseline needs to read as well as a model.

    The interval is the percentiles over resampled speakers, or utterances, the same for both; it says nothing about
    other seeds.

    Args:
        baseline: in order of the amounts.
        model: counts of each of its seeds.
        seed: of the resamples.

    Raises:
        DataError: they were scored on different references.
    """
    units = common_units([*(counts for point in baseline for counts in point.seeds), *model])
    means = [mean_counts(point.seeds) for point in baseline] + [mean_counts(model)]
    edits = np.stack([by_unit(counts.edits, units) for counts in means], axis=1)  # (units, K + 1)
    amounts = np.array([point.amount for point in baseline])
    sums = resampled_sums(edits, BOOTSTRAP_SAMPLES, seed)
    # The words are the same on both sides, so that edits stand for rates.
    needed = [amount_needed(amounts, row[:-1], row[-1]) for row in sums]
    whole = edits.sum(0)
    low, high = np.percentile(needed, TAILS, method="nearest")
    return Needed(amount_needed(amounts, whole[:-1], whole[-1]), float(low), float(high))
