"""Laws of scaling against laws that are known: recovery, and coverage of what is foretold."""

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.evaluation.curves import Amount
from speechssl.evaluation.intervals import WordCounts
from speechssl.evaluation.scaling import FittedLaw, PowerLaw, fit_law, foretell

NUM_SPEAKERS, WORDS_EACH = 20, 60


def drawn(law: PowerLaw, amounts: np.ndarray, num_seeds: int, seed: int, spread: float = 0.08) -> list[Amount]:
    """Evaluations of 20 speakers, whose rates deviate by 15%, by another 5% at each amount, and from run to run."""
    rng = np.random.default_rng(seed)
    voices = np.exp(0.15 * rng.standard_normal(NUM_SPEAKERS) - 0.15**2 / 2)
    points = []
    for amount, rate in zip(amounts, law.rate(amounts), strict=True):
        here = rate * voices * np.exp(0.05 * rng.standard_normal(NUM_SPEAKERS) - 0.05**2 / 2)
        runs = np.exp(spread * rng.standard_normal((num_seeds, 1)))
        edits = rng.binomial(WORDS_EACH, np.minimum(here * runs, 1)).astype(float)
        words, speakers = np.full(NUM_SPEAKERS, WORDS_EACH), np.arange(NUM_SPEAKERS)
        points.append(Amount(float(amount), [WordCounts(row, words, speakers) for row in edits]))
    return points


def shares_covered(found: list[FittedLaw], law: PowerLaw) -> list[float]:
    """How many of the intervals hold the exponent, and what there is at 2 and 10 times the greatest amount."""
    hits = []
    for item in found:
        truths = [law.exponent, *law.rate(np.array([point.amount for point in item.foretold]))]
        intervals = [item.exponent, *(point.rate for point in item.foretold)]
        hits.append([low <= truth <= high for truth, (_, low, high) in zip(truths, intervals, strict=True)])
    return np.mean(hits, axis=0).tolist()


def test_a_line_is_recovered_through_three_amounts_without_a_floor() -> None:
    law = fit_law([0.2, 0.1, 0.8], [0.4 * 4**0.3, 0.4 * 8**0.3, 0.4])
    assert law == pytest.approx((0, 0.4, 0.3, 0.8))
    assert law.rate(np.array([8.0])) == pytest.approx([0.4 * 10**-0.3])


@pytest.mark.parametrize("exponent", [0.5, 1.2])
def test_a_floor_is_recovered_from_six_amounts(exponent: float) -> None:
    amounts = 100 * 2.0 ** np.arange(6)
    law = fit_law(amounts.tolist(), (0.1 + 0.05 * (amounts / 3200) ** -exponent).tolist())
    assert law == pytest.approx((0.1, 0.05, exponent, 3200), rel=0.01)


def test_amounts_with_more_runs_weigh_more() -> None:
    rates, runs = [0.4, 0.3, 0.3], [1, 1, 100]
    assert abs(fit_law([1, 2, 4], rates, runs).scale - 0.3) < abs(fit_law([1, 2, 4], rates).scale - 0.3)


@pytest.mark.parametrize(
    ("amounts", "rates", "message"),
    [
        ([1, 2], [0.4, 0.3], "2 different amounts, expected 3 or more"),
        ([1, 2, 2], [0.4, 0.3, 0.3], "2 different amounts, expected 3 or more"),
        ([0, 1, 2], [0.4, 0.3, 0.2], "expected all of them to be over 0"),
        ([1, 2, 3], [0.4, 0.3, 0], "expected all of them to be over 0"),
    ],
)
def test_what_no_law_can_be_fitted_to_is_refused(amounts: list[float], rates: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_law(amounts, rates)


def test_intervals_cover_a_known_law() -> None:
    law, amounts = PowerLaw(0, 0.25, 0.3, 0.4), np.array([0.1, 0.2, 0.4])
    found = [foretell(drawn(law, amounts, 2, seed), samples=200, seed=seed) for seed in range(120)]
    assert all(share >= 0.89 for share in shares_covered(found, law))
    assert np.mean([item.says_nothing for item in found]) < 0.3
    # Nor are they so wide that they cover anything.
    assert np.median([item.exponent.high - item.exponent.low for item in found]) < 0.55
    assert np.median([item.run_spread for item in found]) == pytest.approx(0.08, rel=0.25)


def test_a_rate_that_does_not_fall_is_said_to_tell_nothing() -> None:
    law, amounts = PowerLaw(0, 0.3, 0.0, 0.4), np.array([0.1, 0.2, 0.4])
    found = [foretell(drawn(law, amounts, 2, seed), samples=200, seed=seed) for seed in range(60)]
    assert np.mean([item.says_nothing for item in found]) > 0.85


def test_speakers_who_differ_in_what_helps_them_make_it_less_sure() -> None:
    amounts, widths = [0.1, 0.2, 0.4], []
    words, speakers = np.full(NUM_SPEAKERS, WORDS_EACH), np.arange(NUM_SPEAKERS)
    for spread in (0.0, 0.9):
        helped = 1 + spread * np.where(speakers % 2, 1, -1)  # of 16, 8 and 4 errors each: the sums lie on a law
        rows = [8 + helped * (errors - 8.0) for errors in (16, 8, 4)]
        points = [Amount(x, [WordCounts(row, words, speakers)] * 2) for x, row in zip(amounts, rows, strict=True)]
        exponent = foretell(points, samples=200).exponent
        assert exponent.value == pytest.approx(1)
        widths.append(exponent.high - exponent.low)
    assert widths[0] < 0.02
    assert widths[1] > 0.2


def test_one_seed_is_less_sure_than_two() -> None:
    law, amounts = PowerLaw(0, 0.25, 0.3, 0.4), np.array([0.1, 0.2, 0.4])
    widths = []
    for num_seeds in (1, 2):
        found = [foretell(drawn(law, amounts, num_seeds, seed), samples=200) for seed in range(30)]
        widths.append(np.median([item.exponent.high - item.exponent.low for item in found]))
    assert widths[0] > 2 * widths[1]


def test_a_floor_is_fitted_from_five_amounts_on_and_the_band_holds_the_law() -> None:
    law, amounts = PowerLaw(0.1, 0.1, 0.5, 3.2), 0.1 * 2.0 ** np.arange(6)
    assert not foretell(drawn(law, amounts[:4], 2, 0), samples=50).has_floor
    found = foretell(drawn(law, amounts, 2, 0), samples=300)
    assert found.has_floor
    assert (found.band.low <= found.band.rates).all()
    assert (found.band.rates <= found.band.high).all()
    assert (found.band.low[-1], found.band.high[-1]) == pytest.approx(found.foretold[1].rate[1:])
    assert found.foretold[1].amount == pytest.approx(32)


def test_points_of_other_references_are_refused() -> None:
    points = drawn(PowerLaw(0, 0.3, 0.3, 1.0), np.array([0.2, 0.5, 1.0]), 1, 0)
    other = points[0].seeds[0]
    points[0] = Amount(0.2, [WordCounts(other.edits, other.words + 1, other.speakers)])
    with pytest.raises(DataError, match="different references"):
        foretell(points)


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [2, 3])
def test_intervals_cover_a_known_law_with_a_floor(num_seeds: int) -> None:
    law, amounts = PowerLaw(0.1, 0.12, 0.4, 3.2), 0.1 * 2.0 ** np.arange(6)
    found = [foretell(drawn(law, amounts, num_seeds, seed), samples=300, seed=seed) for seed in range(300)]
    assert all(share >= 0.9 for share in shares_covered(found, law))
