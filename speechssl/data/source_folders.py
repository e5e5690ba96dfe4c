"""Recordings of folders, each with the transcript beside it; corpora that are recognised by their folders."""

# Strings and os.path throughout: a Path per file costs more time and memory than finding it.
# ruff: noqa: PTH116, PTH118, PTH119, PTH122, PTH123
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from speechssl.audio.formats import AUDIO_SUFFIXES
from speechssl.data.recordings import TRANSCRIPT_SUFFIXES, Findings, Recording, is_usable, key_of
from speechssl.data.source_manifests import COMMON_VOICE_TABLES, read_manifest
from speechssl.data.source_tars import read_tar

_SUBSET = re.compile(r"(train|dev|test)([-_].*)?")


@dataclass
class Listing:
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


def read_tree(folder: str, root: str, source: str, found: Findings) -> list[str]:
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
            read_manifest(path, path, found)
        if tables:
            listing.folders.remove("clips")  # before the walk goes on: what no table names is not part of the corpus
        holds_audio = holds_audio or bool(tables or listing.audio)
        tars += [os.path.join(listing.folder, name) for name in listing.tars]
        read_folder(listing, root, found)
        others += listing.others + Counter(suffix for _, suffix in listing.transcripts.keys() - listing.used)
        others[".tsv"] += len(listing.tables) - len(tables)
    if not holds_audio:
        for path in tars:
            read_tar(path, path, found)
    elif tars:
        others[".tar beside audio"] += len(tars)  # most likely the archive that the audio was unpacked from
    found.passed_over.update(others)
    if holds_audio or tars:
        return []
    holds = ", ".join(f"{count} {suffix}" for suffix, count in sorted((+others).items()))
    return [f"{source}: a folder without audio, Common Voice tables or tars; it holds {holds or 'no files at all'}"]


def _walk(folder: str, found: Findings, others: Counter[str]) -> Iterator[Listing]:
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
        listing = list_folder(path, found)
        yield listing
        trail = above | {here}
        pending += [(os.path.join(path, name), trail) for name in reversed(listing.folders)]


def list_folder(folder: str, found: Findings, wanted: set[str] | None = None) -> Listing:
    """List a folder; with ``wanted``, only the audio files of these names, and all transcripts."""
    listing = Listing(folder, is_whole=wanted is None)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                _sort_in(entry, listing, wanted)
    except OSError as error:
        found.add_problem(f"{folder}: cannot be listed ({error.strerror}); make it readable, or leave it out")
    listing.audio.sort()
    listing.folders.sort()
    return listing


def _sort_in(entry: "os.DirEntry[str]", listing: Listing, wanted: set[str] | None) -> None:
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


def _common_voice_tables(listing: Listing) -> list[str]:
    """Tables of a Common Voice release in this folder: its three parts, or all that was validated."""
    if "clips" not in listing.folders:
        return []
    tables = [name for name in COMMON_VOICE_TABLES if name in listing.tables]
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


def _chapter_of(listing: Listing, found: Findings) -> _Chapter | None:
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


def read_folder(listing: Listing, root: str, found: Findings) -> None:
    """Recordings of the audio files directly in a folder, each with the transcript beside it."""
    chapter = _chapter_of(listing, found)
    relative = os.path.relpath(listing.folder, root)
    prefix = "" if relative == os.curdir else relative + os.sep
    for name in listing.audio:
        path = os.path.join(listing.folder, name)
        stem = os.path.splitext(name)[0]
        if chapter is not None and stem.startswith(f"{chapter.name}-"):
            text = chapter.texts.get(stem, "")
            recording = Recording(key_of(stem), path, text, chapter.speaker, "", chapter.split, chapter.name)
        else:
            text = _transcript_beside(stem, listing, found)
            recording = Recording(key_of(prefix + stem), path, text, recording=prefix + stem)
        if is_usable(path, "", found):
            found.unnamed.append(recording)
    if chapter is not None and listing.is_whole:
        for utterance in chapter.texts.keys() - {os.path.splitext(name)[0] for name in listing.audio}:
            path = os.path.join(listing.folder, f"{utterance}.flac")
            found.reject(path, "no such file", f"its transcript is in {chapter.transcripts}")


def _transcript_beside(stem: str, listing: Listing, found: Findings) -> str:
    for suffix in TRANSCRIPT_SUFFIXES:
        name = listing.transcripts.get((stem, suffix))
        if name is not None:
            listing.used.add((stem, suffix))
            return " ".join(_read_text(os.path.join(listing.folder, name), found).split())
    return ""


def _read_text(path: str, found: Findings) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found.add_problem(f"{path}: is not UTF-8 at byte {error.start}; convert it, for instance with iconv")
    except OSError as error:
        found.add_problem(f"{path}: cannot be read ({error.strerror}); make it readable, or leave it out")
    return ""
