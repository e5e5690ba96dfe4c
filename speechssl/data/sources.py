"""What shards are made of, before anything is decoded: folders, globs, manifests, corpora and tars to recordings.

A million files take seconds: each folder is listed once, each file costs one ``stat``, and what is known of a recording
is a few short strings.
"""

# Strings and os.path throughout: a Path per file costs more time and memory than finding it.
# ruff: noqa: PTH100, PTH110, PTH112, PTH116, PTH117, PTH118, PTH119, PTH120, PTH122, PTH123, PTH206, PTH207
import csv
import glob
import hashlib
import json
import math
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from speechssl.audio.reading import AUDIO_SUFFIXES
from speechssl.data.tar_scan import MemberRange, scan_tar
from speechssl.errors import DataError

TRANSCRIPT_SUFFIXES = (".txt", ".lab", ".transcript")
"""Of a transcript beside its audio; the first that is there counts."""
MANIFEST_SUFFIXES = frozenset({".tsv", ".csv", ".jsonl", ".json"})
FIELD_NAMES = {
    "path": ("path", "audio", "audio_filepath", "wav", "file", "file_name"),
    "text": ("text", "sentence", "transcript", "transcription"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "language": ("language", "locale", "lang"),
    "id": ("id",),
    "split": ("split",),
    "recording": ("recording", "recording_id"),
    "start": ("start", "offset"),
    "duration": ("duration",),
    "end": ("end",),
}
"""What the columns of manifests, and the JSON of webdataset tars, are called; the first that is there counts."""
LOOKED_FOR = (
    f"A source is a folder with audio files ({', '.join(sorted(AUDIO_SUFFIXES))}), LibriSpeech's "
    "SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt, Common Voice's clips/ beside train.tsv, dev.tsv, test.tsv or "
    "validated.tsv, or webdataset tars; one such audio file or .tar; a manifest (.tsv, .csv, .jsonl, .json of one "
    "object a line); or a glob of these in quotes. Audio of another suffix can be listed in a manifest."
)
_COMMON_VOICE_TABLES = ("train.tsv", "dev.tsv", "test.tsv", "validated.tsv")
_SUBSET = re.compile(r"(train|dev|test)([-_].*)?")
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_-]+")
_PROBLEMS_SHOWN = 20
# What readers of a webdataset stumble over, but not whoever looks up all members of a key.
_HARMLESS_FINDINGS = frozenset(
    {"half-sample", "dotted key", "invalid key", "several audio members", "skipped member", "interleaved members"}
)


class Member(NamedTuple):
    """Where in a tar the audio of a recording is."""

    name: str
    offset: int
    """First byte of its data."""
    size: int
    """Bytes of its data."""


class Recording(NamedTuple):
    """One file, a part of one, or a member of a tar."""

    key: str
    """Its name in the shards: letters, digits, ``_`` and ``-``, unique over all sources."""
    path: str
    """Absolute path of the audio file or the tar, a string since a million Paths would take half a gigabyte more."""
    text: str = ""
    """Transcript as the source has it; empty if there is none."""
    speaker: str = ""
    language: str = ""
    split: str = ""
    """Part of the corpus it belongs to, as the source calls it (``train``, ``dev-clean``); empty if not said."""
    recording: str = ""
    """What was recorded in one go: segments and tar members of one recording share it. The id to split by when there
    is no speaker. It does not depend on where the corpus lies."""
    start_seconds: float | None = None
    """Begin of a segment; None for a whole file. May be 0."""
    stop_seconds: float | None = None
    """End of a segment, after its begin; past the end of the file by as much as the manifest was rounded. None for a
    whole file, and for a segment up to the end."""
    member: Member | None = None
    """Where the audio is if ``path`` is a tar."""


class Rejected(NamedTuple):
    """A recording that is left out."""

    path: str
    """File, or tar and member; characters that are not UTF-8 are escaped."""
    reason: str
    """Short and the same for all of its kind, to count by."""
    detail: str


