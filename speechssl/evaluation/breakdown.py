"""Error rates of parts of a set: by speaker, by length, and by whatever else is known of the utterances."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from speechssl.errors import DataError
from speechssl.evaluation.error_rates import ScoredSet, sum_edits
from speechssl.evaluation.intervals import MIN_SPEAKERS, Unit, WordCounts, unit_of, wer_interval

Columns = Mapping[str, Mapping[str, str | float]]
"""What is known of utterances, by id and name."""
LENGTH = "length"
"""Words of the reference: always known."""
LENGTHS = ((0, 0), (1, 2), (3, 5), (6, 10), (11, 20), (21, None))
"""Words from and to."""
MAX_GROUPS = 50
"""A column of more different texts is taken for one of names or remarks; speakers may be as many as there are."""
NUM_PARTS = 4
"""Of a column of numbers: quarters of the utterances."""
_SAMPLES = 2_000
_MIN_UNITS = MIN_SPEAKERS
"""An interval from fewer utterances says little."""


@dataclass(frozen=True)
class Group:
    """Utterances that have something in common."""

    name: str
    num_utterances: int
    num_words: int
    substitutions: int
    deletions: int
    insertions: int
    wer: float | None
    """A share; None if the references have no word."""
    wer_low: float | None
    """Lower end of the 95% interval; None for fewer than 10 utterances."""
    wer_high: float | None
    cer: float | None
    interval_unit: Unit | None
    """What was resampled."""


class Breakdown(NamedTuple):
    """Error rates by one column."""

    column: str
    groups: list[Group]


def break_down(scored: ScoredSet, columns: Columns, wanted: Sequence[str] = (), *, seed: int = 0) -> list[Breakdown]:
    """Error rates by the columns that are of use for it.

    Args:
        scored: what was aligned.
        columns: what is known of its utterances.
        wanted: columns to break down by, ``length`` for words of the references; all that are suited if empty.
        seed: of the resamples.

    Raises:
        DataError: a wanted column is not there.
    """
    names = list(dict.fromkeys(name for values in columns.values() for name in values))
    if unknown := [name for name in wanted if name != LENGTH and name not in names]:
        there = ", ".join([LENGTH, *names])
        raise DataError(f"no utterance has {', '.join(unknown)} to break down by; the references have {there}")
    found = []
    for name in wanted or dict.fromkeys((LENGTH, *names)):
        if name == LENGTH:
            labels: list[str] | None = length_labels(scored)
        else:
            labels = labels_of(scored.ids, name, columns, any_number=bool(wanted))
        if labels is not None:
            found.append(Breakdown(name, groups_of(scored, labels, seed)))
    return found


def length_labels(scored: ScoredSet) -> list[str]:
    """Which of ``LENGTHS`` each reference has."""
    return [_name_length(int(words)) for words in scored.counts.words]


def _name_length(words: int) -> str:
    low, high = next((low, high) for low, high in LENGTHS if high is None or words <= high)
    if high is None:
        return f"{low} and more"
    return f"{low}" if low == high else f"{low} to {high}"


def labels_of(ids: Sequence[str], name: str, columns: Columns, *, any_number: bool = False) -> list[str] | None:
    """Group of each utterance by a column; None if all are one, or almost each is one of its own.

    Args:
        ids: of the utterances.
        name: of the column.
        columns: what is known.
        any_number: whether texts may be as different as they are.
    """
    values = [columns.get(i, {}).get(name) for i in ids]
    numbers = [_number(value) for value in values]
    are_numbers = all(number is not None for number, value in zip(numbers, values, strict=True) if value is not None)
    different = {value for value in values if value is not None}
    if name != "speaker" and are_numbers and len(different) > NUM_PARTS:
        return _parts(numbers)
    labels = ["unknown" if value is None else str(value) for value in values]
    num = len(set(labels))
    if num < 2 or (num > MAX_GROUPS and name != "speaker" and not any_number):
        return None
    return labels


def _number(value: str | float | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and np.isfinite(number) else None


def _parts(numbers: Sequence[float | None]) -> list[str] | None:
    """Quarters of the utterances, in order of a number."""
    known = np.array([number for number in numbers if number is not None])
    edges = np.unique(np.quantile(known, np.linspace(0, 1, NUM_PARTS + 1)[1:-1]))
    parts = np.searchsorted(edges, known, side="right")
    if len(set(parts)) < 2:
        return None
    spans = {part: known[parts == part] for part in set(parts)}
    names = {part: f"{span.min():.4g} to {span.max():.4g}" for part, span in spans.items()}
    labels = iter(names[part] for part in parts)
    return ["unknown" if number is None else next(labels) for number in numbers]


def groups_of(scored: ScoredSet, labels: Sequence[str], seed: int = 0) -> list[Group]:
    """Error rates of the utterances of each label, in order of number or of name."""
    members: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        members.setdefault(label, []).append(i)
    return [_group(scored, name, np.array(members[name]), seed) for name in sorted(members, key=_order)]


def _order(name: str) -> tuple[float, str]:
    number = _number(name.split(" ", maxsplit=1)[0])
    return (float("inf") if number is None else number), name


def _group(scored: ScoredSet, name: str, rows: np.ndarray, seed: int) -> Group:
    words = sum_edits([scored.words[i] for i in rows])
    characters = sum_edits([scored.characters[i] for i in rows])
    counts = _counts_of(scored.counts, rows)
    has_words = words.in_reference > 0
    has_interval = has_words and len(rows) >= _MIN_UNITS
    interval = wer_interval(counts, _SAMPLES, seed) if has_interval else None
    return Group(
        name=name,
        num_utterances=len(rows),
        num_words=words.in_reference,
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        wer=words.errors / words.in_reference if has_words else None,
        wer_low=interval.low if interval else None,
        wer_high=interval.high if interval else None,
        cer=characters.errors / characters.in_reference if has_words else None,
        interval_unit=unit_of(counts) if has_interval else None,
    )


def _counts_of(counts: WordCounts, rows: np.ndarray) -> WordCounts:
    """Of some utterances; their speakers are numbered anew."""
    speakers = None if counts.speakers is None else np.unique(counts.speakers[rows], return_inverse=True)[1]
    return WordCounts(counts.edits[rows], counts.words[rows], speakers)


def worst_first(breakdown: Breakdown) -> list[Group]:
    """Groups in order of their error rates, those without a rate last."""
    return sorted(breakdown.groups, key=lambda group: -1.0 if group.wer is None else group.wer, reverse=True)
