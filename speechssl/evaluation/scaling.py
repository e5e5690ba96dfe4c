"""How an error rate falls with an amount of audio or of parameters: a power law, and how sure what it foretells is.

rate(x) = floor + scale x^-exponent (Hestness et al. 2017, "Deep learning scaling is predictable, empirically", section
3; Kaplan et al. 2020, "Scaling laws for neural language models", section 1.2). It is fitted by least squares to the
logarithm of the rates (as Hoffmann et al. 2022, "Training compute-optimal large language models", section 3.3, whose
Huber loss is for hundreds of runs: among a handful no outlier can be told).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares
from scipy.special import ndtri, stdtrit

from speechssl.errors import DataError
from speechssl.evaluation.curves import Amount, mean_counts
from speechssl.evaluation.intervals import UPPER, Estimate, WordCounts, by_unit, common_units, resampled_sums

MIN_AMOUNTS = 3
"""A line through two amounts fits whatever they are."""
MIN_AMOUNTS_FOR_FLOOR = 5
"""With fewer a floor cannot be told from a smaller exponent; it is then taken to be 0."""
BOOTSTRAP_SAMPLES = 1000
TAILS = (2.5, 97.5)
FARTHER = (2.0, 10.0)
"""The greatest amount times these is what is foretold."""
MAX_EXPONENT = 4.0
"""Either way: steeper ones mean a jump between two amounts."""
MAX_DEVIATION = 7.0
"""Of the logarithm of a resampled rate: one degree of freedom draws any size."""
# Shapes of laws with a floor: its share of the rate at the greatest amount, and the exponent, closer together near 0.
_GRID = np.meshgrid(
    np.concatenate([[1e-5], np.linspace(0.02, 0.98, 49)]), MAX_EXPONENT * np.linspace(-1, 1, 161) ** 3, indexing="ij"
)
_SHARES, _EXPONENTS = (axis.ravel() for axis in _GRID)


class PowerLaw(NamedTuple):
    """floor + scale (x / unit)^-exponent."""

    floor: float
    """What no amount goes below, a share of the words; 0 where it was not fitted."""
    scale: float
    """What lies above the floor at one ``unit``."""
    exponent: float
    """Below 0: the rate rises."""
    unit: float
    """The greatest amount of those that were fitted."""

    def rate(self, x: np.ndarray) -> np.ndarray:
        """Error rates, shares, at amounts, both (N,)."""
        return self.floor + self.scale * (np.asarray(x, dtype=float) / self.unit) ** -self.exponent


class Foretold(NamedTuple):
    """What the law says of an amount beyond those that were measured."""

    amount: float
    rate: Estimate
    saved: Estimate
    """Of the errors that it says there are with the greatest amount, as a share."""


class Band(NamedTuple):
    """The law from the least amount to the farthest that is foretold, with its 95% interval; all (N,)."""

    amounts: np.ndarray
    rates: np.ndarray
    low: np.ndarray
    high: np.ndarray


class FittedLaw(NamedTuple):
    """A law, and how sure it is."""

    law: PowerLaw
    has_floor: bool
    """Whether the floor was fitted, rather than taken to be 0."""
    exponent: Estimate
    foretold: Sequence[Foretold]
    band: Band
    run_spread: float
    """Standard deviation of the logarithm of the rates, of single runs about what is expected of them."""
    run_freedom: int
    """Degrees of freedom of that."""

    @property
    def says_nothing(self) -> bool:
        """Whether the interval of the exponent includes 0: more may as well make it worse."""
        return self.exponent.low <= 0 <= self.exponent.high


def fit_law(amounts: Sequence[float], rates: Sequence[float], num_runs: Sequence[int] | None = None) -> PowerLaw:
    """The law through error rates; with a floor from ``MIN_AMOUNTS_FOR_FLOOR`` amounts on.

    Args:
        amounts: over 0, (K,).
        rates: over 0, (K,).
        num_runs: behind each rate, (K,), which are its weight; one if absent.

    Raises:
        DataError: fewer than ``MIN_AMOUNTS`` different amounts, or one that is not over 0.
    """
    x, y = np.array(amounts, dtype=float), np.array(rates, dtype=float)
    if len(set(amounts)) < MIN_AMOUNTS:
        raise DataError(
            f"{len(set(amounts))} different amounts, expected {MIN_AMOUNTS} or more to fit a law to; measure more"
        )
    if not (x > 0).all() or not (y > 0).all():
        raise DataError(f"amounts {x.tolist()} and rates {y.tolist()}: expected all of them to be over 0")
    weights = np.ones(len(x)) if num_runs is None else np.array(num_runs, dtype=float)
    z, logs = np.log(x / x.max()), np.log(y)
    if len(set(amounts)) < MIN_AMOUNTS_FOR_FLOOR:
        floor, scale, exponent = _lines(z, logs[None], weights)[0]
    else:
        floor, scale, exponent = _polish(z, logs, weights, _bends(z, logs[None], weights)[0])
    return PowerLaw(float(floor), float(scale), float(exponent), float(x.max()))


def _lines(z: np.ndarray, logs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Laws without a floor, which are lines in the logarithm.

    Args:
        z: logarithms of the amounts, the greatest 0, (K,).
        logs: of the rates, (N, K).
        weights: of the amounts, (K,).

    Returns:
        Floors, scales and exponents, (N, 3).
    """
    weights = weights / weights.sum()
    middle = weights @ z
    slopes = (logs * weights) @ (z - middle) / (weights @ (z - middle) ** 2)
    exponents = np.clip(-slopes, -MAX_EXPONENT, MAX_EXPONENT)
    scales = np.exp(logs @ weights + exponents * middle)
    return np.stack([np.zeros_like(scales), scales, exponents], axis=1)


