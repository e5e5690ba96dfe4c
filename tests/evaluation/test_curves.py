"""Amounts of data that a baseline needs to read as well as a model."""

import math

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.evaluation.curves import Amount, amount_needed, baseline_needs, mean_counts
from speechssl.evaluation.intervals import WordCounts

AMOUNTS = np.array([1.0, 2.0, 5.0, 10.0])
RATES = np.array([0.9, 0.6, 0.5, 0.2])


def by_steps(rate: float) -> float:
    """The least amount, by walking up the curve in small steps."""
    for exponent in np.arange(0, 1.0001, 1e-5):
        if np.interp(exponent, np.log10(AMOUNTS), RATES) <= rate:
            return float(10**exponent)
    return math.inf


@pytest.mark.parametrize("rate", [0.85, 0.6, 0.55, 0.3, 0.21])
def test_amount_is_where_the_curve_in_the_logarithm_comes_down(rate: float) -> None:
    assert amount_needed(AMOUNTS, RATES, rate) == pytest.approx(by_steps(rate), rel=1e-4)


def test_nothing_is_guessed_outside_of_what_was_measured() -> None:
    assert amount_needed(AMOUNTS, RATES, 0.95) == 0
    assert amount_needed(AMOUNTS, RATES, 0.9) == 1
    assert amount_needed(AMOUNTS, RATES, 0.2) == pytest.approx(10)
    assert amount_needed(AMOUNTS, RATES, 0.19) == math.inf


def test_of_a_curve_that_rises_again_the_first_amount_counts() -> None:
    assert amount_needed(np.array([1.0, 2.0, 4.0]), np.array([0.8, 0.4, 0.6]), 0.4) == pytest.approx(2)


def counts(rate: float, *, speakers: int = 20, each: int = 10, texts: str = "a", seed: int = 0) -> WordCounts:
    """Utterances of ten words, of speakers who are harder and easier by the same for every rate."""
    ease = np.repeat(np.random.default_rng(seed).uniform(0.7, 1.3, speakers), each)
    return WordCounts(10 * rate * ease, np.full(speakers * each, 10), np.repeat(np.arange(speakers), each), texts)


def test_model_that_is_the_baseline_needs_its_own_amount() -> None:
    baseline = [Amount(amount, [counts(rate)]) for amount, rate in zip(AMOUNTS, RATES, strict=True)]
    needed = baseline_needs(baseline, [counts(0.5)])
    # Every resample has the same speakers on both sides.
    assert needed == pytest.approx((5, 5, 5), rel=1e-6)


def test_interval_is_wider_where_speakers_differ_between_models() -> None:
    baseline = [Amount(amount, [counts(rate)]) for amount, rate in zip(AMOUNTS, RATES, strict=True)]
    needed = baseline_needs(baseline, [counts(0.5, seed=1)])
    assert needed.low < needed.amount < needed.high
    assert needed.high - needed.low > 0.5


def test_interval_may_reach_beyond_what_was_measured() -> None:
    baseline = [Amount(amount, [counts(rate)]) for amount, rate in zip(AMOUNTS, RATES, strict=True)]
    needed = baseline_needs(baseline, [counts(0.2, seed=1)])
    assert needed.low < 10
    assert needed.high == math.inf


def test_seeds_are_averaged_and_other_references_refused() -> None:
    assert mean_counts([counts(0.2), counts(0.4)]).edits == pytest.approx(counts(0.3).edits)
    baseline = [Amount(amount, [counts(rate)]) for amount, rate in zip(AMOUNTS, RATES, strict=True)]
    with pytest.raises(DataError, match="different references"):
        baseline_needs(baseline, [counts(0.5, texts="b")])
