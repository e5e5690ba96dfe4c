"""What shards are made of, before anything is decoded: folders, globs, manifests, corpora and tars to recordings.

A million files take seconds: each folder is listed once, each file costs one ``stat``, and what is known of a recording
is a few short strings.
"""

import glob
import os
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from speechssl.errors import DataError
from speechssl.ingest.file_kinds import UNPACKED_WITH, archive_suffix, kind_of_file
from speechssl.ingest.folders import add_recordings, list_folder
from speechssl.ingest.joining import join
from speechssl.ingest.lists.folder_names import holds, nearest_path
from speechssl.ingest.lists.formats import list_format, why_no_list
from speechssl.ingest.manifests import read_manifest
from speechssl.ingest.recordings import Findings, Found, absolute, printable
from speechssl.ingest.tars import read_tar
from speechssl.ingest.trees import FolderId, folder_id, read_list, read_tree

MANIFEST_SUFFIXES = frozenset({".tsv", ".csv", ".jsonl", ".json"})
LOOKED_FOR = (
    "A source is a folder with audio files (WAV, FLAC, MP3, whatever libsndfile or FFmpeg reads), lists of them or "
    "webdataset tars; LibriSpeech's SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt; Common Voice's clips/ beside "
    "train.tsv, dev.tsv, test.tsv or validated.tsv; one audio file or .tar; a list of recordings (.tsv, .csv, .jsonl, "
    ".json of one object a line); or a glob of these in quotes."
)


class _Output(NamedTuple):
    """Where the shards go, which is no source."""

    path: str
    """Without links."""
    id: FolderId | None
    """None if it is not there yet."""


def find_recordings(sources: Sequence[str], output: Path | None = None) -> Found:
    """List the recordings of folders, globs, audio files, lists, corpora and webdataset tars.

    A file that several sources name is one recording: that with an id in a list, else one with a transcript. Keys are
    derived from paths relative to their source, so that a corpus has the same keys wherever it lies. Whatever is in a
    source is a recording, is rejected or ignored by name, or says something of recordings.

    Args:
        sources: each recognised by what it is, see ``LOOKED_FOR``.
        output: folder that is no part of any source, though it may lie in one.

    Raises:
        DataError: names every source that is not recognised or not readable, that is the output or lies in it, and
            every tar named by itself that is cut off or damaged.
    """
    found = Findings()
    folder = None if output is None else _Output(os.path.realpath(output), folder_id(str(output)))
    unrecognised = [message for source in sources for message in _read_source(source, folder, found)]
    for (root, where), names in found.files.items():
        _read_named_files(root, where, names, found)
    for message in unrecognised if sources else ["no sources were given"]:
        found.add_problem(message)
    if found.problems:
        num_more = found.num_problems - len(found.problems)
        more = [f"and {num_more} more"] if num_more else []
        raise DataError("\n".join([*found.problems, *more, *([LOOKED_FOR] if unrecognised or not sources else [])]))
    return _finish(found)


def _read_named_files(root: str, folder: str, names: set[str], found: Findings) -> None:
    """Add audio files of one folder that were named one by one, with what lies beside them."""
    try:
        listing = list_folder(folder, found, names)
    except OSError as error:
        found.reject(folder, "unreadable folder", f"{error.strerror or error}; make it readable, or leave it out")
        return
    # What went between the finding and the listing is missed as any file that is not there.
    listing.audio += sorted(names - set(listing.audio))
    add_recordings(listing, root, found)
    for name in listing.others:
        read_list(listing.path(name), listing.path(name), found)


def _read_source(source: str, output: _Output | None, found: Findings) -> list[str]:
    """Read one source; returns what is wrong with it, in a line, if it is not recognised."""
    if os.path.lexists(source):
        path = absolute(source)
        if output is not None and _is_inside(os.path.realpath(path), output):
            found.add_problem(f"{source}: is the output {output.path}, or lies in it; give another output")
            return []
        root = path if os.path.isdir(path) else os.path.dirname(path)
        return _read_path(path, root, source, output, found, is_alone=True)
    if not glob.has_magic(source):
        return [_not_found(source)]
    return _read_glob(source, output, found)


