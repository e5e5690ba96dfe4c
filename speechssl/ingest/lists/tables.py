"""Tables: one recording a line, in columns with a header."""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TextIO

from speechssl.ingest.lists.paths import looks_like_audio
from speechssl.ingest.lists.rows import Row
from speechssl.shards.fields import columns_of

DELIMITERS = ("\t", ",", ";", "|")
_LINES_OF_A_FIELD = 100
"""Of a quoted field; one that goes on for longer was never closed."""
_EXCEL = re.compile(r"sep=(.)\s*", re.IGNORECASE)


class Table(NamedTuple):
    """How a table is written."""

    delimiter: str
    header: tuple[str, ...]
    header_line: int
    is_quoted: bool
    """Whether quotes hold fields together; in a TSV they are characters as any other."""
    is_spaced: bool
    """Whether a space follows each delimiter."""

    @property
    def columns(self) -> dict[str, str]:
        """What our fields are called."""
        return columns_of(self.header)


def table_of(lines: Sequence[str], suffix: str) -> Table | None:
    """How a table is written, by its first lines; None if they are empty.

    It may have any delimiter whatever its suffix: the one that gives the most columns that are known, a path first.
    """
    number = next((number for number, line in enumerate(lines, start=1) if line.strip()), None)
    if number is None:
        return None
    delimiters = [{".csv": ","}.get(suffix, "\t"), *DELIMITERS]
    if (excel := _EXCEL.fullmatch(lines[number - 1])) and number < len(lines):
        delimiters = [excel[1]]
        number += 1
    tables = [_table(lines[number - 1], number, delimiter) for delimiter in delimiters]

    def likelihood(table: Table) -> tuple[bool, int, int]:
        return "path" in table.columns, len(table.columns), len(table.header)

    return max(tables, key=likelihood)


def rows_of_head(lines: Sequence[str], table: Table, num_rows: int) -> list[dict[str, str]]:
    """The first rows of a table."""
    rows = table_rows(io.StringIO("".join(lines), newline=""), table)
    return [dict(row.values) for row in islice(rows, num_rows) if not row.problem]


def _table(line: str, number: int, delimiter: str) -> Table:
    # A TSV has quotes of its own only if its header has.
    is_quoted = delimiter != "\t" or line.lstrip().startswith('"')
    plain = line.strip("\r\n").split(delimiter)
    is_spaced = len(plain) > 1 and all(name.startswith(" ") for name in plain[1:])
    table = Table(delimiter, (), number, is_quoted, is_spaced)
    try:
        names = [name.strip() for name in _split(line, table)]
    except csv.Error:
        names = [name.strip() for name in plain]
    header = [name or f"column {i}" for i, name in enumerate(names, start=1)]
    known = set(columns_of(tuple(header)).values())
    # Columns that nothing is taken from may have one name; of others it would not be known which one is meant.
    for i, name in enumerate(header):
        if name in header[:i] and name not in known:
            header[i] = f"{name} (column {i + 1})"
    return table._replace(header=tuple(header))


def _split(line: str, table: Table) -> list[str]:
    """Fields of a line; raises csv.Error if its quotes are wrong."""
    line = line.strip("\r\n")
    if not table.is_quoted or '"' not in line:
        fields = line.split(table.delimiter)
        return [fields[0], *(field.lstrip(" ") for field in fields[1:])] if table.is_spaced else fields
    return next(_reader(iter([line]), table), [])


def _reader(lines: Iterator[str], table: Table) -> Iterator[list[str]]:
    # Not strict, characters behind a closing quote would be taken into the field.
    return csv.reader(lines, delimiter=table.delimiter, strict=True, skipinitialspace=table.is_spaced)


def table_rows(file: TextIO, table: Table) -> Iterator[Row]:
    """Rows below the header, with all its columns; what cannot be split into them is a row with a problem.

    Fields that are missing at the end of a row are empty. Fields that are too many belong to the last one, if that is
    the transcript and all before it are filled: no other reading makes sense of them. Elsewhere a row with too many
    is wrong, since it is not known where the delimiter is that should not be there.
    """
    header = table.header
    columns = table.columns
    text_is_last = columns.get("text") == header[-1]
    for line, fields in _records(file, table):
        if isinstance(fields, str):
            yield Row(line, problem=fields)
        elif len(fields) == len(header):
            yield Row(line, dict(zip(header, fields, strict=True)))
        elif len(fields) < len(header):
            missing = [""] * (len(header) - len(fields))
            yield Row(line, dict(zip(header, fields + missing, strict=True)), is_padded=True)
        else:
            yield _long_row(line, fields, table, text_is_last=text_is_last)


def _long_row(line: int, fields: list[str], table: Table, *, text_is_last: bool) -> Row:
    last = len(table.header) - 1
    if not any(field.strip() for field in fields[last + 1 :]):
        return Row(line, dict(zip(table.header, fields, strict=False)))
    if text_is_last and all(field.strip() for field in fields[:last]):
        glue = " " if table.delimiter == "\t" else table.delimiter + " " * table.is_spaced
        text = glue.join(fields[last:])
        repair = f"{len(fields)} columns, expected {last + 1}: those behind the others are its text, {text!r}"
        return Row(line, dict(zip(table.header, [*fields[:last], text], strict=True)), repair=repair)
    return Row(line, problem=f"{len(fields)} columns, expected {last + 1} ({', '.join(table.header)})")


def _records(file: TextIO, table: Table) -> Iterator[tuple[int, list[str] | str]]:
    """Fields of each line below the header, or what is wrong with it; empty lines are passed over."""
    number = table.header_line
    for line in islice(file, number, None) if not table.is_quoted else ():
        number += 1
        if line.strip("\r\n"):
            yield number, _split(line, table)
    if table.is_quoted:
        yield from _quoted_records(islice(file, number, None), number, table)


def _quoted_records(lines: Iterator[str], number: int, table: Table) -> Iterator[tuple[int, list[str] | str]]:
    """The same where quotes hold fields together, over several lines if need be.

    A quote that is never closed would take in what follows, up to the next quote or the end. Its line alone is wrong.
    """
    again: deque[str] = deque()

    def feed(taken: list[str]) -> Iterator[str]:
        yield taken[0]
        while len(taken) <= _LINES_OF_A_FIELD and (more := again.popleft() if again else next(lines, None)) is not None:
            taken.append(more)
            yield more

    while (line := again.popleft() if again else next(lines, None)) is not None:
        number += 1
        if '"' not in line:
            if line.strip("\r\n"):
                yield number, _split(line, table)
            continue
        taken = [line]
        try:
            fields: list[str] | str = next(_reader(feed(taken), table))
            if any(_is_row(more, table) for more in taken[1:]):
                fields = "a quote that is not closed in this row, but in another; double it, or close it"
        except csv.Error as error:
            fields = f"cannot be split into columns ({error}); check the quotes"
        yield number, fields
        if isinstance(fields, str):
            again.extendleft(reversed(taken[1:]))
        else:
            number += len(taken) - 1


def _is_row(line: str, table: Table) -> bool:
    """Whether a line within quotes looks like a row of its own."""
    fields = line.strip("\r\n").split(table.delimiter)
    place = table.header.index(table.columns["path"]) if "path" in table.columns else 0
    return len(fields) >= min(2, len(table.header)) and place < len(fields) and looks_like_audio(fields[place])
