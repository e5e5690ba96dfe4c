"""Where in its file a recording is, as a row of a list says it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from speechssl.ingest.describing import length_of
from speechssl.ingest.recordings import Findings, Recording
from speechssl.shards.fields import TIMES, UNITS
from speechssl.shards.values import seconds_from

_FIELDS = frozenset(field + unit for field in TIMES for unit in UNITS)
_UNITS = (("", 1.0), ("_ms", 1000.0))
_ROUNDING = 0.05
"""Seconds by which begin, end and length of a row may disagree."""


class Times(NamedTuple):
    """Begin and end in seconds, None and None for a whole file, and how long the row says that it is."""

    start: float | None = None
    stop: float | None = None
    stated: float | None = None
    disagree: bool = False
    """Whether begin and end are not as far apart as the row says in another column."""


NO_TIMES = Times()


def has_times(columns: Mapping[str, str]) -> bool:
    """Whether there is a column with times at all."""
    return not _FIELDS.isdisjoint(columns)


def times_of(values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> Times:
    """Times of a row.

    Raises:
        ValueError: not a number, negative, an end before its begin, or samples of which the rate is not said.
    """
    start, end = _seconds("start", values, columns, found), _seconds("end", values, columns, found)
    duration = length_of(values, columns, found)
    # A duration alone is the length of the file, rounded; to cut there would lose or demand some samples of each.
    if end is None and (start is None or (start == 0 and duration is None)):
        return Times(stated=duration) if duration is not None else NO_TIMES
    if start is None:
        start = max(end - duration, 0.0) if end is not None and duration is not None else 0.0
    stop = end if end is not None else start + duration if duration is not None else None
    if stop is not None and stop <= start:
        raise ValueError(f"a segment from {start:g} to {stop:g} s, expected an end after its begin")
    disagree = stop is not None and duration is not None and abs(stop - start - duration) > _ROUNDING
    return Times(start, stop, None if disagree else duration, disagree)


def _seconds(field: str, values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> float | None:
    """A begin or an end, in whatever unit."""
    for unit, per_second in _UNITS:
        column = columns.get(field + unit)
        if column is not None:
            return seconds_from(values.get(column), column, found.missing, per_second=per_second)
    column = columns.get(f"{field}_frames")
    if column is not None and values.get(column) not in (None, ""):
        raise ValueError(f"{column} is {values[column]!a}, frames of a length that is not said; give seconds")
    column = columns.get(f"{field}_samples")
    if column is None:
        return None
    samples = seconds_from(values.get(column), column, found.missing)
    if samples is None:
        return None
    rate = columns.get("sample_rate", "")
    rate_hertz = seconds_from(values.get(rate), rate, found.missing)
    if not rate_hertz:
        raise ValueError(
            f"{column} is {values[column]!a}, samples of a rate that is not said; add a column sample_rate, or give "
            "seconds"
        )
    return samples / rate_hertz


def segment_name(recording: Recording) -> str:
    """What a key says of a recording that is not the whole of its file; in the order of time if keys are sorted."""
    times = (recording.start_seconds, recording.stop_seconds)
    name = "".join(f"-{round(seconds * 1000):08d}" for seconds in times if seconds is not None)
    return name if recording.channel is None else f"{name}-ch{recording.channel}"