class Found(NamedTuple):
    """What the sources hold."""

    recordings: list[Recording]
    """In order of path, begin and offset, whatever the order of the sources and of the file system."""
    rejected: list[Rejected]
    """Named one by one, in order of path."""
    passed_over: dict[str, int]
    """What is no recording, by suffix or in words: a format that was hoped for shows here."""


@dataclass
class _Findings:
    """What has been found so far."""

    named: list[Recording] = field(default_factory=list)
    """With an id of their own in a manifest, which stays as it is."""
    unnamed: list[Recording] = field(default_factory=list)
    """With a key that was derived from a path, and may still occur twice."""
    rejected: list[Rejected] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    lines_of_ids: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Manifest and line of each key in ``named``."""
    read: set[str] = field(default_factory=set)
    """Paths of manifests and tars, of which each is read once."""
    files: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """Audio files that were named one by one, by the folder that keys are relative to and the folder they are in."""
    problems: list[str] = field(default_factory=list)
    num_problems: int = 0

    def reject(self, path: str, reason: str, detail: str) -> None:
        """Leave a recording out."""
        self.rejected.append(Rejected(_printable(path), reason, _printable(detail)))

    def add_problem(self, message: str) -> None:
        """Note what makes a source unusable; a manifest can have a million wrong lines, the first few will do."""
        self.num_problems += 1
        if len(self.problems) < _PROBLEMS_SHOWN:
            self.problems.append(_printable(message))


def find_recordings(sources: Sequence[str]) -> Found:
    """List the recordings of folders, globs, audio files, manifests, corpora and webdataset tars.

    A file that several sources name is one recording: that with an id in a manifest, else one with a transcript. Keys
    are derived from paths relative to their source, so that a corpus has the same keys wherever it lies.

    Args:
        sources: each recognised by what it is, see ``LOOKED_FOR``.

    Raises:
        DataError: names every source that is not recognised, wrong line of a manifest, transcript that cannot be read,
            folder that cannot be listed, and tar that is cut off or damaged.
    """
    found = _Findings()
    unrecognised = [message for source in sources for message in _read_source(source, found)]
    for (root, folder), names in found.files.items():
        _read_folder(_list_folder(folder, found, names), root, found)
    for message in unrecognised if sources else ["no sources were given"]:
        found.add_problem(message)
    if found.problems:
        num_more = found.num_problems - len(found.problems)
        more = [f"and {num_more} more"] if num_more else []
        raise DataError("\n".join([*found.problems, *more, *([LOOKED_FOR] if unrecognised or not sources else [])]))
    return _finish(found)


def _read_source(source: str, found: _Findings) -> list[str]:
    """Read one source; returns what is wrong with it, in a line, if it is not recognised."""
    if os.path.exists(source):
        path = _absolute(source)
        return _read_path(path, path if os.path.isdir(path) else os.path.dirname(path), source, found)
    if not glob.has_magic(source):
        return [f"{source}: not found"]
    matches = _outermost(glob.glob(source, recursive=True))
    if not matches:
        return [f"{source}: a glob that matches nothing"]
    root = _absolute(_fixed_part(source))
    messages = []
    for path in matches:
        messages += _read_path(_absolute(path), root, path, found)
    if len(messages) == len(matches):
        return [f"{source}: none of its {len(matches)} matches is usable, the first for one: {messages[0]}"]
    found.passed_over["unusable match of a glob"] += len(messages)
    return []


def _read_path(path: str, root: str, source: str, found: _Findings) -> list[str]:
    """Read a file or folder; returns a line if it is not recognised."""
    suffix = os.path.splitext(path)[1].lower()
    if os.path.isdir(path):
        return _read_tree(path, root, source, found)
    if suffix in AUDIO_SUFFIXES:
        folder, name = os.path.split(path)
        found.files.setdefault((root, folder), set()).add(name)
    elif suffix in MANIFEST_SUFFIXES:
        _read_manifest(path, source, found)
    elif suffix == ".tar":
        _read_tar(path, source, found)
    elif path.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        return [f"{source}: a compressed tar; unpack it, or decompress it to a .tar"]
    else:
        return [f"{source}: a file with the suffix {suffix!r}"]
    return []


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


@dataclass
class _Listing:
    """What lies directly in a folder, by name."""

    folder: str
    is_whole: bool
    """Whether all of it was wanted, not only files that were named one by one."""
    audio: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    tars: list[str] = field(default_factory=list)
    tables: set[str] = field(default_factory=set)
    """Those that are .tsv."""
    transcripts: dict[tuple[str, str], str] = field(default_factory=dict)
    """Name by stem and suffix in lower case."""
    used: set[tuple[str, str]] = field(default_factory=set)
    """Those of ``transcripts`` that have an audio file."""
    others: Counter[str] = field(default_factory=Counter)
    """Number of all else by suffix, and of hidden files."""


def _read_tree(folder: str, root: str, source: str, found: _Findings) -> list[str]:
    """Read a folder and all below it; returns a line if there is nothing to read.

    Corpora are recognised folder by folder, so that they may lie anywhere in the tree.
    """
    tars: list[str] = []
    others: Counter[str] = Counter()
    holds_audio = False
    for listing in _walk(folder, found, others):
        tables = _common_voice_tables(listing)
        for name in tables:
            path = os.path.join(listing.folder, name)
            _read_manifest(path, path, found)
        if tables:
            listing.folders.remove("clips")  # before the walk goes on: what no table names is not part of the corpus
        holds_audio = holds_audio or bool(tables or listing.audio)
        tars += [os.path.join(listing.folder, name) for name in listing.tars]
        _read_folder(listing, root, found)
        others += listing.others + Counter(suffix for _, suffix in listing.transcripts.keys() - listing.used)
        others[".tsv"] += len(listing.tables) - len(tables)
    if not holds_audio:
        for path in tars:
            _read_tar(path, path, found)
    elif tars:
        others[".tar beside audio"] += len(tars)  # most likely the archive that the audio was unpacked from
    found.passed_over.update(others)
    if holds_audio or tars:
        return []
    holds = ", ".join(f"{count} {suffix}" for suffix, count in sorted((+others).items()))
    return [f"{source}: a folder without audio, Common Voice tables or tars; it holds {holds or 'no files at all'}"]


def _walk(folder: str, found: _Findings, others: Counter[str]) -> Iterator[_Listing]:
    """List a folder and all below it; links to folders are followed unless they lead back to one above."""
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [(folder, frozenset())]
    while pending:
        path, above = pending.pop()
        try:
            status = os.stat(path)
        except OSError as error:
            found.add_problem(f"{path}: cannot be opened ({error.strerror}); make it readable, or leave it out")
            continue
        here = (status.st_dev, status.st_ino)
        if here in above:
            others["link to a folder above"] += 1
            continue
        listing = _list_folder(path, found)
        yield listing
        trail = above | {here}
        pending += [(os.path.join(path, name), trail) for name in reversed(listing.folders)]


def _list_folder(folder: str, found: _Findings, wanted: set[str] | None = None) -> _Listing:
    """List a folder; with ``wanted``, only the audio files of these names, and all transcripts."""
    listing = _Listing(folder, is_whole=wanted is None)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                _sort_in(entry, listing, wanted)
    except OSError as error:
        found.add_problem(f"{folder}: cannot be listed ({error.strerror}); make it readable, or leave it out")
    listing.audio.sort()
    listing.folders.sort()
    return listing


def _sort_in(entry: "os.DirEntry[str]", listing: _Listing, wanted: set[str] | None) -> None:
    stem, suffix = os.path.splitext(entry.name)
    suffix = suffix.lower()
    if wanted is not None and entry.name in wanted:
        listing.audio.append(entry.name)
    elif entry.name.startswith("."):  # macOS leaves a ._NAME for each file
        listing.others["hidden"] += 1
    elif suffix in TRANSCRIPT_SUFFIXES:
        # Of two names that differ in case only, the same one in whatever order they are listed.
        listing.transcripts[stem, suffix] = min(entry.name, listing.transcripts.get((stem, suffix), entry.name))
    elif wanted is not None:
        return
    elif entry.is_dir():
        listing.folders.append(entry.name)
    elif suffix in AUDIO_SUFFIXES:
        listing.audio.append(entry.name)
    elif suffix == ".tar":
        listing.tars.append(entry.name)
    elif suffix == ".tsv":
        listing.tables.add(entry.name)
    else:
        listing.others[suffix or "no suffix"] += 1


def _common_voice_tables(listing: _Listing) -> list[str]:
    """Tables of a Common Voice release in this folder: its three parts, or all that was validated."""
    if "clips" not in listing.folders:
        return []
    tables = [name for name in _COMMON_VOICE_TABLES if name in listing.tables]
    return [name for name in tables if name != "validated.tsv"] or tables


class _Chapter(NamedTuple):
    """What LibriSpeech says about one of its SPEAKER/CHAPTER folders."""

    name: str
    """SPEAKER-CHAPTER, with which the utterances' names begin."""
    speaker: str
    split: str
    """Name of the subset's folder, if it is one of LibriSpeech's."""
    transcripts: str
    """Path of the transcripts."""
    texts: dict[str, str]
    """By utterance."""


