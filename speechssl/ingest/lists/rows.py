"""Rows of a list to recordings without their files: what each row says by itself."""

# Strings and os.path throughout: a Path per file costs more time and memory than finding it.
# ruff: noqa: PTH110, PTH118, PTH120
import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from speechssl.ingest.describing import identifier_of, present_in, text_of
from speechssl.ingest.lists.listed import Listed, Row
from speechssl.ingest.lists.times import NO_TIMES, has_times, segment_name, times_of
from speechssl.ingest.recordings import Findings, Recording, key_of
from speechssl.shards.fields import columns_of, expected_names
from speechssl.shards.values import channel_from, is_utf8

_TEXT_FILE = re.compile(r"\S+\.(txt|lab|trn|transcript|textgrid|srt|vtt)", re.IGNORECASE)


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
        self._listed = listed
        self._found = found

    def where(self, row: Row) -> str:
        """List and line of a row."""
        file = os.path.join(os.path.dirname(self._source), row.file) if row.file else self._source
        return f"{file}:{row.line}"

    def understand(self, row: Row) -> Item:
        """What a row says; raises ValueError if it is wrong."""
        found, values = self._found, row.values
        columns = columns_of(tuple(values)) if self._listed.columns is None else self._listed.columns
        num_missing = len(found.missing)
        name = path_of(values, columns)
        text = text_of(values, columns, found)
        if "." in text[-11:-2] and _TEXT_FILE.fullmatch(text) and os.path.exists(os.path.join(self._folder, text)):
            raise ValueError(f"{columns['text']} is the name of a file, {text}; the list should have the words in it")
        times = times_of(values, columns, found) if has_times(columns) else NO_TIMES
        channel, odd_channel = self._channel_of(values, columns) if "channel" in columns else (None, "")
        known = Recording(
            "",
            "",
            text,
            identifier_of("speaker", values, columns, found) if "speaker" in columns else "",
            identifier_of("language", values, columns, found) if "language" in columns else "",
            (identifier_of("split", values, columns, found) if "split" in columns else "") or self._split,
            identifier_of("recording", values, columns, found) if "recording" in columns else "",
            times.start,
            times.stop,
            None,
            channel,
            times.stated,
            values.get(columns["frames"]) if "frames" in columns else None,
        )
        own_id = identifier_of("id", values, columns, found) if "id" in columns else ""
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
