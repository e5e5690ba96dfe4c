"""Whether two systems differ on the same utterances: paired bootstrap, and matched pairs of segments (MAPSSWE).

The first resamples whole speakers, where all are known and there are enough; utterances of one speaker go together,
and so do the differences of two systems on them. The second takes each stretch between words that both systems have
right as a case of its own, of which there are many: it finds smaller differences, and says nothing about other
speakers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from speechssl.evaluation.aligned import Aligned
from speechssl.evaluation.intervals import UPPER, Unit, WordCounts, by_unit, common_units, resampled_sums, unit_of

BOUNDARY_WORDS = 2
"""Words in a row that both systems have right end a segment, as in NIST's sc_stats."""


@dataclass(frozen=True)
class Difference:
    """Word error rate of the second system less that of the first; shares, not percent."""

    difference: float
    low: float
    """Lower end of the 95% interval."""
    high: float
    p_value: float
    """Two-sided: how likely so large a difference is between systems that are as good as each other."""
    unit: Unit
    """What was resampled."""
    num_units: int


@dataclass(frozen=True)
class SegmentTest:
    """Matched pairs sentence segment word error test."""

    num_segments: int
    """With an error of either system."""
    errors: tuple[int, int]
    """In them, of the first and the second system."""
    statistic: float | None
    """Mean of the second's errors less the first's, in units of its standard error; None if it has none."""
    p_value: float
    """Two-sided."""


class SegmentErrors(NamedTuple):
    """Errors of both systems in one segment."""

    first: int
    second: int


def paired_bootstrap(first: WordCounts, second: WordCounts, *, samples: int = 10_000, seed: int = 0) -> Difference:
    """Difference of two word error rates over resampled speakers or utterances, the same for both.

    The interval takes percentiles of the resamples, expanded for few units as that of one rate is; the p-value is what
    it takes for the interval to end at 0, so that they cannot contradict each other.

    Args:
        first: counts of a system.
        second: of the other, over the same utterances.
        samples: resamples.
        seed: of the resamples.

    Raises:
        DataError: the systems were scored on different references.
    """
    units = common_units([first, second])
    columns = np.stack([by_unit(values, units) for values in (second.edits - first.edits, units.words)], axis=1)
    edits, words = resampled_sums(columns, samples, seed).T
    differences = edits / np.maximum(words, 1)
    num_units = max(len(columns), 2)
    widened = np.sqrt(num_units / (num_units - 1))
    tail = 100 * ndtr(-widened * stdtrit(num_units - 1, UPPER))
    low, high = np.percentile(differences, (tail, 100 - tail))
    # Ties count half: of systems that are the same, every resample is one.
    below = ((differences < 0).sum() + (differences == 0).sum() / 2 + 0.5) / (samples + 1)
    beyond = ndtri(min(below, 1 - below)) / widened
    return Difference(
        difference=float(columns[:, 0].sum() / columns[:, 1].sum()),
        low=float(low),
        high=float(high),
        p_value=float(2 * stdtr(num_units - 1, beyond)),
        unit=unit_of(units),
        num_units=len(columns),
    )


def matched_pairs(first: Sequence[Aligned], second: Sequence[Aligned]) -> SegmentTest:
    """Matched pairs sentence segment word error test (Gillick and Cox 1989, "Some statistical issues in the comparison
    of speech recognition algorithms"), with the segments of NIST's sc_stats.

    The p-value is that of Student's t, which for many segments is the normal distribution's that the paper has. Where
    all segments differ by as much, it is that of the sign test.

    Args:
        first: alignments of a system.
        second: of the other, with the same references in the same order.
    """
    found = [segment for pair in zip(first, second, strict=True) for segment in segment_errors(*pair)]
    differences = np.array([segment.second - segment.first for segment in found], dtype=float)
    num = len(found)
    errors = sum(segment.first for segment in found), sum(segment.second for segment in found)
    spread = float(differences.std(ddof=1)) if num > 1 else 0.0
    if spread == 0:
        is_same = num == 0 or differences[0] == 0
        return SegmentTest(num, errors, None, 1.0 if is_same else min(1.0, 2.0 ** (1 - num)))
    statistic = float(differences.mean() / (spread / np.sqrt(num)))
    return SegmentTest(num, errors, statistic, float(2 * stdtr(num - 1, -abs(statistic))))


def segment_errors(first: Aligned, second: Aligned) -> list[SegmentErrors]:
    """Errors of two systems on an utterance, in each stretch between words that both have right.

    A stretch ends where ``BOUNDARY_WORDS`` in a row are right in both, with nothing inserted between them, and where
    the utterance ends.
    """
    found: list[SegmentErrors] = []
    errors, right = [0, 0], 0
    places = zip(_errors_by_place(first), _errors_by_place(second), strict=True)
    for place, (one, other) in enumerate(places):
        if one or other:
            errors, right = [errors[0] + one, errors[1] + other], 0
            continue
        right += place % 2  # words are at odd places
        if any(errors) and right == BOUNDARY_WORDS:
            found.append(SegmentErrors(*errors))
            errors = [0, 0]
    if any(errors):
        found.append(SegmentErrors(*errors))
    return found


def _errors_by_place(aligned: Aligned) -> Iterator[int]:
    """Errors before the first word of the reference, on it, between it and the next, and so on to the end."""
    inserted = 0
    for pair in aligned.pairs:
        if pair.kind == "insertion":
            inserted += 1
            continue
        yield inserted
        yield int(pair.kind != "hit")
        inserted = 0
    yield inserted
