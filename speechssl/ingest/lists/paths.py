"""Files that a list names: those that are there under the very name, and those that are nearly so called."""

import difflib
import os
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from speechssl.audio.formats import AUDIO_SUFFIXES
from speechssl.ingest.recordings import absolute, composed_form

AUDIO_FOLDERS = ("clips", "wavs", "wav", "audio")
"""Where the audio may be that a list names without its folder, beside the list."""
_ANCESTORS = 3
_VARIABLE = re.compile(r"(\$\w+|\$?\{\w+\}|\$\(\w+\))/+")
"""How SpeechBrain's lists begin a path: {data_root}/..."""
_DRIVE = re.compile(r"[A-Za-z]:(?=/)")


class Near(NamedTuple):
    """A file that is not called what the list says, but nearly so."""

    path: str
    kind: str
    """How they differ: "spelling", "suffix", "folder above", "moved folder"; empty if they do not, once a variable in
    the path is left out."""
    inside: str
    """Path relative to where the list's paths begin."""


def looks_like_audio(name: Any) -> bool:
    """Whether a value has the suffix of an audio file."""
    return isinstance(name, str) and os.path.splitext(name.strip().strip('"'))[1].lower() in AUDIO_SUFFIXES


def why_elsewhere(name: str) -> tuple[str, str] | None:
    """Why a path cannot be a file of this machine, as the reason and detail of a rejection; None if it can."""
    if "://" in name and not name.strip().lower().startswith("file:"):
        return "address, not a file", f"{name}: fetch it, and list the file"
    if name.rstrip().endswith("|"):
        command = name.strip().removesuffix("|").strip()
        return "command, not a file", f"nothing that a list says is run; give `{command} > FILE.wav`, and list the file"
    return None


class Paths:
    """Finds the files that one list names; each folder is listed once, whatever the number of rows."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        beside = (os.path.join(folder, name) for name in AUDIO_FOLDERS)
        self.bases = [folder, *(path for path in beside if os.path.isdir(path))]
        self._names: dict[str, dict[str, list[str]]] = {}
        self._levels: dict[str, list[tuple[str, list[tuple[str, str]]]]] = {}

    def exact(self, name: str) -> tuple[str, os.stat_result | None] | None:
        """Absolute path of what the list names, from its folder or an ``AUDIO_FOLDERS`` in it; None if it is not there.

        With its status, or None if that cannot be had.
        """
        for base in self.bases:
            path = absolute(os.path.join(base, name))
            try:
                return path, os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError):
                return path, None
        return None

    def near(self, name: str) -> list[Near]:
        """Files that are nearly so called: several if it cannot be told which one is meant, none if there are none.

        Looked at are other spellings and suffixes of the name, folders above the list's, and the path's end below them,
        as if the corpus had been moved. The first of these that gives any counts.
        """
        cleaned, is_respelled = _cleaned(name)
        folder, wanted = os.path.split(cleaned)
        if folder not in self._levels:
            self._levels[folder] = list(self._levels_of(folder))
        for kind, places in self._levels[folder]:
            found = {}
            for base, place in places:
                for file in self._like(place, wanted):
                    path = os.path.join(place, file)
                    if kind and path.startswith(self.folder + os.sep):
                        base = self.folder
                    inside = os.path.relpath(path, base) if path.startswith(base + os.sep) else path
                    found[path] = Near(path, kind or _difference(wanted, file, is_respelled=is_respelled), inside)
            if found:
                return list(found.values())
        return []

    def nearest(self, name: str) -> str:
        """What is there instead of a file, in words for a message; empty if nothing is like it."""
        path, missing = os.path.join(self.folder, _cleaned(name)[0]), ""
        while not os.path.isdir(path) and path != os.path.dirname(path):
            path, missing = os.path.dirname(path), os.path.basename(path)
        like = difflib.get_close_matches(missing, os.listdir(path) if os.path.isdir(path) else [], n=1)
        return f"{os.path.join(path, like[0])} is there" if like else ""

    def _levels_of(self, folder: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Folders that a path's folder may mean, each with the one that paths are relative to, the likeliest first."""
        forms = {unicodedata.normalize("NFD", folder), composed_form(folder), folder}
        bases = [self.folder] if os.path.isabs(folder) else self.bases
        yield "", [(base, os.path.join(base, form)) for base in bases for form in forms]
        above = [self.folder]
        for _ in range(_ANCESTORS):
            above.append(os.path.dirname(above[-1]))
            if not os.path.isabs(folder):  # as scripts write paths that run at the top of a corpus
                yield "folder above", [(above[-1], os.path.normpath(os.path.join(above[-1], folder)))]
        parts = [part for part in folder.split(os.sep) if part not in ("", os.curdir, os.pardir)]
        for step in range(1, len(parts) + 1):
            # None of the path's folders is looked for below the list's alone.
            bases = self.bases if step == len(parts) else [*self.bases, *above[1:3]]
            yield "moved folder", [(base, os.path.join(base, *parts[step:])) for base in bases]

    def _like(self, folder: str, name: str) -> list[str]:
        """Files of a folder that differ from a name in case, Unicode form or suffix only; the most similar alone."""
        folder = os.path.normpath(folder)
        if folder not in self._names:
            self._names[folder] = {}
            for other in os.listdir(folder) if os.path.isdir(folder) else ():
                self._names[folder].setdefault(_stem(other), []).append(other)
        alike = self._names[folder].get(_stem(name), [])
        alike = [other for other in alike if os.path.isfile(os.path.join(folder, other))]
        for same in (str, composed_form, _folded):
            if found := [other for other in alike if same(other) == same(name)]:
                return sorted(found)
        return sorted(alike)


def _folded(name: str) -> str:
    return name.lower() if name.isascii() else composed_form(composed_form(name).casefold())


def _stem(name: str) -> str:
    """What spellings of a name have in common: no case, one Unicode form, no suffix of audio."""
    stem, suffix = os.path.splitext(name)
    return _folded(stem if suffix.lower() in AUDIO_SUFFIXES else name)


def _difference(name: str, other: str, *, is_respelled: bool) -> str:
    """How two names of one stem differ."""
    if _folded(name) != _folded(other):
        return "suffix"
    return "spelling" if is_respelled or name != other else ""


def _cleaned(name: str) -> tuple[str, bool]:
    """A path as it would be written here, and whether that differs from how it is written; a variable is no matter."""
    cleaned = name.strip().strip("\"'").strip()
    if cleaned.lower().startswith("file:"):
        cleaned = unquote(urlsplit(cleaned).path)
    cleaned = _DRIVE.sub("", cleaned.replace("\\", "/"))
    is_respelled = cleaned != name
    cleaned = os.path.expanduser(_VARIABLE.sub("", cleaned, count=1) if _VARIABLE.match(cleaned) else cleaned)
    return os.path.normpath(cleaned) if cleaned else cleaned, is_respelled
