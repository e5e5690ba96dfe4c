"""Rows of lists, as the readers of the formats hand them on, and what each of them says by itself."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from speechssl.ingest.describing import channel_of, described, identifier_of, length_of, present_in
from speechssl.ingest.recordings import Findings, Recording
from speechssl.shards.fields import columns_of, expected_names
from speechssl.shards.values import is_utf8, seconds_from

_TEXT_FILE = re.compile(r"\S+\.(txt|lab|trn|transcript|textgrid|srt|vtt)", re.IGNORECASE)


class Row(NamedTuple):
    """What one line of a list says, or why it cannot be understood."""

    line: int | str
    """Its number, or its place in a list that is not one of lines."""
    values: Mapping[str, Any] = {}
    """By column."""
    problem: str = ""
    """Why it is left out; empty for a row that can be used."""
    file: str = ""
    """Where the line is, if not in the list itself but in a file beside it."""
    reason: str = "wrong line"
    """Of the rejection, if there is a problem."""


class Listed(NamedTuple):
    """All rows of a list."""

    rows: Iterable[Row]
    columns: Mapping[str, str] | None = None
    """By field what the values of the rows are called; None to go by their names."""
    place: str = "column"
    """What the names are, in counts of where fields were found: columns, or files beside the list."""
    root: str = ""
    """Folder that paths are relative to, if not that of the list."""


class Item(NamedTuple):
    """A row that is understood, but for the file that it means."""

    where: str
    """List, or file beside it, and line."""
    name: str
    """Path as the list has it."""
    own_id: str
    """Empty if it has none."""
    known: Recording
    """Without key and path."""
    columns: Mapping[str, str]
    present: tuple[str, ...]
    """Columns that have a value."""


def understand(row: Row, where: str, listed: Listed, folder: str, found: Findings) -> Item:
    """What a row says; raises ValueError if it is wrong.

    Args:
        row: one of ``listed``.
        where: list, or file beside it, and line.
        listed: the list.
        folder: that its paths are relative to.
        found: where missing values are noted.
    """
    if row.problem:
        raise ValueError(row.problem)
    values, num_missing = row.values, len(found.missing)
    columns = columns_of(tuple(values)) if listed.columns is None else listed.columns
    name = path_of(values, columns)
    known = described(values, columns, found)
    text = known.text
    if "." in text[-11:-2] and _TEXT_FILE.fullmatch(text) and os.path.exists(os.path.join(folder, text)):
        raise ValueError(f"{columns['text']} is the name of a file, {text}; the list should have the words in it")
    start, stop, stated = times_of(values, columns, found)
    known = known._replace(
        start_seconds=start,
        stop_seconds=stop,
        channel=channel_of(values, columns, found),
        stated_seconds=stated,
        stated_frames=_frames(values.get(columns.get("frames", ""))),
    )
    own_id = identifier_of("id", values, columns, found)
    return Item(where, name, own_id, known, columns, present_in(values, found.missing[num_missing:]))


def _frames(value: Any) -> int | None:
    """A stated number of frames; None if there is none."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError(f"its number of frames is {value!a}, expected a whole number from 0")


def path_of(values: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """Path of a row's file as it is written; raises ValueError if there is none."""
    column = columns.get("path", "")
    value = values.get(column)
    if isinstance(value, dict):  # as Hugging Face writes its audio columns, and SpeechBrain what it cuts
        if value.get("start") or value.get("stop"):
            raise ValueError(f"{column} has a start and stop in samples; give columns start and end, in seconds")
        value = value.get("path") or value.get("file")
        if not value:
            raise ValueError(f"no path in {column}; audio in a list is not read, write it to files")
    if value is None or value == "" or value != value:
        raise ValueError(f"no path in its fields {', '.join(values)}; expected one in {expected_names('path')}")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{column} is a {type(value).__name__}, expected the path of one file")
    name = str(value)
    if not is_utf8(name):
        raise ValueError(f"{column} {name!a} is not UTF-8; convert the file, for instance with iconv")
    return name


def times_of(
    values: Mapping[str, Any], columns: Mapping[str, str], found: Findings
) -> tuple[float | None, float | None, float | None]:
    """Begin and end in seconds, None and None for a whole file, and how long the row says that it is.

    Raises:
        ValueError: not a number, negative, an end before its begin, or times in samples or frames.
    """
    start, end = _seconds("start", values, columns, found), _seconds("end", values, columns, found)
    duration = length_of(values, columns, found)
    # A duration alone is the length of the file, rounded; to cut there would lose or demand some samples of each.
    if end is None and (start is None or (start == 0 and duration is None)):
        return None, None, duration
    if start is None:
        start = max(end - duration, 0.0) if end is not None and duration is not None else 0.0
    stop = end if end is not None else start + duration if duration is not None else None
    if stop is not None and stop <= start:
        raise ValueError(f"a segment from {start:g} to {stop:g} s, expected an end after its begin")
    return start, stop, duration


def _seconds(field: str, values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> float | None:
    """A begin or an end."""
    for unit, per_second in (("", 1.0), ("_ms", 1000.0)):
        if column := columns.get(field + unit):
            return seconds_from(values.get(column), column, found.missing, per_second=per_second)
    column = columns.get(f"{field}_samples") or columns.get(f"{field}_frames")
    if column is not None and values.get(column) not in (None, ""):
        raise ValueError(f"{column} is {values[column]!a}, which is not in seconds; give seconds or milliseconds")
    return None


def segment_name(recording: Recording) -> str:
    """What a key says of a recording that is not the whole of its file; in the order of time if keys are sorted."""
    times = (recording.start_seconds, recording.stop_seconds)
    name = "".join(f"-{round(seconds * 1000):08d}" for seconds in times if seconds is not None)
    return name if recording.channel is None else f"{name}-ch{recording.channel}"