def _chapter_of(listing: _Listing, found: _Findings) -> _Chapter | None:
    """The transcripts of a folder, if it is one of LibriSpeech's."""
    speaker_folder, chapter = os.path.split(listing.folder)
    subset_folder, speaker = os.path.split(speaker_folder)
    name = f"{speaker}-{chapter}"
    file = listing.transcripts.get((f"{name}.trans", ".txt"))
    if file is None:
        return None
    listing.used.add((f"{name}.trans", ".txt"))
    path = os.path.join(listing.folder, file)
    texts: dict[str, str] = {}
    for line, row in enumerate(_read_text(path, found).split("\n"), start=1):
        utterance, _, text = row.strip().partition(" ")
        if not utterance:
            continue
        if not utterance.startswith(f"{name}-") or utterance in texts:
            found.add_problem(f"{path}:{line}: begins with {utterance!r}, expected {name}-NUMBER, each once")
        texts[utterance] = text
    subset = os.path.basename(subset_folder)
    return _Chapter(name, speaker, subset if _SUBSET.fullmatch(subset) else "", path, texts)


def _read_folder(listing: _Listing, root: str, found: _Findings) -> None:
    """Recordings of the audio files directly in a folder, each with the transcript beside it."""
    chapter = _chapter_of(listing, found)
    relative = os.path.relpath(listing.folder, root)
    prefix = "" if relative == os.curdir else relative + os.sep
    for name in listing.audio:
        path = os.path.join(listing.folder, name)
        stem = os.path.splitext(name)[0]
        if chapter is not None and stem.startswith(f"{chapter.name}-"):
            text = chapter.texts.get(stem, "")
            recording = Recording(_key(stem), path, text, chapter.speaker, "", chapter.split, chapter.name)
        else:
            text = _transcript_beside(stem, listing, found)
            recording = Recording(_key(prefix + stem), path, text, recording=prefix + stem)
        if _is_usable(path, "", found):
            found.unnamed.append(recording)
    if chapter is not None and listing.is_whole:
        for utterance in chapter.texts.keys() - {os.path.splitext(name)[0] for name in listing.audio}:
            path = os.path.join(listing.folder, f"{utterance}.flac")
            found.reject(path, "no such file", f"its transcript is in {chapter.transcripts}")


