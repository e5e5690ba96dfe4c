"""Files that a list names: those that are there under the very name, and those that are nearly so called."""

import os
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from speechssl.audio.formats import AUDIO_SUFFIXES
from speechssl.ingest.lists.folder_names import FolderNames, rank_of
from speechssl.ingest.recordings import absolute

AUDIO_FOLDERS = ("clips", "wavs", "wav", "audio")
"""Where the audio may be that a list names without its folder, beside the list."""
_ANCESTORS = 3
_VARIABLE = re.compile(r"(\$\w+|\$?\{\w+\}|\$\(\w+\))/+")
"""How SpeechBrain's lists begin a path: {data_root}/..."""
_DRIVE = re.compile(r"[A-Za-z]:(?=[\\/])")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_FETCH = {"http": "wget", "https": "wget", "s3": "aws s3 cp", "gs": "gcloud storage cp", "hf": "hf download"}


class Near(NamedTuple):
    """A file that is not called what the list says, but nearly so."""

    path: str
    kind: str
    """How they differ, one of ``folder_names.KINDS``; empty if they do not, once a variable in the path is left out."""
    inside: str
    """Path relative to where the list's paths begin."""


class _Place(NamedTuple):
    """A folder that a path's folder may mean."""

    kind: str
    """How they differ."""
    step: int
    """How much of the path's folder was left out."""
    base: str
    """Folder that the path is relative to."""
    folder: str


def looks_like_audio(name: Any) -> bool:
    """Whether a value has the suffix of an audio file."""
    return isinstance(name, str) and os.path.splitext(name.strip().strip('"'))[1].lower() in AUDIO_SUFFIXES


def why_elsewhere(name: str) -> tuple[str, str] | None:
    """Why a path cannot be a file of this machine, as the reason and detail of a rejection; None if it can."""
    scheme = _SCHEME.match(name.strip())
    if scheme and scheme[1].lower() != "file":
        tool = _FETCH.get(scheme[1].lower(), "a tool that knows such addresses")
        return "address, not a file", f"{name}: fetch it with {tool}, and list the file"
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
        self._names: dict[str, FolderNames] = {}
        self._places: dict[str, list[_Place]] = {}

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

        Looked at are other ways to write the same path, its other cases and Unicode forms, other suffixes, folders
        above the list's, and its end below them, as if the corpus had been moved. Of what is found, that which differs
        the least counts.
        """
        cleaned, kind = _cleaned(name)
        found: dict[tuple[int, int], dict[str, Near]] = {}
        for place in self._places_of(os.path.dirname(cleaned)):
            for file_kind, file in self._names_in(place.folder).like(os.path.basename(cleaned)):
                path = os.path.join(place.folder, file)
                if os.path.isfile(path):
                    worst = max(kind, place.kind, file_kind, key=rank_of)
                    inside = os.path.relpath(path, place.base) if path.startswith(place.base + os.sep) else path
                    found.setdefault((rank_of(worst), place.step), {})[path] = Near(path, worst, inside)
        return list(found[min(found)].values()) if found else []

    def nearest(self, name: str) -> str:
        """What is there instead of a file, in words for a message; empty if nothing is like it."""
        path, missing = os.path.join(self.folder, _cleaned(name)[0]), ""
        while not os.path.isdir(path) and path != os.path.dirname(path):
            path, missing = os.path.dirname(path), os.path.basename(path)
        like = self._names_in(path).nearest(missing)
        return f"{os.path.join(path, like)} is there" if like else ""

    def _names_in(self, folder: str) -> FolderNames:
        if folder not in self._names:
            self._names[folder] = FolderNames(folder)
        return self._names[folder]

    def _places_of(self, folder: str) -> list[_Place]:
        """Folders that a path's folder may mean, each once."""
        if folder not in self._places:
            places = [*self._spelled(folder), *self._above(folder), *self._moved(folder)]
            self._places[folder] = list({place.folder: place for place in reversed(places)}.values())
        return self._places[folder]

    def _spelled(self, folder: str) -> Iterator[_Place]:
        """In other cases and Unicode forms, level by level."""
        parts = [part for part in folder.split(os.sep) if part not in ("", os.curdir)]
        is_absolute = os.path.isabs(folder)
        for base in [os.sep] if is_absolute else self.bases:
            trails = [("", base)]
            for part in parts:
                if part == os.pardir:
                    trails = [(kind, os.path.dirname(path)) for kind, path in trails]
                else:
                    trails = [
                        (max(kind, other, key=rank_of), os.path.join(path, name))
                        for kind, path in trails
                        for other, name in self._names_in(path).like(part)
                        if other != "suffix"
                    ]
            for kind, path in trails:
                yield _Place(kind, 0, self.folder if is_absolute else base, path)

    def _above(self, folder: str) -> Iterator[_Place]:
        """Relative to a folder above that of the list, as scripts write paths that run at the top of a corpus."""
        above = self.folder
        for step in range(0 if os.path.isabs(folder) else _ANCESTORS):
            above = os.path.dirname(above)
            path = os.path.normpath(os.path.join(above, folder))
            if os.path.isdir(path):
                yield _Place("folder above", step, self._base(path, above), path)

    def _moved(self, folder: str) -> Iterator[_Place]:
        """Its end, below the list's folder or one above it; none of it, below the list's."""
        parts = [part for part in folder.split(os.sep) if part not in ("", os.curdir, os.pardir)]
        parent = os.path.dirname(self.folder)
        for step in range(1, len(parts) + 1):
            for base in self.bases if step == len(parts) else [*self.bases, parent, os.path.dirname(parent)]:
                path = os.path.join(base, *parts[step:])
                if os.path.isdir(path):
                    yield _Place("moved folder", step, self._base(path, base), path)

    def _base(self, path: str, base: str) -> str:
        return self.folder if path == self.folder or path.startswith(self.folder + os.sep) else base


def _cleaned(name: str) -> tuple[str, str]:
    """A path as it would be written here, and how that differs from how it is written."""
    cleaned, kind = name, ""
    if name.strip().lower().startswith("file:"):
        cleaned, kind = unquote(urlsplit(name.strip()).path), "address of a file"
    visible = cleaned
    if not (cleaned.isascii() and cleaned.isprintable()):
        visible = "".join(char for char in cleaned if unicodedata.category(char) not in ("Cc", "Cf"))
    if (visible := visible.strip().strip("\"'").strip()) != cleaned:
        cleaned, kind = visible, kind or "spaces"
    if "\\" in cleaned:
        cleaned, kind = _DRIVE.sub("", cleaned).replace("\\", "/"), "backslashes"
    elif "%" in cleaned and unquote(cleaned) != cleaned:
        cleaned, kind = unquote(cleaned), kind or "percent signs"
    cleaned = os.path.expanduser(_VARIABLE.sub("", cleaned, count=1) if _VARIABLE.match(cleaned) else cleaned)
    return os.path.normpath(cleaned) if cleaned else cleaned, kind