def _read_glob(source: str, output: _Output | None, found: Findings) -> list[str]:
    matches = _outermost(glob.glob(source, recursive=True))
    if output is not None:
        matches = [path for path in matches if not _is_inside(os.path.realpath(path), output)]
    root = absolute(_fixed_part(source))
    if not matches:
        if not os.path.isdir(root):
            near = nearest_path(root)
            return [f"{source}: a glob that matches nothing, {root} is no folder{_offer(near)}"]
        inside = holds(root)
        return [f"{source}: a glob that matches nothing{f'; in {root} are {inside}' if inside else ''}"]
    # Of .json there may be one beside each recording.
    is_of_lists = os.path.splitext(source)[1] in MANIFEST_SUFFIXES - {".json"}
    messages: dict[str, str] = {}
    for path in matches:
        if is_of_lists and os.path.isfile(path) and kind_of_file(path).kind != "unreadable":
            read_manifest(absolute(path), path, found)
            continue
        for message in _read_path(absolute(path), root, path, output, found, is_alone=False):
            messages[path] = message
    if len(messages) == len(matches):
        first = next(iter(messages.values()))
        return [f"{source}: none of its {len(matches)} matches is usable, the first for one: {first}"]
    return []


def _read_path(
    path: str, root: str, source: str, output: _Output | None, found: Findings, *, is_alone: bool
) -> list[str]:
    """Read a file or folder; returns a line if it is not recognised.

    Of one of many (not ``is_alone``), what is not recognised is ignored by name.
    """
    suffix = os.path.splitext(path)[1].lower()
    if os.path.isdir(path):
        return read_tree(path, root, source, found, output.id if output else None)
    known = kind_of_file(path)
    if known.kind == "audio":
        folder, name = os.path.split(path)
        found.files.setdefault((root, folder), set()).add(name)
    elif known.kind == "tar":
        read_tar(path, source, found, is_alone=is_alone)
    elif known.kind == "unreadable":
        detail = f"cannot be read ({known.reason})"
        if not is_alone:
            found.reject(path, "unreadable file", f"{detail}; make it readable, or leave it out")
        return [f"{source}: {detail}"]
    elif known.kind == "list" and not is_alone:
        read_list(path, source, found)
    elif known.kind == "list" or (is_alone and (suffix in MANIFEST_SUFFIXES or list_format(path) is not None)):
        read_manifest(path, source, found)
    else:
        if not is_alone:
            found.ignore(path, known.reason)
        return [f"{source}: {why_no_list(path) or _not_usable(path, source, known.reason)}"]
    return []


def _not_usable(path: str, source: str, reason: str) -> str:
    if suffix := archive_suffix(path):
        return f"an archive; unpack it ({UNPACKED_WITH[suffix]} {source}) and give the folder, or a .tar"
    return f"neither audio, nor a list of it, nor a tar ({reason})"


def _not_found(source: str) -> str:
    if re.match(r"[a-z][a-z0-9+.-]+://", source):
        return f"{source}: an address; copy it to this machine"
    if source.startswith("~"):
        near = nearest_path(os.path.expanduser(source))
        return f"{source}: not found, the shell leaves ~ as it is in quotes{_offer(near)}"
    return f"{source}: not found{_offer(nearest_path(source))}"


def _offer(near: str) -> str:
    return f"; is it {near}?" if near else ""


def _is_inside(path: str, output: _Output) -> bool:
    return path == output.path or path.startswith(os.path.join(output.path, ""))


def _outermost(matches: list[str]) -> list[str]:
    """Matches of a glob but those in a folder that is matched itself: ``data/**`` matches everything twice over."""
    folders = {path.rstrip(os.sep) for path in matches if os.path.isdir(path)}

    def is_inside(path: str) -> bool:
        parent = os.path.dirname(path)
        return parent in folders or (parent not in ("", path) and is_inside(parent))

    matches = sorted(path.rstrip(os.sep) or os.sep for path in matches)
    return [path for path in matches if not is_inside(path)] if folders else matches


def _fixed_part(pattern: str) -> str:
    """Deepest folder of a glob without wildcards."""
    folder = os.path.dirname(pattern)
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return folder


def _finish(found: Findings) -> Found:
    """Put together what was found."""
    recordings = join(found)
    named: set[str] = set()
    if found.ignored:
        named.update(map(printable, found.used), (printable(recording.path) for recording in recordings))
        named.update(item.path for item in found.rejected)
    return Found(
        recordings,
        sorted(found.rejected),
        notes=sorted(found.notes),
        # Several sources may have met the same file.
        ignored=[item for item, _ in groupby(sorted(found.ignored)) if item.path not in named],
        fields=_by_field(found.fields),
        ignored_columns={printable(name): count for name, count in found.ignored_columns.most_common()},
    )


def _by_field(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Counts of places by the field that was found in them."""
    fields: dict[str, dict[str, int]] = {}
    for (field, place), count in sorted(counts.items()):
        fields.setdefault(field, {})[printable(place)] = count
    return fields
