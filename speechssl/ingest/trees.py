"""Folders with all below them: every file is a recording, says something of recordings, or is ignored by its name."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from speechssl.ingest.corpora import common_voice_tables, is_common_voice_table
from speechssl.ingest.file_kinds import FileKind, kind_of_file, kind_of_name, may_be_list
from speechssl.ingest.folders import Listing, add_recordings, list_folder
from speechssl.ingest.manifests import read_manifest
from speechssl.ingest.parallel_texts import add_parallel_texts
from speechssl.ingest.recordings import Findings, Member, file_size
from speechssl.ingest.sidecars import field_of
from speechssl.ingest.tars import audio_of_tar, read_tar
from speechssl.shards.index import INDEX_SUFFIX
from speechssl.shards.listing import REPORT_FILE

_CLIPS = "clips"
_MEMBERS_COMPARED = 8
_BYTES_COMPARED = 1 << 16
_REPORTS = frozenset({"report.png", "rejected.tsv", "notes.tsv", "ignored.tsv"})
"""Of speechssl, beside its shards and their report.json; the tables have the columns of a list."""


class FolderId(NamedTuple):
    """What a folder is, by whatever path it is reached."""

    device: int
    inode: int


@dataclass
class _Tree:
    """What is read when all folders were seen."""

    lists: list[str] = field(default_factory=list)
    tars: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    """What may be transcripts but lies beside no audio, with what is said of it otherwise."""
    holds_audio: bool = False
    clips: list[str] = field(default_factory=list)
    """Folders of Common Voice, of which what no table names is not part of the corpus."""


def folder_id(path: str) -> FolderId | None:
    """What a folder is; None if it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return FolderId(status.st_dev, status.st_ino)


def read_tree(folder: str, root: str, source: str, found: Findings, output: FolderId | None) -> list[str]:
    """Read a folder and all below it; returns a line if there is nothing to read.

    Corpora are recognised folder by folder, so that they may lie anywhere in the tree.

    Args:
        folder: absolute path.
        root: folder that keys are relative to.
        source: what was given, for messages.
        found: where all is added.
        output: folder that is no part of it.
    """
    tree = _Tree()
    num_ignored, num_rejected = len(found.ignored), len(found.rejected)
    for listing in _walk(folder, found, output):
        _read_listing(listing, root, tree, found)
    looked_at = add_parallel_texts(folder, sorted(tree.texts), found) if tree.holds_audio and tree.texts else set()
    for path, reason in tree.texts.items():
        if path not in looked_at:
            found.ignore(path, reason)
    num_rows = len(found.named) + len(found.unnamed)
    for path in sorted(tree.lists):
        read_list(path, path, found)
    holds_audio = tree.holds_audio or len(found.named) + len(found.unnamed) > num_rows
    paths = _audio_by_name(found) if holds_audio and tree.tars else {}
    for path in sorted(tree.tars):
        reason = _why_not(path, paths) if holds_audio else ""
        if reason:
            found.ignore(path, reason)
        else:
            read_tar(path, path, found)
    if holds_audio or tree.tars or tree.lists:
        return []
    if len(found.rejected) > num_rejected and any(item.path == folder for item in found.rejected[num_rejected:]):
        return [f"{source}: cannot be listed ({found.rejected[num_rejected].detail})"]
    holds = Counter(item.reason for item in found.ignored[num_ignored:])
    holds.update(item.reason for item in found.rejected[num_rejected:])
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(holds.items()))
    return [f"{source}: a folder without audio, lists of it, or tars; it holds {listed or 'no files at all'}"]


def read_list(path: str, source: str, found: Findings) -> None:
    """Read a list that was met; if it cannot be used as a whole, it is left out by name, and the rest goes on."""
    num_shown, num_problems = len(found.problems), found.num_problems
    read_manifest(path, source, found)
    if found.num_problems > num_problems:
        problems = found.problems[num_shown:]
        num_more = found.num_problems - num_problems - len(problems)
        detail = "; ".join(problem.removeprefix(f"{source}:").strip() for problem in problems)
        found.reject(path, "unusable list", detail + (f"; and {num_more} more" if num_more else ""))
        del found.problems[num_shown:]
        found.num_problems = num_problems


def _walk(folder: str, found: Findings, output: FolderId | None) -> Iterator[Listing]:
    """List a folder and all below it; links to folders are followed unless they lead back to one above."""
    pending: list[tuple[str, frozenset[FolderId]]] = [(folder, frozenset())]
    while pending:
        path, above = pending.pop()
        here = folder_id(path)
        if here is not None and here == output:
            continue
        if here in above:
            found.ignore(path, "link to a folder above")
            continue
        try:
            listing = list_folder(path, found)
        except OSError as error:
            reason = error.strerror or str(error)
            found.reject(path, "unreadable folder", f"{reason}; make it readable, or leave it out")
            continue
        yield listing
        trail = above | {here} if here is not None else above
        pending += [(listing.path(name), trail) for name in reversed(listing.folders)]