def _bends(z: np.ndarray, logs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Laws with a floor; arguments and returns as of :func:`_lines`.

    The height of a law is a summand in the logarithm, so that the best one of a shape is known: the shapes are tried on
    a grid, which finds the best of all where descent ends in the nearest, and does so for all rows at once.
    """
    shapes = np.logaddexp(np.log(_SHARES)[:, None], np.log1p(-_SHARES)[:, None] - _EXPONENTS[:, None] * z)
    weights = weights / weights.sum()
    heights = shapes @ weights
    centred = (shapes - heights[:, None]) * np.sqrt(weights)
    levels = logs @ weights
    fits = ((logs - levels[:, None]) * np.sqrt(weights)) @ centred.T
    best = np.argmin((centred**2).sum(1) - 2 * fits, axis=1)
    scales = np.exp(levels - heights[best])
    return np.stack([scales * _SHARES[best], scales * (1 - _SHARES[best]), _EXPONENTS[best]], axis=1)


def _polish(z: np.ndarray, logs: np.ndarray, weights: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The law with a floor that descent finds from one of the grid, (3,)."""
    lower = [np.log(_SHARES[0]) + logs.min(), logs.min() - 10, -MAX_EXPONENT]
    upper = [logs.max(), logs.max() + 10, MAX_EXPONENT]

    def differences(theta: np.ndarray) -> np.ndarray:
        return np.sqrt(weights) * (np.logaddexp(theta[0], theta[1] - theta[2] * z) - logs)

    begin = np.clip([*np.log(start[:2]), start[2]], lower, upper)
    found = least_squares(differences, begin, bounds=(lower, upper)).x
    return np.array([*np.exp(found[:2]), found[2]])


def foretell(points: Sequence[Amount], *, samples: int = BOOTSTRAP_SAMPLES, seed: int = 0) -> FittedLaw:
    """The law of the mean rates over seeds, with 95% intervals by bootstrap over speakers and runs jointly.

    Each resample has other speakers, or utterances, the same at all amounts; and other runs, whose deviations are drawn
    from a normal distribution, since the few seeds at an amount resampled would vary too little. Its variance is pooled
    over the amounts: what lies between seeds, and what lies between the means and the law (which is all that one seed
    has, and which a law that does not hold raises); how uncertain it is by its degrees of freedom is drawn too.

    Args:
        points: the seeds' counts at each amount.
        samples: resamples.
        seed: of the resamples.

    Raises:
        DataError: too few amounts, or they were scored on different references.
    """
    points = sorted(points, key=lambda point: point.amount)
    x = np.array([point.amount for point in points])
    num_runs = np.array([len(point.seeds) for point in points])
    runs = [np.log([rate_of(counts) for counts in point.seeds]) for point in points]
    means = np.array([np.log(rate_of(mean_counts(point.seeds))) for point in points])
    law = fit_law(x.tolist(), np.exp(means).tolist(), num_runs.tolist())
    units = common_units([counts for point in points for counts in point.seeds])
    has_floor = len(set(x.tolist())) >= MIN_AMOUNTS_FOR_FLOOR
    squares = sum(float(((logs - logs.mean()) ** 2).sum()) for logs in runs)
    squares += float((num_runs * (means - np.log(law.rate(x))) ** 2).sum())
    freedom = int(num_runs.sum()) - (3 if has_floor else 2)
    rng = np.random.Generator(np.random.PCG64(seed))
    spread = np.sqrt(squares / rng.chisquare(freedom, size=(samples, 1)))
    deviations = spread * rng.standard_normal((samples, len(x))) / np.sqrt(num_runs)
    deviations = np.clip(deviations, -MAX_DEVIATION, MAX_DEVIATION)
    resampled = means + speaker_deviations(points, units, samples, seed) + deviations
    fitted = (_bends if has_floor else _lines)(np.log(x / law.unit), resampled, num_runs)
    laws = [PowerLaw(floor, scale, exponent, law.unit) for floor, scale, exponent in fitted.tolist()]
    return _with_intervals(law, laws, x, has_floor, float(np.sqrt(squares / freedom)), freedom)


def rate_of(counts: WordCounts) -> float:
    """Error rate; none counts as half an error, so that it has a logarithm."""
    return max(float(counts.edits.sum()), 0.5) / max(float(counts.words.sum()), 1.0)


def speaker_deviations(points: Sequence[Amount], units: WordCounts, samples: int, seed: int) -> np.ndarray:
    """Logarithms of the rates at each amount over resampled speakers, less those of the whole set, (samples, K).

    Widened for a small number of them as in :func:`~speechssl.evaluation.intervals.wer_interval`.
    """
    columns = [by_unit(mean_counts(point.seeds).edits, units) for point in points] + [by_unit(units.words, units)]
    table = np.stack(columns, axis=1)
    sums = np.maximum(np.concatenate([table.sum(0, keepdims=True), resampled_sums(table, samples, seed)]), 0.5)
    logs = np.log(sums[:, :-1] / sums[:, -1:])
    num_units = max(len(table), 2)
    widened = np.sqrt(num_units / (num_units - 1)) * stdtrit(num_units - 1, UPPER) / ndtri(UPPER)
    return widened * (logs[1:] - logs[0])


def _with_intervals(
    law: PowerLaw, laws: Sequence[PowerLaw], x: np.ndarray, has_floor: bool, spread: float, freedom: int
) -> FittedLaw:
    """A law with the percentiles of those of its resamples."""

    def estimate(value: float, values: np.ndarray) -> Estimate:
        low, high = np.percentile(values, TAILS)
        return Estimate(float(value), float(low), float(high))

    greatest = x.max()
    foretold = []
    for factor in FARTHER:
        at = np.array([greatest, factor * greatest])
        here, there = np.array([item.rate(at) for item in laws]).T
        first, last = law.rate(at)
        saved = estimate(1 - last / first, 1 - there / here)
        foretold.append(Foretold(float(at[1]), estimate(last, there), saved))
    grid = np.geomspace(x.min(), max(FARTHER) * greatest, 60)
    low, high = np.percentile([item.rate(grid) for item in laws], TAILS, axis=0)
    exponent = estimate(law.exponent, np.array([item.exponent for item in laws]))
    return FittedLaw(law, has_floor, exponent, foretold, Band(grid, law.rate(grid), low, high), spread, freedom)
