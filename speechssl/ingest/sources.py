"""What shards are made of, before anything is decoded: folders, globs, manifests, corpora and tars to recordings.

A million files take seconds: each folder is listed once, each file costs one ``stat``, and what is known of a recording
is a few short strings.
"""

import difflib
import glob
import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from speechssl.errors import DataError
from speechssl.ingest.file_kinds import kind_of_file, may_be_list
from speechssl.ingest.folders import add_recordings, list_folder
from speechssl.ingest.joining import join
from speechssl.ingest.manifests import read_manifest
from speechssl.ingest.recordings import Findings, Found, Refusal, absolute, printable
from speechssl.ingest.tars import read_tar
from speechssl.ingest.trees import NOT_RECOGNISED, FolderId, folder_id, read_tree, reject_refused

LOOKED_FOR = (
    "A source is a folder with audio files (WAV, FLAC, MP3, whatever libsndfile or FFmpeg reads), lists of them or "
    "webdataset tars; LibriSpeech's SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt; Common Voice's clips/ beside "
    "train.tsv, dev.tsv, test.tsv or validated.tsv; one audio file or .tar; a list of recordings (.tsv, .csv, .jsonl, "
    ".json of one object a line); or a glob of these in quotes. Unpack archives, write other tables as CSV, and copy "
    "what is elsewhere to this machine."
)
_MOST_PROBLEMS = 20


class _Output(NamedTuple):
    """Where the shards go, which is no source."""

    path: str
    """Without links."""
    id: FolderId | None
    """None if it is not there yet."""

    def holds(self, path: str) -> bool:
        """Whether a path is the output, or in it."""
        return Path(os.path.realpath(path)).is_relative_to(self.path)


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
            every list or tar named by itself that cannot be used.
    """
    found = Findings()
    folder = None if output is None else _Output(os.path.realpath(output), folder_id(str(output)))
    problems = [problem for source in sources for problem in _read_source(source, folder, found)]
    if not sources:
        problems.append(Refusal(NOT_RECOGNISED, "no sources were given"))
    if problems:
        lines = [printable(problem.detail) for problem in problems[:_MOST_PROBLEMS]]
        num_more = len(problems) - len(lines)
        lines += [f"and {num_more} more"] if num_more else []
        lines += [LOOKED_FOR] if any(problem.reason == NOT_RECOGNISED for problem in problems) else []
        raise DataError("\n".join(lines))
    for (root, where), names in found.files.items():
        _read_named_files(root, where, names, found)
    return _finish(found)


def _read_named_files(root: str, folder: str, names: set[str], found: Findings) -> None:
    """Add audio files of one folder that were named one by one, with what lies beside them."""
    try:
        listing = list_folder(folder, found, names)
    except OSError as error:
        found.reject(folder, "unreadable folder", f"{error.strerror or error}; make it readable, or leave it out")
        return
    add_recordings(listing, root, found)
    for name in listing.others:
        reject_refused(listing.path(name), read_manifest(listing.path(name), listing.path(name), found), found)


def _read_source(source: str, output: _Output | None, found: Findings) -> list[Refusal]:
    """Read one source; returns what is wrong with it, if it cannot be used."""
    if os.path.lexists(source):
        path = absolute(source)
        if output is not None and output.holds(path):
            detail = f"{source}: is the output {output.path}, or lies in it; give another output"
            return [Refusal("output", detail)]
        root = path if os.path.isdir(path) else os.path.dirname(path)
        problem = _read_path(path, root, source, output, found, is_alone=True)
        return [_of(source, problem)] if problem else []
    if not glob.has_magic(source):
        above, name = os.path.split(source.rstrip(os.sep))
        there = os.listdir(above or os.curdir) if os.path.isdir(above or os.curdir) else []
        near = difflib.get_close_matches(name, there, n=1)
        offer = f"; is it {os.path.join(above, near[0])}?" if near else ""
        return [Refusal(NOT_RECOGNISED, f"{source}: not found{offer}")]
    return _read_glob(source, output, found)


def _of(source: str, problem: Refusal) -> Refusal:
    return problem._replace(detail=f"{source}: {problem.detail}")


def _read_glob(source: str, output: _Output | None, found: Findings) -> list[Refusal]:
    matches = _outermost(glob.glob(source, recursive=True))
    if output is not None:
        matches = [path for path in matches if not output.holds(path)]
    root = absolute(_fixed_part(source))
    # Who asks for all .csv means lists; of .json and .txt there may be one beside each recording.
    are_lists = may_be_list(source) and os.path.splitext(source)[1] not in (".json", ".txt")
    problems = []
    for path in matches:
        problem = _read_path(absolute(path), root, path, output, found, is_alone=are_lists)
        if problem is not None:
            problems.append(_of(path, problem))
    if are_lists and matches:
        return problems
    if len(problems) < len(matches):
        return []
    first = f", the first: {problems[0].detail}" if problems else ""
    detail = f"{source}: a glob of which none of {len(matches)} matches can be used{first}"
    return [Refusal(NOT_RECOGNISED, detail)]


def _read_path(
    path: str, root: str, source: str, output: _Output | None, found: Findings, *, is_alone: bool
) -> Refusal | None:
    """Read a file or folder; returns what is wrong with it, if it cannot be used.

    One of many (not ``is_alone``) is left out by name then.
    """
    if os.path.isdir(path):
        return read_tree(path, root, found, output.id if output else None)
    known = kind_of_file(path)
    refusal = None
    if known.kind == "audio":
        folder, name = os.path.split(path)
        found.files.setdefault((root, folder), set()).add(name)
        if is_alone:
            found.literal.add(path)
    elif known.kind == "tar":
        refusal = read_tar(path, found)
    elif known.kind == "unreadable":
        refusal = Refusal("unreadable file", f"cannot be read ({known.reason}); make it readable, or leave it out")
    elif known.kind == "list" or (is_alone and may_be_list(path)):
        refusal = read_manifest(path, source, found)
    else:
        if not is_alone:
            found.ignore(path, known.reason)
        return Refusal(NOT_RECOGNISED, f"neither audio, nor a list of it, nor a tar ({known.reason})")
    if not is_alone:
        reject_refused(path, refusal, found)
    return refusal


def _outermost(matches: list[str]) -> list[str]:
    """Matches of a glob but those in a folder that is matched itself: ``data/**`` matches everything twice over."""
    folders = {path.rstrip(os.sep) for path in matches if os.path.isdir(path)}
    matches = sorted(path.rstrip(os.sep) or os.sep for path in matches)
    return [path for path in matches if folders.isdisjoint(map(str, Path(path).parents))] if folders else matches


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
