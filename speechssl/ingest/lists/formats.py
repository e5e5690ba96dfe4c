"""Which format a list is in, by what is in it."""

import io
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from speechssl.ingest.lists.headerless import headerless_table, looks_like_fairseq, looks_like_mls
from speechssl.ingest.lists.json_lists import first_records
from speechssl.ingest.lists.kaldi import looks_like_kaldi
from speechssl.ingest.lists.lhotse import lhotse_kind, partner_of
from speechssl.ingest.lists.opening import head_of
from speechssl.ingest.lists.paths import Paths, looks_like_audio
from speechssl.ingest.lists.rows import path_of
from speechssl.ingest.lists.tables import Table, rows_of_head, table_of
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
_CONVERTED = {
    ".parquet": ("Parquet", "python -c \"import pandas; pandas.read_parquet('{name}').to_csv('{stem}.csv')\""),
    ".xlsx": ("a sheet of Excel", "python -c \"import pandas; pandas.read_excel('{name}').to_csv('{stem}.csv')\""),
    ".arrow": (
        "a table of Hugging Face's datasets",
        "python -c \"from datasets import Dataset; Dataset.from_file('{name}').to_csv('{stem}.csv')\"",
    ),
    ".yaml": ("YAML, as lhotse wrote it once", "lhotse copy {name} {stem}.jsonl"),
}
"""Formats of lists that are not read, by suffix, and the command that makes one which is."""
_NUM_LINES = 8


class Format(NamedTuple):
    """Format of a list, by its name, and how it is written."""

    name: str
    table: Table | None = None
    """Of a table."""
    columns: Mapping[str, str] | None = None
    """By field, where they do not go by the names alone."""
    sample: Sequence[Mapping[str, Any]] = ()
    """Its first rows, if paths are among their fields."""
    problem: str = ""
    """Why it cannot be read; empty if it can. Without a name it is no list."""


def list_format(path: str) -> str | None:
    """Format of a file that is met in a folder, if it is a list of recordings; None if it is anything else.

    The first 64 KB decide. A table or JSON must name audio: a configuration, a transcript, a table of speakers and a
    report of ``shard`` are no lists. Nor are transcripts by a recogniser, which have a ``confidence``, and what Common
    Voice's listeners rejected; given by name, they are read.

    Raises:
        OSError: it cannot be read.
    """
    name = os.path.basename(path).lower()
    if os.path.splitext(name.removesuffix(".gz"))[1] not in LIST_SUFFIXES or name in NO_LISTS:
        return None
    try:
        found = sniff(path)
    except (EOFError, zlib.error):
        return None
    if found is None or (found.name.startswith("JSON") and not found.sample):
        return None
    if found.sample:
        names = {name for values in found.sample for name in values}
        if any(report == names for report in _REPORTS) or "confidence" in names:
            return None
        paths = Paths(os.path.dirname(path))
        are_audio = [_names_audio(values, found, paths) for values in found.sample]
        if 2 * sum(are_audio) <= len(are_audio):
            return None
    return found.name or None


def why_no_list(path: str) -> str:
    """What is wrong with a file that may be meant as a list, but is none; empty if its suffix tells that it is not."""
    suffix = os.path.splitext(path.lower().removesuffix(".gz"))[1]
    if suffix in _CONVERTED:
        what, command = _CONVERTED[suffix]
        name, stem = os.path.basename(path), os.path.splitext(os.path.basename(path))[0]
        return f"{what}; write it as a table: {command.format(name=name, stem=stem)}"
    if suffix not in LIST_SUFFIXES:
        return ""
    try:
        found = sniff(path)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except (EOFError, zlib.error) as error:
        return f"is damaged or cut off ({error}); compress it again"
    return "lists no recordings" if found is None else found.problem


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
    return looks_like_audio(name) or paths.exact(name) is not None or bool(found.table and paths.near(name))


def sniff(path: str) -> Format | None:
    """Format of a file that is given as a list; None if there is no text in it.

    Raises:
        OSError: it cannot be read.
        EOFError, zlib.error: it is compressed, and damaged or cut off.
    """
    head = head_of(path)
    lines = list(io.StringIO(head.text, newline=""))  # as they will be read
    if not head.is_whole and len(lines) > 1:
        lines.pop()  # it may go on
    if not head.is_text:
        return Format("", problem="is not a list, nor any other text")
    if not head.text.strip():
        return None
    folder, name = os.path.split(path)
    kind, records = first_records(head.text)
    if kind:
        return _json_format(kind, records, path)
    first = [line for line in lines if line.strip()][:_NUM_LINES]
    if looks_like_kaldi(first, name):
        return Format("Kaldi")
    if looks_like_fairseq(first):
        return Format("fairseq")
    if looks_like_mls(first, folder):
        return Format("Multilingual LibriSpeech")
    suffix = os.path.splitext(name.lower().removesuffix(".gz"))[1]
    table = table_of(lines, suffix)
    if table is None or "path" in table.columns:
        return _table_format(table, lines) if table else None
    if known := headerless_table(first, folder):
        return Format("table without header", *known)
    return _table_by_id(table, lines, folder)


def _json_format(kind: str, records: list[Mapping[str, Any]], path: str) -> Format:
    if manifest := lhotse_kind(records):
        problem = ""
        if manifest == "supervisions" and not partner_of(path):
            problem = (
                "a lhotse manifest of supervisions, without the one of recordings beside it, of the same name with "
                "recordings for supervisions; put it there, or join them with `lhotse cut simple`"
            )
        return Format(f"lhotse {manifest}", problem=problem)
    if records and not any("path" in columns_of(tuple(record)) for record in records):
        names, expected = ", ".join(records[0]), expected_names("path")
        return Format("", problem=f"no path in its fields {names}; expected one in {expected}")
    return Format(kind, sample=records)


def _table_format(table: Table, lines: Sequence[str]) -> Format:
    problem = _header_problem(table) if len(set(table.header)) < len(table.header) else ""
    return Format("table", table, sample=rows_of_head(lines, table, _NUM_LINES), problem=problem)


def _table_by_id(table: Table, lines: Sequence[str], folder: str) -> Format:
    """A table without paths is one of recordings if its ids are the names of files."""
    columns, sample, paths = table.columns, rows_of_head(lines, table, _NUM_LINES), Paths(folder)
    ids = [str(values[columns["id"]]).strip() for values in sample] if "id" in columns else []
    if any(name and (paths.exact(name) or paths.near(name)) for name in ids):
        return Format("table", table, {**columns, "path": columns["id"]})
    return Format("", problem=_header_problem(table))


def _header_problem(table: Table) -> str:
    expected = f"expected columns of different names with one of {expected_names('path')} among them"
    return f"the header is {' '.join(table.header)!a}, {expected}"
