"""Lists in JSON: an object a line, objects one after another, an array of objects, an object of objects by id."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from speechssl.ingest.lists.rows import Row
from speechssl.shards.fields import columns_of
from speechssl.shards.values import read_json

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"
_EXPECTED = "expected one object on each line"
_EXPECTED_ARRAY = "expected an array of objects"


def first_records(head: str) -> tuple[str, list[Mapping[str, Any]]]:
    """How a file is written, by its first characters, and its first records as far as they are whole.

    One of "JSON lines", "JSON objects" (over several lines each), "JSON array", "JSON object" of objects by their id,
    or empty if it is not JSON, or holds no records.
    """
    start = _skip(head, 0)
    if head.startswith("[", start):
        return "JSON array", _first_of_array(head, start)
    if not head.startswith("{", start):
        return "", []
    first, end = _decode(head, start)
    is_one_of_many = head.startswith("{", _skip(head, end)) or not _is_nested(first or {})
    if isinstance(first, dict) and "\n" not in head[start:end].rstrip() and is_one_of_many:
        lines = [_decode(line, 0)[0] for line in head[start:].split("\n")[:20] if line.startswith("{")]
        return "JSON lines", [line for line in lines if isinstance(line, dict)]
    inner, _ = _first_of_object(head, start)
    if inner and (first is None or _is_nested(first)):
        return "JSON object", inner
    if isinstance(first, dict):
        return "JSON objects", [first]
    # Its first line may be damaged.
    lines = [_decode(line, 0)[0] for line in head.split("\n")[1:20] if line.startswith("{")]
    return ("JSON lines" if any(lines) else ""), [line for line in lines if isinstance(line, dict)]


def _is_nested(record: Mapping[str, Any]) -> bool:
    """Whether an object holds records instead of being one."""
    inner = [value[0] if isinstance(value, list) and value else value for value in record.values()]
    objects = [value for value in inner if isinstance(value, dict)]
    return bool(objects) and "path" not in columns_of(tuple(record)) and any(map(_has_path, objects))


def _has_path(record: Any) -> bool:
    return isinstance(record, dict) and "path" in columns_of(tuple(record))


def _first_of_array(text: str, start: int) -> list[Mapping[str, Any]]:
    first, _ = _decode(text, _skip(text, start + 1))
    return [first] if isinstance(first, dict) else []


def _is_array_of_records(text: str, place: int) -> bool:
    return text.startswith("[", place) and any(map(_has_path, _first_of_array(text, place)))


def _first_of_object(text: str, start: int) -> tuple[list[Mapping[str, Any]], bool]:
    """The first record in an object that may go on for long, and whether records are in arrays in it."""
    place = start
    while place < len(text) and text[place] in "{,":
        key, place = _decode(text, _skip(text, place + 1))
        place = _skip(text, place)
        if not isinstance(key, str) or not text.startswith(":", place):
            break
        place = _skip(text, place + 1)
        if _is_array_of_records(text, place):
            return _first_of_array(text, place), True
        value, place = _decode(text, place)
        if _has_path(value):
            return [value], False
        place = _skip(text, place)
    return [], False


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in _SPACE:
        place += 1
    return place


def _decode(text: str, place: int) -> tuple[Any, int]:
    """The value at a place and where it ends; None and the end of the text if there is none that is whole."""
    try:
        return _DECODER.raw_decode(text, place)
    except (ValueError, RecursionError):
        return None, len(text)


def line_rows(file: TextIO) -> Iterator[Row]:
    """Rows of a file with one object on each line."""
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            values = read_json(text)
        except (ValueError, RecursionError) as error:
            yield Row(line, problem=f"is not JSON ({error}); {_EXPECTED}")
            continue
        yield _row(line, values, _EXPECTED)


def object_rows(text: str) -> Iterator[Row]:
    """Rows of objects one after another, over several lines each."""
    return _Walk(text).rows(until="", expected="expected objects")


def array_rows(text: str) -> Iterator[Row]:
    """Rows of an array of objects."""
    walk = _Walk(text)
    walk.place = _skip(text, 0) + 1
    yield from walk.rows(until="]", expected=_EXPECTED_ARRAY)
    yield from walk.rest()


def keyed_rows(text: str) -> Iterator[Row]:
    """Rows of an object of objects by their ids, as SpeechBrain writes them; or of the arrays of objects in it."""
    walk = _Walk(text)
    _, in_arrays = _first_of_object(text, _skip(text, 0))
    walk.place = _skip(text, 0) + 1
    yield from walk.arrays() if in_arrays else walk.rows("}", "expected an object for each id", has_keys=True)
    yield from walk.rest()


def _row(line: int, values: Any, expected: str) -> Row:
    if isinstance(values, dict):
        return Row(line, values)
    return Row(line, problem=f"is a JSON {type(values).__name__}, {expected}")


class _Walk:
    """A way through the text of a JSON value whose parts are taken one by one, with the lines where they begin.

    What is damaged ends it, since it cannot be told where the next part begins.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self._line, self._counted = 1, 0
        self._is_damaged = False

    @property
    def line(self) -> int:
        """Line of the place."""
        self._line += self.text.count("\n", self._counted, self.place)
        self._counted = self.place
        return self._line

    def rows(self, until: str, expected: str, *, has_keys: bool = False) -> Iterator[Row]:
        """Values one after another, up to a character, or the end of the text; their keys, if any, are their ids."""
        while not self._is_at_end(until):
            line = self.line
            try:
                key = self._key() if has_keys else ""
                values = self._next()
            except (ValueError, RecursionError) as error:
                yield self._damage(line, error)
                return
            if has_keys and isinstance(values, dict) and "id" not in columns_of(tuple(values)):
                values = {"id": key, **values}
            yield _row(line, values, expected)
        yield from self._end(until)

    def arrays(self) -> Iterator[Row]:
        """Values of the arrays of records in an object; what else is in it is about all of them."""
        while not self._is_at_end("}"):
            line = self.line
            try:
                self._key()
                if not _is_array_of_records(self.text, self.place):
                    self._next()
                    continue
            except (ValueError, RecursionError) as error:
                yield self._damage(line, error)
                return
            self.place += 1
            yield from self.rows("]", _EXPECTED_ARRAY)
        yield from self._end("}")

    def rest(self) -> Iterator[Row]:
        """What follows the list, which is none of its rows."""
        self.place = _skip(self.text, self.place)
        if self.place < len(self.text):
            yield Row(self.line, problem="more follows the end of the list; give each list a file of its own")

    def _is_at_end(self, until: str) -> bool:
        while self.place < len(self.text) and self.text[self.place] in _SPACE + ",":
            self.place += 1
        return self.place >= len(self.text) or (bool(until) and self.text.startswith(until, self.place))

    def _next(self) -> Any:
        value, self.place = _DECODER.raw_decode(self.text, self.place)
        return value

    def _key(self) -> str:
        key = self._next()
        self.place = _skip(self.text, _skip(self.text, self.place) + 1)
        return str(key)

    def _damage(self, line: int, error: Exception) -> Row:
        self.place = len(self.text)
        self._is_damaged = True
        return Row(line, problem=f"is not JSON from here on ({error}); what follows is lost, write the list again")

    def _end(self, until: str) -> Iterator[Row]:
        if self.text.startswith(until, self.place):
            self.place += len(until)
        elif not self._is_damaged:
            self._is_damaged = True
            yield Row(self.line, problem=f"the file ends before its {until}: it is cut off; write the list again")
