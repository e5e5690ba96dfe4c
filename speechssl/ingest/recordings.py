"""What is known of a recording before it is decoded, and what is found on the way to a list of them."""

import hashlib
import os
import re
import stat
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from speechssl.shards.values import is_utf8

_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_-]+")


Origins = tuple[tuple[str, str], ...]
"""Field and place of what is known of a recording, as ("text", ".txt beside the audio")."""


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
    channel: int | None = None
    """Channel that holds it, from 0; None if the source names none."""
    stated_seconds: float | None = None
    """How long the source says that the file is, or the segment; to be compared with what is there. None: not said."""
    stated_frames: int | None = None
    """The same in frames at the file's own rate, as fairseq's lists have it."""


class Rejected(NamedTuple):
    """A recording that is left out, or a piece of one."""

    path: str
    """File, or tar and member, or list and line; characters that are not UTF-8 are escaped."""
    reason: str
    """Short and the same for all of its kind, to count by."""
    detail: str
    key: str = ""
    """Key of the recording, or of the piece; empty if it was left out before it had one."""


class Note(NamedTuple):
    """What was noticed of a recording that is used all the same, as a header that was wrong and was repaired."""

    path: str
    """As in ``Rejected``."""
    kind: str
    """Short and the same for all of its kind, to count by."""
    detail: str


class Ignored(NamedTuple):
    """A file of the sources that is no recording, and that nothing used."""

    path: str
    reason: str
    """Short and the same for all of its kind, to count by: its suffix, or words."""


class Refusal(NamedTuple):
    """Why a list or a tar cannot be used as a whole: an error if it was named itself, else it is left out by name."""

    reason: str
    """As in ``Rejected``."""
    detail: str


class Found(NamedTuple):
    """What the sources hold."""

    recordings: list[Recording]
    """In order of path, begin and offset, whatever the order of the sources and of the file system."""
    rejected: list[Rejected]
    """Named one by one, in order of path."""
    notes: list[Note]
    """In order of path."""
    ignored: list[Ignored]
    """In order of path."""
    fields: dict[str, dict[str, int]]
    """By field ("text") and place ("column wrd", ".txt beside the audio"): recordings that had a value there."""
    ignored_columns: dict[str, int]
    """Rows, or JSON objects, that had a value in a column of which nothing was used."""


@dataclass
class Findings:
    """What has been found so far."""

    named: list[Recording] = field(default_factory=list)
    """With an id of their own in a manifest, which stays as it is."""
    unnamed: list[Recording] = field(default_factory=list)
    """Of manifests and tars, with a key that was derived from a path and may still occur twice."""
    walked: dict[Origins, list[Recording]] = field(default_factory=lambda: defaultdict(list))
    """Audio files that were met as files, by what was found where. What lists say of one goes first."""
    unread: dict[str, str] = field(default_factory=dict)
    """Audio files that were met with a transcript that cannot be read, with the reason."""
    only_listed: set[str] = field(default_factory=set)
    """Audio files of Common Voice's clips/, of which its tables say which belong to the corpus."""
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    """Files that are no audio but were used, as lists and transcripts; they are not ``ignored``."""
    fields: Counter[tuple[str, str]] = field(default_factory=Counter)
    ignored_columns: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    """Of all in ``named``."""
    missing: list[tuple[str, str]] = field(default_factory=list)
    """Column and spelling of each value that was taken as missing, of the list, tar or folder that is being read."""
    doubtful_words: list[tuple[str, str]] = field(default_factory=list)
    """The same of transcripts that may be missing values, and were taken as words."""
    read: set[str] = field(default_factory=set)
    """Paths of manifests and tars, of which each is read once."""
    files: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """Audio files that were named one by one, by the folder that keys are relative to and the folder they are in."""
    literal: set[str] = field(default_factory=set)
    """Paths of those that are sources themselves, and not only matched by a glob."""

    def reject(self, path: str, reason: str, detail: str) -> None:
        """Leave a recording out."""
        self.rejected.append(Rejected(printable(path), reason, printable(detail)))

    def note(self, path: str, kind: str, detail: str) -> None:
        """Say something of a recording that is used all the same."""
        self.notes.append(Note(printable(path), kind, printable(detail)))

    def ignore(self, path: str, reason: str) -> None:
        """Pass a file over that is no recording, unless something uses it after all."""
        self.ignored.append(Ignored(printable(path), reason))


def is_usable(path: str, origin: str, found: Findings, status: os.stat_result | None = None) -> bool:
    """Whether an audio file, of which the status may be known, is there and holds something; if not it is rejected."""
    try:
        status = status or os.stat(path)
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        found.reject(path, "no such file" if missing else "unreadable file", origin or str(error))
        return False
    if not is_utf8(path):
        found.reject(path, "name is not UTF-8", origin or "rename it")
    elif not stat.S_ISREG(status.st_mode):
        found.reject(path, "not a file", origin or "a pipe, a device or a folder")
    elif status.st_size == 0:
        found.reject(path, "empty file", origin or "it has no bytes")
    else:
        return True
    return False


def file_size(path: str) -> int:
    """Bytes of a file; -1 if it is gone, which is told when it is read."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def key_of(identity: str) -> str:
    """A path without its suffix, or an id, in characters that keys may have.

    Of a name in another script, a hash keeps apart what those characters would make one: ``"日本"``, ``"中国"``.
    """
    if identity.isascii():
        return _NOT_IN_KEYS.sub("_", identity).strip("_") or "_"
    composed = composed_form(identity)
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", composed) if not unicodedata.combining(sign))
    readable = _NOT_IN_KEYS.sub("_", plain).strip("_")
    digest = hashlib.blake2b(composed.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{readable}_{digest}" if readable else digest


def composed_form(text: str) -> str:
    """The same text whether it was written with composed letters, or taken apart as macOS does."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def absolute(path: str) -> str:
    """Absolute path; what ``..`` means is left to the file system, since the folder before it may be a link."""
    if os.pardir not in path.split(os.sep):
        return os.path.abspath(path)
    folder, name = os.path.split(path.rstrip(os.sep))
    return _real_folder(path) if name == os.pardir else os.path.join(_real_folder(folder), name)


@lru_cache(maxsize=4096)
def _real_folder(path: str) -> str:
    return os.path.realpath(path)


def printable(text: str) -> str:
    """The text with what is not UTF-8 in it escaped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
