"""Corpora that are recognised by the names of their folders and files, wherever in a tree they lie."""

import os
import re
from collections.abc import Collection
from typing import NamedTuple

from speechssl.ingest.lists.formats import NO_LISTS
from speechssl.ingest.recordings import Findings
from speechssl.shards.transcripts import decode_text

_SUBSET = re.compile(r"(train|dev|test)([-_].*)?")
_CHAPTER = re.compile(r"([^-]+-[^-]+)\.trans")
_VCTK_SPEAKER = re.compile(r"[ps]\d+")
_COMMON_VOICE_PARTS = ("train.tsv", "dev.tsv", "test.tsv")
COMMON_VOICE_SPLITS = frozenset({*_COMMON_VOICE_PARTS, "validated.tsv", "other.tsv", "invalidated.tsv"})


class SpeakerFolder(NamedTuple):
    """A folder with recordings of one voice, as LibriTTS and MLS (SPEAKER/CHAPTER) or VCTK (SPEAKER) have them."""

    prefix: str
    """With which the names of its recordings begin."""
    speaker: str
    recording: str
    """What was recorded in one go; empty if that is each file."""
    split: str
    place: str
    """Where the speaker is from, for the report."""


def speaker_folder(folder: str) -> SpeakerFolder | None:
    """What the name of a folder says of the voice in it, if it is one of a known corpus."""
    above, name = os.path.split(folder)
    if _VCTK_SPEAKER.fullmatch(name):
        return SpeakerFolder(f"{name}_", name, "", "", "folder names, as in VCTK")
    subset, speaker = os.path.split(above)
    if not (name.isdecimal() and name.isascii() and speaker.isdecimal() and speaker.isascii()):
        return None
    prefix = f"{speaker}_{name}"
    return SpeakerFolder(f"{prefix}_", speaker, prefix, _split_of(subset), "folder names, as in LibriTTS")


class Chapter(NamedTuple):
    """What LibriSpeech says about a chapter, in SPEAKER-CHAPTER.trans.txt beside its utterances."""

    name: str
    """SPEAKER-CHAPTER, with which the utterances' names begin."""
    speaker: str
    split: str
    """Name of the subset's folder, if it is one of LibriSpeech's."""
    transcripts: str
    """Path of the transcripts."""
    texts: dict[str, str]
    """By utterance."""
    unreadable: str
    """Why the transcripts cannot be read; empty if they can."""


def chapter_name(base: str) -> str:
    """SPEAKER-CHAPTER of a name before its suffix, if it is that of a chapter's transcripts; else nothing."""
    match = _CHAPTER.fullmatch(base)
    return match[1] if match else ""


def read_chapter(name: str, transcripts: str, found: Findings) -> Chapter:
    """The transcripts of a chapter of LibriSpeech; its wrong lines are rejected.

    Args:
        name: SPEAKER-CHAPTER.
        transcripts: path of its SPEAKER-CHAPTER.trans.txt.
        found: where it is noted.
    """
    texts: dict[str, str] = {}
    unreadable = ""
    try:
        with open(transcripts, "rb") as file:
            rows = decode_text(file.read()).split("\n")
    except OSError as error:
        rows, unreadable = [], f"{transcripts} cannot be read ({error.strerror})"
    except ValueError as error:
        rows, unreadable = [], f"{transcripts} {error}"
    for line, row in enumerate(rows, start=1):
        utterance, _, text = row.strip().partition(" ")
        if utterance.startswith(f"{name}-") and utterance not in texts:
            texts[utterance] = text
        elif utterance:
            detail = f"begins with {utterance!r}, expected {name}-NUMBER, each once"
            found.reject(f"{transcripts}:{line}", "wrong line", detail)
    found.used.add(transcripts)
    folder, speaker = os.path.dirname(transcripts), name.partition("-")[0]
    # They lie in SUBSET/SPEAKER/CHAPTER, if they were left there.
    is_nested = folder.endswith(os.path.join(os.sep, *name.split("-")))
    subset = os.path.dirname(os.path.dirname(folder)) if is_nested else folder
    return Chapter(name, speaker, _split_of(subset), transcripts, texts, unreadable)


def common_voice_tables(names: Collection[str]) -> list[str]:
    """Tables of a Common Voice release that are read: its three parts, or else all that was validated, or the rest.

    Args:
        names: what lies beside its clips/.
    """
    for tables in (_COMMON_VOICE_PARTS, ("validated.tsv",), ("other.tsv",)):
        if found := [name for name in tables if name in names]:
            return found
    return []


def is_common_voice_table(name: str) -> bool:
    """Whether a file beside clips/ is one of Common Voice's tables, be it one that is not read."""
    return name in COMMON_VOICE_SPLITS or name in NO_LISTS


def _split_of(folder: str) -> str:
    """Part of the corpus by the folder above the speakers, which MLS calls audio/, in that of the part."""
    above, name = os.path.split(folder)
    if name == "audio":
        name = os.path.basename(above)
    return name if _SUBSET.fullmatch(name) else ""
