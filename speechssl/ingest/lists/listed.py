"""What readers of the formats hand on: rows, with the names of their columns."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


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