def _transcript_beside(stem: str, listing: _Listing, found: _Findings) -> str:
    for suffix in TRANSCRIPT_SUFFIXES:
        name = listing.transcripts.get((stem, suffix))
        if name is not None:
            listing.used.add((stem, suffix))
            return " ".join(_read_text(os.path.join(listing.folder, name), found).split())
    return ""


def _read_text(path: str, found: _Findings) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found.add_problem(f"{path}: is not UTF-8 at byte {error.start}; convert it, for instance with iconv")
    except OSError as error:
        found.add_problem(f"{path}: cannot be read ({error.strerror}); make it readable, or leave it out")
    return ""


def _is_usable(path: str, origin: str, found: _Findings) -> bool:
    """Whether an audio file is there and holds something; if not it is rejected."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        found.reject(path, "no such file" if missing else "unreadable file", origin or str(error))
        return False
    if not _is_utf8(path):
        found.reject(path, "name is not UTF-8", origin or "rename it")
    elif not stat.S_ISREG(status.st_mode):
        found.reject(path, "not a file", origin or "a pipe, a device or a folder")
    elif status.st_size == 0:
        found.reject(path, "empty file", origin or "it has no bytes")
    else:
        return True
    return False


def _read_manifest(path: str, source: str, found: _Findings) -> None:
    """Recordings of a manifest; its wrong lines are noted."""
    if path in found.read:
        return
    found.read.add(path)
    folder, name = os.path.split(path)
    stem = os.path.splitext(name)[0]
    # Common Voice's tables have the names of the parts they are, and clips/ beside them.
    split = stem if name in _COMMON_VOICE_TABLES and os.path.isdir(os.path.join(folder, "clips")) else ""
    read_rows = _table_rows if name.lower().endswith((".tsv", ".csv")) else _json_rows
    num_rows, num_problems = 0, found.num_problems
    try:
        # Bytes that are not UTF-8 become surrogates, which are found in the field that has them.
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            for line, values in read_rows(file, source, found):
                num_rows += 1
                try:
                    _add_row(values, folder, split, (source, line), found)
                except ValueError as error:
                    found.add_problem(f"{source}:{line}: {error}")
    except OSError as error:
        found.add_problem(f"{source}: cannot be read ({error.strerror})")
    if not num_rows and found.num_problems == num_problems:
        found.add_problem(f"{source}: lists no recordings")


def _table_rows(file: TextIO, source: str, found: _Findings) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines of a TSV or CSV below its header, with their numbers."""
    rows = _split_rows(file, source, found)
    _, names = next(rows, (1, ["nothing"]))
    header = [name.strip() for name in names]
    if "path" not in _columns(tuple(header)) or len(set(header)) < len(header):
        separated = "tab" if source.lower().endswith(".tsv") else "comma"
        found.add_problem(
            f"{source}: the header is {' '.join(header)!a}, expected {separated}-separated columns of different names "
            f"with one of {', '.join(FIELD_NAMES['path'])} among them"
        )
        return
    for line, row in rows:
        if len(row) == len(header):
            yield line, dict(zip(header, row, strict=True))
        else:
            found.add_problem(f"{source}:{line}: {len(row)} columns, expected {len(header)} ({', '.join(header)})")