def _read_listing(listing: Listing, root: str, tree: _Tree, found: Findings) -> None:
    """Add the recordings of one folder; note its lists and tars; name the rest."""
    _take_common_voice(listing, tree, found)
    _take_reports(listing, found)
    may_list = []
    for name in listing.others:
        if may_be_list(name):
            may_list.append(name)
        else:
            known = kind_of_name(name) or kind_of_file(listing.path(name))
            _take(listing, name, known, tree, found)
    listing.audio.sort()
    listing.others = may_list
    tree.holds_audio = tree.holds_audio or bool(listing.audio)
    if any(listing.folder == clips or listing.folder.startswith(clips + os.sep) for clips in tree.clips):
        found.only_listed.update(dict.fromkeys(map(listing.path, listing.audio), "Common Voice's tables"))
    else:
        add_recordings(listing, root, found)
    for name in listing.others:
        _take(listing, name, kind_of_file(listing.path(name)), tree, found)
    for beside in listing.sidecars.values():
        for suffix, name in beside.items():
            known = FileKind("other", f".{suffix}, not beside audio")
            if may_be_list(name):
                known = kind_of_file(listing.path(name))
            if known.kind == "other" and field_of(suffix) == "text":
                tree.texts[listing.path(name)] = known.reason
            else:
                _take(listing, name, known, tree, found)


def _take(listing: Listing, name: str, known: FileKind, tree: _Tree, found: Findings) -> None:
    path = listing.path(name)
    match known.kind:
        case "audio":
            listing.audio.append(name)
        case "list":
            tree.lists.append(path)
        case "tar":
            tree.tars.append(path)
        case "unreadable" if may_be_list(name):
            found.reject(
                path, "unreadable file", f"{known.reason}; it may be a list: make it readable, or leave it out"
            )
        case "unreadable":
            found.ignore(path, "cannot be opened")
        case _:
            found.ignore(path, known.reason)


def _take_common_voice(listing: Listing, tree: _Tree, found: Findings) -> None:
    """Note the tables beside clips/ that are read, and name those that are not."""
    tables = common_voice_tables(listing.others) if _CLIPS in listing.folders else []
    if not tables:
        return
    tree.lists += map(listing.path, tables)
    tree.clips.append(listing.path(_CLIPS))
    for name in filter(is_common_voice_table, listing.others):
        if name not in tables:
            found.ignore(listing.path(name), "table of Common Voice that is not read")
    listing.others = [name for name in listing.others if not is_common_voice_table(name)]


def _take_reports(listing: Listing, found: Findings) -> None:
    """Name the reports of speechssl beside its shards."""
    stem, suffix = os.path.splitext(REPORT_FILE)
    if listing.sidecars.get(stem, {}).get(suffix[1:]) != REPORT_FILE or not _REPORTS & set(listing.others):
        return
    for name in (REPORT_FILE, *sorted(_REPORTS & set(listing.others))):
        found.ignore(listing.path(name), "report of speechssl")
    del listing.sidecars[stem][suffix[1:]]
    listing.others = [name for name in listing.others if name not in _REPORTS]


def _audio_by_name(found: Findings) -> dict[str, list[str]]:
    """Paths of the audio files that were met, by their last part."""
    paths: dict[str, list[str]] = {}
    met = (recording.path for group in found.walked.values() for recording in group)
    for path in (*met, *found.unread, *found.only_listed):
        paths.setdefault(os.path.basename(path), []).append(path)
    return paths


def _why_not(tar: str, paths: Mapping[str, Sequence[str]]) -> str:
    """Why a tar among audio is not read; empty if it is."""
    if os.path.exists(tar + INDEX_SUFFIX):
        return "shard of speechssl among audio"
    members = audio_of_tar(tar)
    return "archive of what lies beside it" if members and _is_unpacked(tar, members, paths) else ""


def _is_unpacked(tar: str, members: Sequence[Member], paths_by_name: Mapping[str, Sequence[str]]) -> bool:
    """Whether all audio of a tar lies unpacked where it would be, by names and sizes, and by bytes of some.

    Args:
        tar: absolute path.
        members: its audio.
        paths_by_name: audio files of the folder that the tar is in, by the last part of their paths.
    """
    places = [_place_of(tar, member, paths_by_name) for member in members]
    if not members or not all(places):
        return False
    step = max(1, len(members) // _MEMBERS_COMPARED)
    try:
        with open(tar, "rb") as file:
            for member, place in list(zip(members, places, strict=True))[::step]:
                file.seek(member.offset)
                with open(place, "rb") as other:
                    size = min(member.size, _BYTES_COMPARED)
                    if file.read(size) != other.read(size):
                        return False
    except OSError:
        return False
    return True


def _place_of(tar: str, member: Member, paths_by_name: Mapping[str, Sequence[str]]) -> str:
    """File that a member was unpacked to; empty if there is none of its name and size."""
    name = member.name.lstrip("/")
    folder, _, inside = name.partition("/")
    # Whoever unpacks into a folder of the archive's name often leaves out the archive's own.
    endings = [f"/{name}", *([f"{os.path.dirname(tar)}/{inside}"] if inside else [])]
    endings += [f"{os.path.splitext(tar)[0]}/{inside}"] if inside and folder else []
    for path in paths_by_name.get(os.path.basename(name), ()):
        if path.endswith(tuple(endings)) and file_size(path) == member.size:
            return path
    return ""
