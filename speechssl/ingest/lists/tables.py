"""Tables: one recording a line, in columns with a header."""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from speechssl.ingest.lists.opening import open_list
from speechssl.ingest.lists.rows import Row
from speechssl.shards.fields import columns_of

DELIMITERS = ("\t", ",", ";", "|")


class Table(NamedTuple):
    """How a table is written."""

    delimiter: str
    header: tuple[str, ...]
    header_line: int
    is_quoted: bool
    """Whether quotes hold fields together; in a TSV they are characters as any other."""

    @property
    def columns(self) -> dict[str, str]:
        """What our fields are called."""
        return columns_of(self.header)


def table_of(lines: Sequence[str], suffix: str) -> Table | None:
    """How a table is written, by its first lines; None if they are empty.

    It may have any delimiter whatever its suffix: the one that gives the most columns that are known, a path first.
    """
    number, line = next(((number, line) for number, line in enumerate(lines, start=1) if line.strip()), (0, ""))
    if not number:
        return None
    tables = [_table(line, number, delimiter) for delimiter in ({".csv": ","}.get(suffix, "\t"), *DELIMITERS)]

    def likelihood(table: Table) -> tuple[bool, int, int]:
        return "path" in table.columns, len(table.columns), len(table.header)

    return max(tables, key=likelihood)


def _table(line: str, number: int, delimiter: str) -> Table:
    # A TSV has quotes of its own only if its header has.
    table = Table(delimiter, (), number, delimiter != "\t" or line.lstrip().startswith('"'))
    try:
        names = _split(line, table)
    except csv.Error:
        names = line.split(delimiter)
    return table._replace(header=tuple(name.strip() or f"column {i}" for i, name in enumerate(names, start=1)))


def _split(line: str, table: Table) -> list[str]:
    """Fields of a line; raises csv.Error if its quotes are wrong."""
    line = line.strip("\r\n")
    if not table.is_quoted:
        return line.split(table.delimiter)
    # Not strict, characters behind a closing quote would be taken into the field.
    return next(csv.reader([line], delimiter=table.delimiter, strict=True, skipinitialspace=True), [])


def table_rows(path: str, table: Table) -> Iterator[Row]:
    """Rows below the header, with all its columns; what cannot be split into them is a row with a problem.

    It is not known where the delimiter is that is missing or should not be there, or the quote.
    """
    with open_list(path) as file:
        yield from rows_of(file, table)


def rows_of(lines: Iterator[str], table: Table) -> Iterator[Row]:
    """The same of all lines of a table."""
    width = len(table.header)
    for number, line in enumerate(islice(lines, table.header_line, None), start=table.header_line + 1):
        if not line.strip():
            continue
        try:
            fields = _split(line, table)
        except csv.Error as error:
            yield Row(number, problem=f"cannot be split into columns ({error}); close each quote on its line")
            continue
        while len(fields) > width and not fields[-1].strip():
            fields.pop()
        if len(fields) == width:
            yield Row(number, dict(zip(table.header, fields, strict=True)))
        else:
            yield Row(number, problem=f"{len(fields)} columns, expected {width} ({', '.join(table.header)})")