def _split_rows(file: TextIO, source: str, found: _Findings) -> Iterator[tuple[int, list[str]]]:
    """Rows of a TSV, in which quotes are characters as any other, or of a standard CSV; empty ones are passed over."""
    if source.lower().endswith(".tsv"):
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        # Not strict, a quote that is never closed would take in the rest of the file without a word.
        reader = csv.reader(file, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            found.add_problem(f"{source}:{line}: cannot be split into columns ({error}); check the quotes")
            continue
        if row:
            yield line, row


def _json_rows(file: TextIO, source: str, found: _Findings) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines of a file with one JSON object on each, with their numbers."""
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            found.add_problem(f"{source}:{line}: is not JSON ({error}); expected one object on each line")
            continue
        if isinstance(values, dict):
            yield line, values
        else:
            found.add_problem(f"{source}:{line}: is a JSON {type(values).__name__}, expected one object on each line")


def _add_row(values: Mapping[str, Any], folder: str, split: str, where: tuple[str, int], found: _Findings) -> None:
    """Add the recording of one line; raises ValueError if the line is wrong."""
    columns = _columns(tuple(values))
    name = _string(values, columns, "path")
    if not name:
        expected = ", ".join(FIELD_NAMES["path"])
        raise ValueError(f"no path in its fields {', '.join(values)}; expected one in {expected}")
    known = _description(values, columns)
    start, stop = _segment(values, columns)
    inside = os.path.relpath(name, folder) if name.startswith(folder + os.sep) else os.path.normpath(name)
    identity = os.path.splitext(inside)[0]
    own_id = _string(values, columns, "id")
    recording = known._replace(
        key=_key(own_id or identity + _segment_name(start, stop)),
        path=_locate(name, folder),
        split=known.split or split,
        recording=known.recording or identity,
        start_seconds=start,
        stop_seconds=stop,
    )
    if own_id and found.lines_of_ids.setdefault(recording.key, where) is not where:
        manifest, line = found.lines_of_ids[recording.key]
        raise ValueError(
            f"the id {own_id!r} gives the key {recording.key!r}, which is that of {manifest}:{line}; "
            "ids must differ in letters, digits, _ and -"
        )
    if _is_usable(recording.path, f"named in {where[0]}:{where[1]}", found):
        (found.named if own_id else found.unnamed).append(recording)


@lru_cache(maxsize=64)
def _columns(names: tuple[str, ...]) -> dict[str, str]:
    """What each of our fields is called among these names."""
    by_name = {name.lower(): name for name in reversed(names)}
    found = {field: [by_name[name] for name in called if name in by_name] for field, called in FIELD_NAMES.items()}
    return {field: present[0] for field, present in found.items() if present}


def _description(values: Mapping[str, Any], columns: Mapping[str, str]) -> Recording:
    """What a line or a JSON says about a recording but where it is; few texts occur often, and are kept once."""
    speaker = _string(values, columns, "speaker")
    if speaker and columns["speaker"].lower() == "client_id":
        speaker = hashlib.blake2b(speaker.encode(), digest_size=8).hexdigest()  # they have 128 characters
    return Recording(
        "",
        "",
        _string(values, columns, "text"),
        sys.intern(speaker),
        sys.intern(_string(values, columns, "language")),
        sys.intern(_string(values, columns, "split")),
        sys.intern(_string(values, columns, "recording")),
    )


def _string(values: Mapping[str, Any], columns: Mapping[str, str], name: str) -> str:
    """A field as text, empty if it is absent or null; raises ValueError for what is no text."""
    value = values[columns[name]] if name in columns else None
    if isinstance(value, dict) and name == "path":
        value = value.get("path")  # as Hugging Face writes its audio columns
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{columns[name]} is a {type(value).__name__}, expected text")
    text = str(value)
    if not _is_utf8(text):
        raise ValueError(f"{columns[name]} {text!a} is not UTF-8; convert the file, for instance with iconv")
    return text


def _segment(values: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Begin and end in seconds; None, None for a whole file."""
    start, duration, end = (_seconds(values, columns, name) for name in ("start", "duration", "end"))
    # A duration alone is the length of the file, rounded; to cut there would lose or demand some samples of each.
    if end is None and (start is None or (start == 0 and duration is None)):
        return None, None
    start = start or 0.0
    stop = end if end is not None else start + duration if duration is not None else None
    if stop is not None and stop <= start:
        raise ValueError(f"a segment from {start:g} to {stop:g} s, expected an end after its begin")
    return start, stop


def _seconds(values: Mapping[str, Any], columns: Mapping[str, str], name: str) -> float | None:
    value = values[columns[name]] if name in columns else None
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{columns[name]} is {value!a}, expected seconds, a number from 0")
    return seconds


def _segment_name(start: float | None, stop: float | None) -> str:
    """Milliseconds of a segment for its key, in an order that is that of time."""
    return "".join(f"-{round(seconds * 1000):08d}" for seconds in (start, stop) if seconds is not None)


def _locate(name: str, folder: str) -> str:
    """Absolute path of what a manifest names, relative to its folder or to clips/ in it."""
    path = _absolute(os.path.join(folder, name))
    if not os.path.isabs(name) and not os.path.exists(path):
        clip = os.path.join(folder, "clips", name)
        return _absolute(clip) if os.path.exists(clip) else path
    return path


def _read_tar(path: str, source: str, found: _Findings) -> None:
    """Recordings of a webdataset tar, whose audio is not read."""
    if path in found.read:
        return
    found.read.add(path)
    if not _is_utf8(path):
        found.add_problem(f"{source}: its name is not UTF-8; rename it")
        return
    samples: dict[str, dict[str, MemberRange]] = {}
    try:
        scan = scan_tar(Path(path))
        damages = [finding for finding in scan.findings if finding.kind not in _HARMLESS_FINDINGS]
        for finding in damages:
            key = f"{finding.key}: " if finding.key else ""
            found.add_problem(f"{source}: {key}{finding.kind} at byte {finding.offset}: {finding.detail}")
        for sample in scan.samples:
            samples.setdefault(sample.key, {}).update(sample.members)  # members need not be adjacent
        if not samples and not damages:
            found.add_problem(f"{source}: no samples, expected members KEY.SUFFIX, as webdataset has them")
        with open(path, "rb") as file:
            for key, members in samples.items() if not damages else ():
                _add_tar_sample(path, source, key, members, file, found)
        found.passed_over["tar member without KEY.SUFFIX"] += sum(f.kind == "skipped member" for f in scan.findings)
    except OSError as error:
        found.add_problem(f"{source}: cannot be read ({error.strerror})")


def _add_tar_sample(
    path: str, source: str, key: str, members: Mapping[str, MemberRange], file: BinaryIO, found: _Findings
) -> None:
    audio = [suffix for suffix in members if f".{suffix}" in AUDIO_SUFFIXES]
    dotted = [suffix for suffix in members if "." in suffix and os.path.splitext(suffix)[1] in AUDIO_SUFFIXES]
    for suffix in dotted:
        detail = "webdataset cuts names at their first dot, and different samples become one; rename it"
        found.reject(f"{path}: {key}.{suffix}", "dotted key", detail)
    if len(audio) != 1:
        if audio or not dotted:
            reason = "several audio members" if audio else "no audio member"
            found.reject(f"{path}: {key}", reason, f"its members are {', '.join(members)}; expected one with audio")
        return
    try:
        known = _tar_description(members, file)
    except (ValueError, RecursionError) as error:
        found.add_problem(f"{source}: {key}: {error}; make the tar again")
        return
    place = members[audio[0]]
    recording = known._replace(
        key=_key(key),
        path=path,
        recording=known.recording or _printable(key),
        member=Member(_printable(f"{key}.{audio[0]}"), place.offset, place.size),
    )
    if place.size:
        found.unnamed.append(recording)
    else:
        found.reject(f"{path}: {key}.{audio[0]}", "empty file", "it has no bytes")


def _tar_description(members: Mapping[str, MemberRange], file: BinaryIO) -> Recording:
    """What is known of a tar's sample; raises ValueError if that is damaged."""

    def content(suffix: str) -> bytes:
        file.seek(members[suffix].offset)
        return file.read(members[suffix].size)

    values = json.loads(content("json")) if "json" in members else {}
    if not isinstance(values, dict):
        raise ValueError(f"its .json is a {type(values).__name__}, expected an object")
    columns = _columns(tuple(values))
    known = _description(values, columns)
    # Shards of speechssl name the file that they were made from; elsewhere the word means other things.
    source = values.get("source")
    if not known.recording and isinstance(source, str) and os.path.splitext(source)[1].lower() in AUDIO_SUFFIXES:
        known = known._replace(recording=_printable(os.path.splitext(source)[0]))
    transcript = next((suffix[1:] for suffix in TRANSCRIPT_SUFFIXES if suffix[1:] in members), None)
    if known.text or transcript is None:
        return known
    return known._replace(text=" ".join(content(transcript).decode("utf-8-sig").split()))


def _finish(found: _Findings) -> Found:
    """Drop what several sources name, and make the keys unique."""
    recordings = _without_repeats(found)
    _make_keys_unique(recordings, {recording.key for recording in found.named})
    if found.named:
        recordings += found.named
        recordings.sort(key=lambda recording: (*_place(recording), recording.key))
    return Found(recordings, sorted(found.rejected), dict(sorted((+found.passed_over).items())))


def _place(recording: Recording) -> tuple[str, float, float, int]:
    """Where the audio is, as an order of all recordings."""
    stop = math.inf if recording.stop_seconds is None else recording.stop_seconds
    return recording.path, recording.start_seconds or 0.0, stop, recording.member.offset if recording.member else -1


def _without_repeats(found: _Findings) -> list[Recording]:
    """Recordings without an id, each place once and in order; whichever is not kept is rejected."""
    named = {_place(recording): recording for recording in found.named}
    kept = []
    found.unnamed.sort(key=_place)
    for place, repeats in groupby(found.unnamed, key=_place):
        # What is known decides, not the order of the sources.
        candidates = sorted(repeats, key=lambda recording: (not recording.text, not recording.speaker, recording[:7]))
        first = named.get(place)
        if first is None:
            first = candidates.pop(0)
            kept.append(first)
        for other in candidates:
            differs = other.text not in ("", first.text)
            reason = "listed twice, with another transcript" if differs else "listed twice"
            found.reject(other.path, reason, f"kept as {first.key!r}" + (f", {first.text!r}" if differs else ""))
    return kept


def _make_keys_unique(recordings: list[Recording], taken: set[str]) -> None:
    """Give recordings whose keys clash a hash of their path; ids of manifests, ``taken``, stay as they are."""
    seen = set(taken)
    clashing: set[str] = set()
    for recording in recordings:
        (clashing if recording.key in seen else seen).add(recording.key)
    groups: dict[str, list[int]] = {key: [] for key in clashing}
    for i, recording in enumerate(recordings):
        if recording.key in groups:
            groups[recording.key].append(i)
    for key in sorted(groups):
        # Relative to the folder that they share, so that the keys are the same wherever the corpus lies.
        shared = os.path.commonpath([os.path.dirname(recordings[i].path) for i in groups[key]])
        for i in groups[key]:
            name = _unique_key(recordings[i], shared, seen)
            seen.add(name)
            recordings[i] = recordings[i]._replace(key=name)


def _unique_key(recording: Recording, folder: str, seen: set[str]) -> str:
    member = recording.member.name if recording.member else ""
    parts = (os.path.relpath(recording.path, folder), member, recording.start_seconds, recording.stop_seconds)
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=20).hexdigest()
    # Eight digits are enough for all but a few of a million.
    return next(
        name for length in (8, 16, 40) if (name := f"{recording.key}_{digest[:length]}".lstrip("_")) not in seen
    )


def _key(identity: str) -> str:
    """A path without its suffix, or an id, in characters that keys may have."""
    return _NOT_IN_KEYS.sub("_", identity).strip("_") or "_"


def _absolute(path: str) -> str:
    """Absolute path; what ``..`` means is left to the file system, since the folder before it may be a link."""
    if os.pardir not in path.split(os.sep):
        return os.path.abspath(path)
    folder, name = os.path.split(path.rstrip(os.sep))
    return _real_folder(path) if name == os.pardir else os.path.join(_real_folder(folder), name)


@lru_cache(maxsize=4096)
def _real_folder(path: str) -> str:
    return os.path.realpath(path)


def _is_utf8(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode()) or not text
    except UnicodeEncodeError:
        return False


def _printable(text: str) -> str:
    """The text with what is not UTF-8 in it escaped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
