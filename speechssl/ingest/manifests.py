"""Recordings of manifests: lists of any format with a file, or a part of one, in each of their rows."""

import os
import zlib
from collections.abc import Iterable, Iterator
from typing import TextIO

from speechssl.ingest.corpora import COMMON_VOICE_SPLITS
from speechssl.ingest.lists import headerless, json_lists, kaldi, lhotse
from speechssl.ingest.lists.formats import Format, sniff
from speechssl.ingest.lists.opening import open_list
from speechssl.ingest.lists.placing import read_listed
from speechssl.ingest.lists.rows import Listed, Row
from speechssl.ingest.lists.tables import table_rows
from speechssl.ingest.recordings import Findings


def read_manifest(path: str, source: str, found: Findings) -> None:
    """Recordings of a list of any format; rows that are wrong are rejected one by one, with their lines.

    A list is a problem only if it cannot be read as a whole: no format that is known, or no rows.
    """
    if path in found.read:
        return
    found.read.add(path)
    found.used.add(path)
    folder, name = os.path.split(path)
    num_problems = found.num_problems
    # Common Voice's tables have the names of the parts they are, and clips/ beside them.
    is_common_voice = name in COMMON_VOICE_SPLITS and os.path.isdir(os.path.join(folder, "clips"))
    split = os.path.splitext(name)[0] if is_common_voice else ""
    num_rows = 0
    try:
        known = sniff(path)
        if known is not None and known.problem:
            found.add_problem(f"{source}: {known.problem}")
        elif known is not None:
            with open_list(path) as file:
                listed = _listed(known, file, path, found)
                num_rows = read_listed(listed._replace(rows=_guarded(listed.rows)), source, folder, split, found)
    except OSError as error:
        found.add_problem(f"{source}: cannot be read ({error.strerror or error})")
    except (EOFError, zlib.error) as error:
        found.add_problem(f"{source}: is damaged or cut off ({error}); compress it again")
    if not num_rows and found.num_problems == num_problems:
        found.add_problem(f"{source}: lists no recordings")
    if num_rows and is_common_voice and name == "invalidated.tsv":
        found.note(source, "invalidated recordings", f"Common Voice's listeners rejected all {num_rows} of them")


def _listed(known: Format, file: TextIO, path: str, found: Findings) -> Listed:
    """Rows of a list in a format."""
    match known.name:
        case "table" | "table without header" if known.table is not None:
            return Listed(table_rows(file, known.table), known.columns or known.table.columns)
        case "JSON array":
            return Listed(json_lists.array_rows(file.read()))
        case "JSON object":
            return Listed(json_lists.keyed_rows(file.read()))
        case "JSON objects":
            return Listed(json_lists.object_rows(file.read()))
        case "Kaldi":
            return kaldi.kaldi_list(path, found)
        case "fairseq":
            return headerless.fairseq_list(path, found)
        case "Multilingual LibriSpeech":
            return headerless.mls_list(path)
        case "lhotse cuts":
            return lhotse.cuts_list(path)
        case "lhotse recordings":
            return lhotse.recordings_list(path, lhotse.partner_of(path), found)
        case "lhotse supervisions":
            return lhotse.recordings_list(lhotse.partner_of(path), path, found)
        case _:
            return Listed(json_lists.line_rows(file))


def _guarded(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows, and where reading them fails, one that says so: those before it are good."""
    line = 0
    try:
        for row in rows:
            line = row.line
            yield row
    except (OSError, EOFError, zlib.error) as error:
        yield Row(line + 1, problem=f"the file cannot be read from here on ({error}); what follows is lost")
