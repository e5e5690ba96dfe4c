"""Recordings of manifests: tables and lines of JSON with a file, or a part of one, in each."""

# Strings and os.path throughout: a Path per file costs more time and memory than finding it.
# ruff: noqa: PTH110, PTH112, PTH117, PTH118, PTH122, PTH123
import csv
import hashlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TextIO

from speechssl.data.recordings import Findings, Recording, absolute, is_usable, is_utf8, key_of

FIELD_NAMES = {
    "path": ("path", "audio", "audio_filepath", "wav", "file", "file_name"),
    "text": ("text", "sentence", "transcript", "transcription"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "language": ("language", "locale", "lang"),
    "id": ("id",),
    "split": ("split",),
    "recording": ("recording", "recording_id"),
    "start": ("start", "offset"),
    "duration": ("duration",),
    "end": ("end",),
}
"""What the columns of manifests, and the JSON of webdataset tars, are called; the first that is there counts."""
COMMON_VOICE_TABLES = ("train.tsv", "dev.tsv", "test.tsv", "validated.tsv")

_HEAD_CHARACTERS = 1 << 14


def list_format(path: str) -> str | None:
    """What kind of list of recordings a file is, by its name and its first kilobytes; None if it is none.

    Raises:
        OSError: it cannot be read.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in (".tsv", ".csv", ".jsonl", ".json"):
        return None
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline(_HEAD_CHARACTERS)
    if suffix in (".tsv", ".csv"):
        names = [name.strip().strip('"') for name in first.split("\t" if suffix == ".tsv" else ",")]
        return "table" if "path" in columns_of(tuple(names)) else None
    try:
        values = json.loads(first)
    except (ValueError, RecursionError):
        return None
    return "JSON lines" if isinstance(values, dict) and "path" in columns_of(tuple(values)) else None


def read_manifest(path: str, source: str, found: Findings) -> None:
    """Recordings of a manifest; its wrong lines are noted."""
    if path in found.read:
        return
    found.read.add(path)
    folder, name = os.path.split(path)
    stem = os.path.splitext(name)[0]
    # Common Voice's tables have the names of the parts they are, and clips/ beside them.
    split = stem if name in COMMON_VOICE_TABLES and os.path.isdir(os.path.join(folder, "clips")) else ""
    read_rows = _table_rows if name.lower().endswith((".tsv", ".csv")) else _json_rows
    num_rows, num_problems = 0, found.num_problems
    try:
        # Bytes that are not UTF-8 become surrogates, which are found in the field that has them.
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            for line, values in read_rows(file, source, found):
                num_rows += 1
                try:
                    _add_row(values, folder, split, (source, line), found)
                except ValueError as error:
                    found.add_problem(f"{source}:{line}: {error}")
    except OSError as error:
        found.add_problem(f"{source}: cannot be read ({error.strerror})")
    if not num_rows and found.num_problems == num_problems:
        found.add_problem(f"{source}: lists no recordings")


def _table_rows(file: TextIO, source: str, found: Findings) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines of a TSV or CSV below its header, with their numbers."""
    rows = _split_rows(file, source, found)
    _, names = next(rows, (1, ["nothing"]))
    header = [name.strip() for name in names]
    if "path" not in columns_of(tuple(header)) or len(set(header)) < len(header):
        separated = "tab" if source.lower().endswith(".tsv") else "comma"
        found.add_problem(
            f"{source}: the header is {' '.join(header)!a}, expected {separated}-separated columns of different names "
            f"with one of {', '.join(FIELD_NAMES['path'])} among them"
        )
        return
    for line, row in rows:
        if len(row) == len(header):
            yield line, dict(zip(header, row, strict=True))
        else:
            found.add_problem(f"{source}:{line}: {len(row)} columns, expected {len(header)} ({', '.join(header)})")


def _split_rows(file: TextIO, source: str, found: Findings) -> Iterator[tuple[int, list[str]]]:
    """Rows of a TSV, in which quotes are characters as any other, or of a standard CSV; empty ones are passed over."""
    if source.lower().endswith(".tsv"):
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        # Not strict, a quote that is never closed would take in the rest of the file without a word.
        reader = csv.reader(file, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            found.add_problem(f"{source}:{line}: cannot be split into columns ({error}); check the quotes")
            continue
        if row:
            yield line, row


def _json_rows(file: TextIO, source: str, found: Findings) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines of a file with one JSON object on each, with their numbers."""
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            found.add_problem(f"{source}:{line}: is not JSON ({error}); expected one object on each line")
            continue
        if isinstance(values, dict):
            yield line, values
        else:
            found.add_problem(f"{source}:{line}: is a JSON {type(values).__name__}, expected one object on each line")


def _add_row(values: Mapping[str, Any], folder: str, split: str, where: tuple[str, int], found: Findings) -> None:
    """Add the recording of one line; raises ValueError if the line is wrong."""
    columns = columns_of(tuple(values))
    name = _string(values, columns, "path")
    if not name:
        expected = ", ".join(FIELD_NAMES["path"])
        raise ValueError(f"no path in its fields {', '.join(values)}; expected one in {expected}")
    known = describe(values, columns, found)
    start, stop = _segment(values, columns)
    inside = os.path.relpath(name, folder) if name.startswith(folder + os.sep) else os.path.normpath(name)
    identity = os.path.splitext(inside)[0]
    own_id = _string(values, columns, "id")
    recording = known._replace(
        key=key_of(own_id or identity + _segment_name(start, stop)),
        path=_locate(name, folder),
        split=known.split or split,
        recording=known.recording or identity,
        start_seconds=start,
        stop_seconds=stop,
    )
    if own_id and found.lines_of_ids.setdefault(recording.key, where) is not where:
        manifest, line = found.lines_of_ids[recording.key]
        raise ValueError(
            f"the id {own_id!r} gives the key {recording.key!r}, which is that of {manifest}:{line}; "
            "ids must differ in letters, digits, _ and -"
        )
    if is_usable(recording.path, f"named in {where[0]}:{where[1]}", found):
        (found.named if own_id else found.unnamed).append(recording)


@lru_cache(maxsize=64)
def columns_of(names: tuple[str, ...]) -> dict[str, str]:
    """What each of our fields is called among these names."""
    by_name = {name.lower(): name for name in reversed(names)}
    found = {field: [by_name[name] for name in called if name in by_name] for field, called in FIELD_NAMES.items()}
    return {field: present[0] for field, present in found.items() if present}


def describe(values: Mapping[str, Any], columns: Mapping[str, str], found: Findings) -> Recording:
    """What a line or a JSON says about a recording but where it is; raises ValueError for a field that is no text.

    Which columns that came from, and which were ignored, is counted in ``found``. Few texts occur often, and
    are kept once.
    """
    used = set(columns.values())
    for field, column in columns.items():
        if values[column] not in (None, ""):
            found.fields[field, f"column {column}"] += 1
    found.ignored_columns.update(name for name, value in values.items() if name not in used and value not in (None, ""))
    speaker = _string(values, columns, "speaker")
    if speaker and columns["speaker"].lower() == "client_id":
        speaker = hashlib.blake2b(speaker.encode(), digest_size=8).hexdigest()  # they have 128 characters
    return Recording(
        "",
        "",
        _string(values, columns, "text"),
        sys.intern(speaker),
        sys.intern(_string(values, columns, "language")),
        sys.intern(_string(values, columns, "split")),
        sys.intern(_string(values, columns, "recording")),
    )


def _string(values: Mapping[str, Any], columns: Mapping[str, str], name: str) -> str:
    """A field as text, empty if it is absent or null; raises ValueError for what is no text."""
    value = values[columns[name]] if name in columns else None
    if isinstance(value, dict) and name == "path":
        value = value.get("path")  # as Hugging Face writes its audio columns
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{columns[name]} is a {type(value).__name__}, expected text")
    text = str(value)
    if not is_utf8(text):
        raise ValueError(f"{columns[name]} {text!a} is not UTF-8; convert the file, for instance with iconv")
    return text


def _segment(values: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Begin and end in seconds; None, None for a whole file."""
    start, duration, end = (_seconds(values, columns, name) for name in ("start", "duration", "end"))
    # A duration alone is the length of the file, rounded; to cut there would lose or demand some samples of each.
    if end is None and (start is None or (start == 0 and duration is None)):
        return None, None
    start = start or 0.0
    stop = end if end is not None else start + duration if duration is not None else None
    if stop is not None and stop <= start:
        raise ValueError(f"a segment from {start:g} to {stop:g} s, expected an end after its begin")
    return start, stop


def _seconds(values: Mapping[str, Any], columns: Mapping[str, str], name: str) -> float | None:
    value = values[columns[name]] if name in columns else None
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{columns[name]} is {value!a}, expected seconds, a number from 0")
    return seconds


def _segment_name(start: float | None, stop: float | None) -> str:
    """Milliseconds of a segment for its key, in an order that is that of time."""
    return "".join(f"-{round(seconds * 1000):08d}" for seconds in (start, stop) if seconds is not None)


def _locate(name: str, folder: str) -> str:
    """Absolute path of what a manifest names, relative to its folder or to clips/ in it."""
    path = absolute(os.path.join(folder, name))
    if not os.path.isabs(name) and not os.path.exists(path):
        clip = os.path.join(folder, "clips", name)
        return absolute(clip) if os.path.exists(clip) else path
    return path
