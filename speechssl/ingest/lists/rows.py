"""Rows of lists, as the readers of the formats hand them on, and what each of them says by itself."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from speechssl.ingest.describing import identifier_of, length_of, present_in, text_of
from speechssl.ingest.recordings import Findings, Recording, key_of
from speechssl.shards.fields import TIMES, UNITS, columns_of, expected_names
from speechssl.shards.values import channel_from, is_utf8, seconds_from

_TEXT_FILE = re.compile(r"\S+\.(txt|lab|trn|transcript|textgrid|srt|vtt)", re.IGNORECASE)
_TIME_FIELDS = frozenset(field + unit for field in TIMES for unit in UNITS)
_ROUNDING = 0.05
"""Seconds by which begin, end and length of a row may disagree."""


class Row(NamedTuple):
    """What one line of a list says, or why it cannot be understood."""

    line: int
    values: Mapping[str, Any] = {}
    """By column."""
    problem: str = ""
    """Why it is left out; empty for a row that can be used."""
    repair: str = ""
    """What was done to make sense of it, for a note of its own."""
    is_padded: bool = False
    """Whether fields at its end were missing, of which the list is noted."""
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
    counts_from_0: bool = False
    """Whether channels are known to be counted from 0."""


class Item(NamedTuple):
    """A row that is understood, but for the file that it means."""

    where: str
    """List, or file beside it, and line."""
    name: str
    """Path as the list has it."""
    own_key: str
    """Made of the row's id; empty if it has none."""
    known: Recording
    """Without key and path."""
    columns: Mapping[str, str]
    present: tuple[str, ...]
    """Columns that have a value."""
    odd_channel: str = ""
    """What is wrong with its channel, if that is none."""


class Times(NamedTuple):
    """Begin and end in seconds, None and None for a whole file, and how long the row says that it is."""

    start: float | None = None
    stop: float | None = None
    stated: float | None = None
    disagree: bool = False
    """Whether begin and end are not as far apart as the row says in another column."""


_NO_TIMES = Times()


class RowReader:
    """Understands the rows of one list."""

    def __init__(self, source: str, folder: str, split: str, listed: Listed, found: Findings) -> None:
        self.num_repeated_ids = 0
        """Rows with the id of another one, and a segment that tells them apart."""
        self.num_ids_of_others = 0
        """Rows with the id of a row of another list."""
        self._source = source
        self._folder = folder
        self._split = split
        self._columns = listed.columns
        self._found = found

    def where(self, row: Row) -> str:
        """List and line of a row."""
        file = os.path.join(os.path.dirname(self._source), row.file) if row.file else self._source
        return f"{file}:{row.line}"

    def understand(self, row: Row) -> Item:
        """What a row says; raises ValueError if it is wrong."""
        if row.problem:
            raise ValueError(row.problem)
        found, values = self._found, row.values
        columns = columns_of(tuple(values)) if self._columns is None else self._columns
        num_missing = len(found.missing)
        name = path_of(values, columns)
        text = text_of(values, columns, found)
        if "." in text[-11:-2] and _TEXT_FILE.fullmatch(text) and os.path.exists(os.path.join(self._folder, text)):
            raise ValueError(f"{columns['text']} is the name of a file, {text}; the list should have the words in it")
        times = times_of(values, columns, found)
        channel, odd_channel = self._channel_of(values, columns) if "channel" in columns else (None, "")
        known = Recording(
            "", "", text,
            identifier_of("speaker", values, columns, found),
            identifier_of("language", values, columns, found),
            identifier_of("split", values, columns, found) or self._split,
            identifier_of("recording", values, columns, found),
            times.start, times.stop, None, channel, times.stated,
            values.get(columns["frames"]) if "frames" in columns else None,
        )  # fmt: skip
        own_id = identifier_of("id", values, columns, found)
        where = self.where(row)
        own_key = self._own_key(own_id, known, where) if own_id else ""
        present = present_in(values, found.missing[num_missing:])
        if row.repair:
            found.note(where, "too many columns", row.repair)
        if times.disagree:
            detail = f"{times.start:g} to {times.stop:g} s is taken, which is not as long as another column says"
            found.note(where, "times that disagree", detail)
        return Item(where, name, own_key, known, columns, present, odd_channel)

    def _channel_of(self, values: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[int | None, str]:
        """Channel of a row, and what is wrong with it."""
        try:
            return channel_from(values.get(columns["channel"]), columns["channel"], self._found.missing), ""
        except ValueError as error:
            return None, str(error)

    def _own_key(self, own_id: str, known: Recording, where: str) -> str:
        """Key of a row's id, empty if it is that of another list; raises ValueError if it is that of another row."""
        lines, here = self._found.lines_of_ids, (where, own_id)
        key = key_of(own_id)
        if lines.get(key, here)[1] != own_id:
            # What keys cannot have would make one of many ids.
            key = f"{key}_{hashlib.blake2b(own_id.encode(), digest_size=4).hexdigest()}".lstrip("_")
        if lines.setdefault(key, here) is here:
            return key
        if segment := segment_name(known):
            self.num_repeated_ids += 1
            key += segment
            if lines.setdefault(key, here) is here:
                return key
        if lines[key][0].rpartition(":")[0] != where.rpartition(":")[0]:  # both may count their rows from 0
            self.num_ids_of_others += 1
            return ""
        raise ValueError(f"the id {own_id!r} gives the key {key!r}, which is that of {lines[key][0]}; ids must differ")


def path_of(values: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """Path of a row's file as it is written; raises ValueError if there is none."""
    column = columns.get("path", "")
    value = values.get(column)
    if type(value) is str and value and value.isascii():
        return value
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


def times_of(values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> Times:
    """Where in its file a row is.

    Raises:
        ValueError: not a number, negative, an end before its begin, or samples of which the rate is not said.
    """
    if _TIME_FIELDS.isdisjoint(columns):
        return _NO_TIMES
    start, end = _seconds("start", values, columns, found), _seconds("end", values, columns, found)
    duration = length_of(values, columns, found)
    # A duration alone is the length of the file, rounded; to cut there would lose or demand some samples of each.
    if end is None and (start is None or (start == 0 and duration is None)):
        return Times(stated=duration)
    if start is None:
        start = max(end - duration, 0.0) if end is not None and duration is not None else 0.0
    stop = end if end is not None else start + duration if duration is not None else None
    if stop is not None and stop <= start:
        raise ValueError(f"a segment from {start:g} to {stop:g} s, expected an end after its begin")
    disagree = stop is not None and duration is not None and abs(stop - start - duration) > _ROUNDING
    return Times(start, stop, None if disagree else duration, disagree)


def _seconds(field: str, values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> float | None:
    """A begin or an end, in whatever unit."""
    for unit, per_second in (("", 1.0), ("_ms", 1000.0)):
        if column := columns.get(field + unit):
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
