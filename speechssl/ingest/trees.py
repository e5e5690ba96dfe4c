"""Folders with all below them: every file is a recording, says something of recordings, or is ignored by its name."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from speechssl.ingest.corpora import common_voice_tables, is_common_voice_table
from speechssl.ingest.describing import note_values
from speechssl.ingest.file_kinds import FileKind, kind_of_file, kind_of_name, may_be_list
from speechssl.ingest.folders import Listing, add_recordings, list_folder, read_start
from speechssl.ingest.manifests import read_manifest
from speechssl.ingest.recordings import Findings, Origins, Recording, Refusal
from speechssl.ingest.sidecars import field_of
from speechssl.ingest.tars import read_tar
from speechssl.shards.index import INDEX_SUFFIX
from speechssl.shards.transcripts import read_transcript

FolderId = tuple[int, int]
"""Device and inode: what a folder is, by whatever path it is reached."""
NOT_RECOGNISED = "not recognised"
"""Reason to refuse a source in which nothing was found."""
_CLIPS = "clips"
_TEXT_FOLDERS = re.compile(r"txts?|texts?|trans|transcript(ion)?s?|labs?|labels?|prompts")
_MICROPHONE = re.compile(r"_mic\d$")
"""VCTK has a recording by each of two microphones, and one text."""


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
    return status.st_dev, status.st_ino


def read_tree(folder: str, root: str, found: Findings, output: FolderId | None) -> Refusal | None:
    """Read a folder and all below it; returns what is wrong with it if there is nothing to read.

    Corpora are recognised folder by folder, so that they may lie anywhere in the tree.

    Args:
        folder: absolute path.
        root: folder that keys are relative to.
        found: where all is added.
        output: folder that is no part of it.
    """
    tree = _Tree()
    num_ignored, num_rejected = len(found.ignored), len(found.rejected)
    for listing in _walk(folder, found, output):
        _read_listing(listing, root, tree, found)
    _add_texts(tree.texts, found)
    note_values(folder, found)
    num_rows = len(found.named) + len(found.unnamed)
    for path in sorted(tree.lists):
        reject_refused(path, read_manifest(path, path, found), found)
    holds_audio = tree.holds_audio or len(found.named) + len(found.unnamed) > num_rows
    for path in sorted(tree.tars):
        if not holds_audio:
            reject_refused(path, read_tar(path, found), found)
        elif os.path.exists(path + INDEX_SUFFIX):
            found.ignore(path, "shard of speechssl among audio")
        else:  # most often what was unpacked beside it
            detail = "give it as a source of its own if its recordings are not those beside it, else move it away"
            found.reject(path, "tar among audio", detail)
    if holds_audio or tree.tars or tree.lists:
        return None
    holds = Counter(item.reason for item in found.ignored[num_ignored:])
    holds.update(item.reason for item in found.rejected[num_rejected:])
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(holds.items()))
    detail = f"a folder without audio, lists of it, or tars; it holds {listed or 'no files at all'}"
    return Refusal(NOT_RECOGNISED, detail)


def reject_refused(path: str, refusal: Refusal | None, found: Findings) -> None:
    """Leave a list or a tar of many out by name, if it was refused; the rest goes on."""
    if refusal is not None:
        found.reject(path, *refusal)


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
    may_list = [name for name in listing.others if may_be_list(name)]
    for name in listing.others:
        if not may_be_list(name):
            _take(listing, name, kind_of_name(name) or kind_of_file(listing.path(name)), tree, found)
    listing.audio.sort()
    listing.others = may_list
    tree.holds_audio = tree.holds_audio or bool(listing.audio)
    if any(listing.folder == clips or listing.folder.startswith(clips + os.sep) for clips in tree.clips):
        found.only_listed.update(map(listing.path, listing.audio))
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
            detail = f"{known.reason}; it may be a list: make it readable, or leave it out"
            found.reject(path, "unreadable file", detail)
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


def _add_texts(texts: Mapping[str, str], found: Findings) -> None:
    """Give recordings without text that of the same name in a folder of texts, as VCTK's; ignore the other texts.

    A name that several texts or recordings have means none of them.
    """
    paths: dict[str, str] = {}
    for path in texts:
        folder, name = os.path.split(path)
        if any(map(_TEXT_FOLDERS.fullmatch, folder.lower().split(os.sep))):
            stem = os.path.splitext(name)[0]
            paths[stem] = "" if stem in paths else path
    met = {recording.path for group in found.walked.values() for recording in group} if paths else set()
    counts = Counter(map(os.path.basename, met))
    looked_at = set()
    for origins, recordings in list(found.walked.items()) if paths else ():
        found.walked[origins] = []
        for recording in recordings:
            name = os.path.basename(recording.path)
            path = paths.get(_MICROPHONE.sub("", os.path.splitext(name)[0]), "")
            if path and counts[name] == 1 and not recording.text:
                looked_at.add(path)
                _add_text(recording, origins, path, found)
            else:
                found.walked[origins].append(recording)
    for path in texts.keys() - looked_at:
        found.ignore(path, texts[path])


def _add_text(recording: Recording, origins: Origins, path: str, found: Findings) -> None:
    stem, suffix = os.path.splitext(path)
    try:
        transcript = read_transcript(read_start(path), suffix[1:].lower(), os.path.basename(stem))
    except (OSError, ValueError) as error:
        found.unread[recording.path] = f"{path}: {error.strerror if isinstance(error, OSError) else error}"
        return
    if transcript.text:
        found.used.add(path)
        origins = (*origins, ("text", f"{suffix.lower()} in a folder of its own"))
    else:
        found.ignore(path, f"no transcript: {transcript.kind}" if transcript.kind else "no words")
    found.walked[origins].append(recording._replace(text=transcript.text))
