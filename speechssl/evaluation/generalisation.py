"""What a model loses away from the speech that it was made for, and whether a pretrained one loses less than another.

A loss is that of one set of recordings against another: the condition (noise, a telephone, other people) against the
reference. It has two forms, which may tell different stories of models whose references differ: the ratio of the two
word error rates, and their difference. Intervals are made as those of ``intervals.relative_reduction``.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from speechssl.evaluation.intervals import Estimate, WordCounts, by_unit, common_units, resampled_sums, t_margin

BOOTSTRAP_SAMPLES = 10_000

_Scale = Callable[[np.ndarray], np.ndarray]
"""From word error rates to what is subtracted."""


class Arm(NamedTuple):
    """A model on two sets; one entry for each of its seeds, in the same order."""

    reference: Sequence[WordCounts]
    condition: Sequence[WordCounts]


class Loss(NamedTuple):
    """What is lost from the reference to the condition, by one model or by one against another."""

    ratio: Estimate
    """Of the word error rates, condition over reference; of two models: the second's ratio over the first's."""
    difference: Estimate
    """Of the word error rates, condition less reference; of two models: the second's difference less the first's."""
    is_paired: bool
    """Whether both sets have the same utterances, which are then resampled together."""
    covers_seeds: bool
    """Whether the intervals expect other seeds too."""


def loss(arm: Arm) -> Loss:
    """What a model loses.

    Raises:
        DataError: seeds were scored on different references.
    """
    return _loss([arm], np.array([1.0]))


def loss_against(baseline: Arm, model: Arm) -> Loss:
    """What a model loses, against what the baseline loses: a ratio below 1, or a difference below 0, is less.

    Speakers, or utterances, are resampled alike for both models; those of two different sets each for themselves.

    Raises:
        DataError: the models were scored on different references.
    """
    return _loss([baseline, model], np.array([-1.0, 1.0]))


def _loss(arms: Sequence[Arm], signs: np.ndarray) -> Loss:
    """The signed sum of the arms' losses."""
    references = common_units([counts for arm in arms for counts in arm.reference])
    conditions = common_units([counts for arm in arms for counts in arm.condition])
    is_paired = _is_same(references, conditions)
    draws = [
        _resampled_rates([arm.reference for arm in arms], references),
        _resampled_rates([arm.condition for arm in arms], conditions),
    ]
    num_units = [len(by_unit(units.words, units)) for units in (references, conditions)]
    figures = []
    for scale in (np.log, _as_they_are):
        low, high = (scale(rates) @ signs for rates in draws)  # of each resample
        # Equal units are drawn alike, by equal seeds; resamples of n vary by (n - 1) / n of what new ones would.
        parts = [(high - low, num_units[0])] if is_paired else [(low, num_units[0]), (high, num_units[1])]
        variances = [(float(values.var()) * num / max(num - 1, 1), max(num - 1, 1)) for values, num in parts]
        variances += [_variance_of_seeds(arm, scale) for arm in arms if len(arm.reference) > 1]
        means = [scale(_mean_rate(arm.condition)) - scale(_mean_rate(arm.reference)) for arm in arms]
        figures.append((float(np.array(means) @ signs), t_margin(variances)))
    (log_ratio, log_margin), (difference, margin) = figures
    return Loss(
        ratio=Estimate(*(float(np.exp(log_ratio + x)) for x in (0.0, -log_margin, log_margin))),
        difference=Estimate(difference, difference - margin, difference + margin),
        is_paired=is_paired,
        covers_seeds=all(len(arm.reference) > 1 for arm in arms),
    )


def _as_they_are(rates: np.ndarray) -> np.ndarray:
    return rates


def _is_same(one: WordCounts, other: WordCounts) -> bool:
    """Whether two sets are the same utterances of the same people, as different recordings of them are."""
    if one.texts != other.texts or not np.array_equal(one.words, other.words):
        return False
    return (one.speakers is None) == (other.speakers is None) and (
        one.speakers is None or np.array_equal(one.speakers, other.speakers)  # type: ignore[arg-type]
    )


def _resampled_rates(seeds_of_arms: Sequence[Sequence[WordCounts]], units: WordCounts) -> np.ndarray:
    """Word error rate of each arm, the mean of its seeds, over resampled units, (samples, arms)."""
    edits = [np.mean([by_unit(counts.edits, units) for counts in seeds], axis=0) for seeds in seeds_of_arms]
    columns = np.stack([*edits, by_unit(units.words, units)], axis=1)
    sums = resampled_sums(columns, BOOTSTRAP_SAMPLES, seed=0)
    return _rate(sums[:, :-1], sums[:, -1:])


def _variance_of_seeds(arm: Arm, scale: _Scale) -> tuple[float, int]:
    """Variance of an arm's mean loss over its seeds, with its degrees of freedom."""
    pairs = zip(arm.condition, arm.reference, strict=True)
    losses = [float(scale(_mean_rate([far])) - scale(_mean_rate([near]))) for far, near in pairs]
    return float(np.var(losses, ddof=1)) / len(losses), len(losses) - 1


def _mean_rate(seeds: Sequence[WordCounts]) -> np.ndarray:
    """Word error rate, the mean of the seeds, ()."""
    return _rate(np.mean([counts.edits.sum() for counts in seeds]), seeds[0].words.sum())


def _rate(edits: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Edits over words; none count as half an edit, for which there is a logarithm."""
    return np.maximum(edits, 0.5) / np.maximum(words, 1)
