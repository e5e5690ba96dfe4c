"""What rows of lists, and objects of JSON, say of a recording; which columns that came from, and what was none."""

import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from speechssl.ingest.recordings import Findings, Recording
from speechssl.shards.fields import identifier_in
from speechssl.shards.values import channel_from, is_missing, seconds_from, text_from

_LENGTHS = {"duration": 1.0, "duration_ms": 1000.0}
"""Units of a second in a length, by field."""
DESCRIBED = ("text", "speaker", "language", "split", "recording", "channel", *_LENGTHS)
"""Fields that ``describe`` takes: those of a recording that need no list, as times of segments do."""
_MAY_BE_WORDS = frozenset({"nan", "null", "none", "na", "nil"})
"""Missing values that may be somebody's words: null is German for zero, nan a grandmother, none an answer."""


def text_of(values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> str:
    """The transcript; raises ValueError if it is no text."""
    column = columns.get("text")
    value = None if column is None else values.get(column)
    if column is None or value is None or value == "":
        return ""
    text = text_from(value, column)
    if not is_missing(text or value):
        return text
    if text.casefold() in _MAY_BE_WORDS:
        found.doubtful_words.append((column, text))
        return text
    if spelling := str(value).strip():
        found.missing.append((column, spelling))
    return ""


def identifier_of(field: str, values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> str:
    """An identifier, the same for all its spellings; raises ValueError if it is no text or number."""
    column = columns.get(field)
    value = None if column is None else values.get(column)
    if column is None or value is None or value == "":
        return ""
    is_often = field != "id" and isinstance(value, str)
    name = _known_identifier(field, column, value) if is_often else identifier_in(field, column, value)
    if not name and (spelling := str(value).strip()):
        found.missing.append((column, spelling))
    return name


@lru_cache(maxsize=1 << 16)
def _known_identifier(field: str, column: str, value: str) -> str:
    """The same for what occurs often, kept once."""
    return sys.intern(identifier_in(field, column, value))


def describe(values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> Recording:
    """What a JSON says about a recording but where it is; raises ValueError for a field that is no text.

    Which columns that came from, and which were ignored, is counted in ``found``.
    """
    num_missing = len(found.missing)
    columns = {field: columns[field] for field in DESCRIBED if field in columns}
    recording = described(values, columns, found)
    try:
        recording = recording._replace(
            channel=channel_of(values, columns, found), stated_seconds=length_of(values, columns, found)
        )
    except ValueError:  # the channel of a broadcaster, most likely; nothing depends on either
        columns = {field: name for field, name in columns.items() if field not in ("channel", *_LENGTHS)}
    count_columns(present_in(values, found.missing[num_missing:]), 1, columns, found)
    return recording


def described(values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> Recording:
    """What is said of a recording in words; raises ValueError if it is no text or number."""
    return Recording(
        "",
        "",
        text_of(values, columns, found),
        identifier_of("speaker", values, columns, found),
        identifier_of("language", values, columns, found),
        identifier_of("split", values, columns, found),
        identifier_of("recording", values, columns, found),
    )


def channel_of(values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> int | None:
    """Channel from 0; None for all of them. Raises ValueError if it is none."""
    column = columns.get("channel")
    return None if column is None else channel_from(values.get(column), column, found.missing)


def length_of(values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> float | None:
    """Length in seconds that a source states; None if it states none. Raises ValueError if it is no number."""
    field = next(filter(columns.__contains__, _LENGTHS), None)
    if field is None:
        return None
    column = columns[field]
    value = values.get(column)
    if value in ("nan", "NaN") or value != value:  # nothing depends on it, so that it is as good as nothing
        found.missing.append((column, str(value)))
        return None
    return seconds_from(value, column, found.missing, per_second=_LENGTHS[field])


def present_in(values: Mapping[str, Any], missing: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Names with a value, without those of which the value was found to be a missing one."""
    gone = {name for name, _ in missing}
    return tuple(
        name for name, value in values.items() if (value or value == 0) and value == value and name not in gone
    )


def count_columns(
    present: Collection[str], num_rows: int, columns: Mapping[str, str], found: Findings, place: str = "column"
) -> None:
    """Count columns that had a value in some rows, by whether something was taken from them."""
    for field, name in columns.items():
        if name in present:
            found.fields[field, name if name.startswith(place) else f"{place} {name}"] += num_rows
    used = set(columns.values())
    for name in present:
        if name not in used:
            found.ignored_columns[name] += num_rows


def note_values(source: str, found: Findings) -> None:
    """Note which values of a list, tar or folder were taken as missing, and which may be; then forget them."""
    for (column, spelling), count in sorted(Counter(found.missing).items()):
        found.note(source, "missing values", f"{column}: {spelling!a} in {count} rows is taken as none")
    for (column, spelling), count in sorted(Counter(found.doubtful_words).items()):
        detail = f"{column}: {spelling!a} in {count} rows is taken as a word; leave it empty where there is none"
        found.note(source, "missing value or word", detail)
    found.missing.clear()
    found.doubtful_words.clear()
