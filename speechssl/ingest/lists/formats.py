"""Which format a list is in, by what is in it."""

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from speechssl.ingest.lists.headerless import (
    fairseq_list,
    headerless_table,
    looks_like_fairseq,
    looks_like_mls,
    mls_list,
)
from speechssl.ingest.lists.json_lists import JsonHead, first_records, line_rows, whole_json
from speechssl.ingest.lists.kaldi import kaldi_list, looks_like_kaldi
from speechssl.ingest.lists.lhotse import cuts_list, lhotse_kind
from speechssl.ingest.lists.opening import head_of
from speechssl.ingest.lists.paths import Paths, looks_like_audio
from speechssl.ingest.lists.rows import Listed, path_of
from speechssl.ingest.lists.tables import Table, rows_of, table_of, table_rows
from speechssl.ingest.recordings import Findings
from speechssl.shards.fields import columns_of, expected_names

LIST_SUFFIXES = frozenset(
    {".tsv", ".csv", ".psv", ".tab", ".txt", ".lst", ".list", ".scp", ".json", ".jsonl", ".ndjson"}
)
NO_LISTS = frozenset(
    {
        *("invalidated.tsv", "reported.tsv", "clip_durations.tsv"),
        *("validated_sentences.tsv", "unvalidated_sentences.tsv"),
    }
)
"""Of Common Voice: what its listeners rejected, and what is no list of transcripts."""
_REPORTS = ({"path", "reason", "detail"}, {"path", "kind", "detail"}, {"path", "reason"})
"""Columns of what ``shard`` writes about recordings."""
_NUM_LINES = 8


class Format(NamedTuple):
    """Format of a list."""

    read: Callable[[str, Findings], Listed] | None = None
    """Rows of the file, and what it uses of those beside it; None if it is no list."""
    problem: str = ""
    """Why it cannot be read; empty if it can."""
    columns: Mapping[str, str] | None = None
    """By field, where they do not go by the names alone."""
    sample: Sequence[Mapping[str, Any]] | None = None
    """Its first rows, where one of their fields may be a path: it is a list if they are audio."""
    is_table: bool = False


def is_list(path: str) -> bool:
    """Whether a file that is met in a folder is a list of recordings.

    The first 64 KB decide. A table or JSON must name audio: a configuration, a transcript, a table of speakers and a
    report of ``shard`` are no lists. Nor are transcripts by a recogniser, which have a ``confidence``, and what Common
    Voice's listeners rejected; given by name, they are read.

    Raises:
        OSError: it cannot be read.
    """
    name = os.path.basename(path).lower()
    if os.path.splitext(name.removesuffix(".gz"))[1] not in LIST_SUFFIXES or name in NO_LISTS:
        return False
    try:
        found = sniff(path)
    except (EOFError, zlib.error):
        return False
    if found is None or found.read is None:
        return False
    if found.sample is None or (found.is_table and not found.sample):
        return True
    names = {name for values in found.sample for name in values}
    if any(report == names for report in _REPORTS) or "confidence" in names:
        return False
    paths = Paths(os.path.dirname(path))
    are_audio = [_names_audio(values, found, paths) for values in found.sample]
    return 2 * sum(are_audio) > len(are_audio)


def _names_audio(values: Mapping[str, Any], found: Format, paths: Paths) -> bool:
    """Whether a row names a file that is audio or is there; of Hugging Face's audio columns each row says its own."""
    columns = found.columns or columns_of(tuple(values))
    column = values.get(columns.get("path", ""))
    if isinstance(column, dict) and {"path", "file", "bytes"} & column.keys():
        return True
    try:
        name = path_of(values, columns)
    except ValueError:
        return False
    # To look for the nearest takes a list of the folder: of JSON there may be one for each recording.
    return looks_like_audio(name) or paths.exact(name) is not None or (found.is_table and bool(paths.near(name)))


def sniff(path: str) -> Format | None:
    """Format of a file that is given as a list; None if there is no text in it.

    Raises:
        OSError: it cannot be read.
        EOFError, zlib.error: it is compressed, and damaged or cut off.
    """
    head = head_of(path)
    if not head.is_text:
        return Format(problem="is not a list, nor any other text")
    if not head.text.strip():
        return None
    folder, name = os.path.split(path)
    if json := first_records(head.lines):
        return _json_format(json)
    first = [line for line in head.lines if line.strip()][:_NUM_LINES]
    if looks_like_kaldi(first, name):
        return Format(kaldi_list)
    if looks_like_fairseq(first):
        return Format(fairseq_list)
    if looks_like_mls(first, folder):
        return Format(lambda path, _: mls_list(path))
    suffix = os.path.splitext(name.lower().removesuffix(".gz"))[1]
    table = table_of(head.lines, suffix)
    if table is None:
        return None
    if "path" in table.columns:
        is_clear = len(set(table.header)) == len(table.header)
        return _table_format(table, table.columns, head.lines, "" if is_clear else _header_problem(table))
    if known := headerless_table(first, folder):
        return _table_format(*known, (), "")._replace(sample=None)
    return _table_by_id(table, head.lines, folder)


def _json_format(head: JsonHead) -> Format:
    kind = lhotse_kind(head.records)
    if kind == "cuts":
        return Format(lambda path, _: cuts_list(path))
    if kind:
        problem = f"lhotse's manifest of {kind} alone; join it with the other one by `lhotse cut simple`"
        return Format(_unread, problem)
    is_known = any("path" in columns_of(tuple(record)) for record in head.records)
    if head.inner and not is_known:
        problem = "its objects are in an array inside of another object, or take several lines; write one object a line"
        return Format(_unread, problem, sample=head.inner)
    if head.records and not is_known:
        names, expected = ", ".join(head.records[0]), expected_names("path")
        return Format(problem=f"no path in its fields {names}; expected one in {expected}")
    if head.kind == "JSON lines":
        return Format(lambda path, _: Listed(line_rows(path)), sample=head.records)
    return Format(lambda path, _: whole_json(path), sample=head.records)


def _unread(_path: str, _found: Findings) -> Listed:
    """Rows of what is a list, and has a problem."""
    return Listed([])


def _table_format(table: Table, columns: Mapping[str, str], lines: Sequence[str], problem: str) -> Format:
    rows = [row for row, _ in zip(rows_of(iter(lines), table), range(_NUM_LINES), strict=False)]
    sample = [row.values for row in rows if not row.problem]
    read = partial(_table_list, table=table, columns=columns)
    return Format(read, problem, columns, sample, is_table=True)


def _table_list(path: str, _: Findings, table: Table, columns: Mapping[str, str]) -> Listed:
    return Listed(table_rows(path, table), columns)


def _table_by_id(table: Table, lines: Sequence[str], folder: str) -> Format:
    """A table without paths is one of recordings if its ids are the names of files."""
    columns, paths = table.columns, Paths(folder)
    found = _table_format(table, {**columns, "path": columns.get("id", "")}, lines, "")
    ids = [str(values.get(columns.get("id", ""), "")).strip() for values in found.sample or ()]
    if any(name and (paths.exact(name) or paths.near(name)) for name in ids):
        return found._replace(sample=None)
    return Format(problem=_header_problem(table))


def _header_problem(table: Table) -> str:
    expected = f"expected columns of different names with one of {expected_names('path')} among them"
    return f"the header is {' '.join(table.header)!a}, {expected}"
