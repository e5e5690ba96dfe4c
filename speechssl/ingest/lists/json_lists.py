"""Lists in JSON: an object a line, an array of objects, an object of objects by id."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

from speechssl.ingest.lists.opening import open_list
from speechssl.ingest.lists.rows import Listed, Row
from speechssl.shards.fields import columns_of
from speechssl.shards.values import read_json

_DECODER = json.JSONDecoder()
_FIRST_RECORD = re.compile(r'\s*(?:\[|\{\s*"(?:[^"\\]|\\.)*"\s*:)\s*(?=\{)')
"""What stands before the first object of an array, or of an object."""
_INNER_RECORD = re.compile(r'"\s*:\s*\[\s*(?=\{)')
"""What stands before the first object of an array inside of an object."""


class JsonHead(NamedTuple):
    """How a JSON list begins."""

    kind: Literal["JSON lines", "JSON array", "JSON object"]
    records: list[Mapping[str, Any]]
    """The first, as far as they are whole."""
    inner: Sequence[Mapping[str, Any]] = ()
    """The first that are not read: in arrays inside of an object, or over several lines each."""


def first_records(lines: Sequence[str]) -> JsonHead | None:
    """How a file is written, by its first lines, and its first records; None if it is not JSON."""
    text = "".join(lines)
    if text.lstrip().startswith("["):
        return JsonHead("JSON array", _first_record(text))
    if not text.lstrip().startswith("{"):
        return None
    inner = _inner_records(text)
    records = [record for record in map(_decoded, lines[:20]) if record]
    # Of an array with an element a line, some lines are whole, but not the first.
    is_inner = bool(inner) and not _decoded(next(filter(str.strip, lines)))
    if records and not is_inner and not (len(records) == 1 and _is_nested(records[0])):
        return JsonHead("JSON lines", records, inner)
    return JsonHead("JSON object", _first_record(text), inner)


def _decoded(line: str) -> Mapping[str, Any]:
    """The object in a line; empty if there is none."""
    try:
        value = json.loads(line) if line.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _first_record(text: str) -> list[Mapping[str, Any]]:
    start = _FIRST_RECORD.match(text)
    record = _record_at(text, start.end())[0] if start else {}
    return [record] if record else []


def _inner_records(text: str) -> list[Mapping[str, Any]]:
    """The first object of several that take several lines each, or of each array inside of an object."""
    first, end = _record_at(text, len(text) - len(text.lstrip()))
    if "\n" in text[:end].strip() and text[end:].lstrip(", \r\n\t").startswith("{"):
        found = [first]
    else:
        found = [_record_at(text, start.end())[0] for start in islice(_INNER_RECORD.finditer(text), 20)]
    return [record for record in found if "path" in columns_of(tuple(record))]


def _record_at(text: str, start: int) -> tuple[Mapping[str, Any], int]:
    """The object at a place and its end; an empty one if it is damaged or goes on behind the text."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return {}, start


def _is_nested(record: Mapping[str, Any]) -> bool:
    """Whether an object holds records instead of being one."""
    objects = [value for value in record.values() if isinstance(value, dict)]
    return "path" not in columns_of(tuple(record)) and any("path" in columns_of(tuple(value)) for value in objects)


def line_rows(path: str) -> Iterator[Row]:
    """Rows of a file with one object on each line."""
    with open_list(path) as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                yield _row(line, read_json(text))
            except (ValueError, RecursionError) as error:
                yield Row(line, problem=f"is not JSON ({error}); expected one object on each line")


def whole_json(path: str) -> Listed:
    """Rows of an array of objects, or of an object of objects by their ids, as SpeechBrain writes them.

    Raises:
        ValueError: damaged, or neither of these.
    """
    with open_list(path) as file:
        try:
            content = read_json(file.read())
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
    if isinstance(content, dict):
        if not any(isinstance(value, dict) for value in content.values()):
            raise ValueError("an object without objects by their ids; write an array of objects")
        content = [
            {"id": key, **value} if isinstance(value, dict) and "id" not in columns_of(tuple(value)) else value
            for key, value in content.items()
        ]
    return Listed([_row(f"entry {number}", values) for number, values in enumerate(content, start=1)])


def _row(line: int | str, values: Any) -> Row:
    if isinstance(values, dict):
        return Row(line, values)
    return Row(line, problem=f"is a JSON {type(values).__name__}, expected an object")
