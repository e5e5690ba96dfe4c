"""Recordings of manifests: lists of any format with a file, or a part of one, in each of their rows."""

import os
import zlib
from collections.abc import Iterable, Iterator

from speechssl.ingest.corpora import COMMON_VOICE_SPLITS
from speechssl.ingest.lists.formats import sniff
from speechssl.ingest.lists.placing import read_listed
from speechssl.ingest.lists.rows import Row
from speechssl.ingest.recordings import Findings, Refusal


def read_manifest(path: str, source: str, found: Findings) -> Refusal | None:
    """Recordings of a list of any format; rows that are wrong are rejected one by one, with their lines.

    Returns:
        Why it cannot be read as a whole: no format that is known, or no rows.
    """
    if path in found.read:
        return None
    found.read.add(path)
    found.used.add(path)
    folder, name = os.path.split(path)
    # Common Voice's tables have the names of the parts they are, and clips/ beside them.
    is_common_voice = name in COMMON_VOICE_SPLITS and os.path.isdir(os.path.join(folder, "clips"))
    split = os.path.splitext(name)[0] if is_common_voice else ""
    try:
        known = sniff(path)
        problem = "lists no recordings" if known is None else known.problem
        if known is not None and known.read is not None and not problem:
            listed = known.read(path, found)
            listed = listed._replace(rows=_guarded(listed.rows))
            problem = read_listed(listed, source, folder, split, found)
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
    except (EOFError, zlib.error, ValueError) as error:
        problem = f"is damaged or cut off ({error}); write or compress it again"
    if not problem and is_common_voice and name == "invalidated.tsv":
        found.note(source, "invalidated recordings", "Common Voice's listeners rejected all of them")
    return Refusal("unusable list", problem) if problem else None


def _guarded(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows, and where reading them fails, one that says so: those before it are good."""
    line: int | str = 0
    try:
        for row in rows:
            line = row.line
            yield row
    except (OSError, EOFError, zlib.error) as error:
        yield Row(f"after {line}", problem=f"the file cannot be read from here on ({error}); what follows is lost")
