"""The names in a folder, by what other spellings of them have in common; what is offered for what is not there."""

import difflib
import os
from bisect import bisect
from collections import Counter

from speechssl.audio.formats import AUDIO_SUFFIXES
from speechssl.ingest.recordings import composed_form

KINDS = (
    *("spaces", "address of a file", "percent signs", "backslashes", "Unicode form", "case", "suffix"),
    *("folder above", "moved folder"),
)
"""How a path may differ from that of the file which it means, the least doubtful way first."""


def rank_of(kind: str) -> int:
    """Place of a difference among the kinds; no difference comes before all of them."""
    return KINDS.index(kind) if kind else -1


class FolderNames:
    """Names in a folder; none if it cannot be listed."""

    def __init__(self, folder: str) -> None:
        try:
            with os.scandir(folder) as entries:
                self.names = [entry.name for entry in entries]
        except (OSError, ValueError):
            self.names = []
        self._by_stem: dict[str, list[str]] = {}
        self._sorted: list[str] = []
        self._backwards: list[str] = []

    def like(self, name: str) -> list[tuple[str, str]]:
        """Names that differ from one in Unicode form, case or suffix only, each with how; the most similar alone."""
        if not self._by_stem:
            for other in self.names:
                self._by_stem.setdefault(_stem(other), []).append(other)
        alike = [(_difference(name, other), other) for other in self._by_stem.get(_stem(name), ())]
        least = min((rank_of(kind) for kind, _ in alike), default=0)
        return sorted((kind, other) for kind, other in alike if rank_of(kind) == least)

    def nearest(self, name: str) -> str:
        """The name that is most like one, among those that begin or end like it; empty if none is."""
        if not self._sorted:
            self._sorted = sorted(self.names)
            self._backwards = sorted(other[::-1] for other in self.names)
        before, behind = bisect(self._sorted, name), bisect(self._backwards, name[::-1])
        around = self._sorted[max(before - 3, 0) : before + 3]
        around += [other[::-1] for other in self._backwards[max(behind - 3, 0) : behind + 3]]
        return next(iter(difflib.get_close_matches(name, around, n=1)), "")


def _stem(name: str) -> str:
    """What spellings of a name have in common: no case, one Unicode form, no suffix of audio."""
    stem, suffix = os.path.splitext(name)
    stem = stem if suffix.lower() in AUDIO_SUFFIXES else name
    return stem.lower() if stem.isascii() else composed_form(composed_form(stem).casefold())


def _difference(name: str, other: str) -> str:
    """How two names of one stem differ."""
    if name == other:
        return ""
    one, two = composed_form(name), composed_form(other)
    return "Unicode form" if one == two else "case" if one.casefold() == two.casefold() else "suffix"


def nearest_path(path: str) -> str:
    """Path of what is there and is called almost the same; empty if there is none.

    Of a path whose folders are misspelt too, the first part that is not there decides.
    """
    above, name = os.path.split(path.rstrip(os.sep))
    missing = ""
    while above and name and not os.path.isdir(above):
        missing = os.path.join(name, missing) if missing else name
        above, name = os.path.split(above)
    found = _nearest_name(above or os.curdir, name)
    if not found:
        return ""
    whole = os.path.join(above, found, missing) if missing else os.path.join(above, found)
    return whole if os.path.lexists(whole) else os.path.join(above, found)


def _nearest_name(folder: str, name: str) -> str:
    """Name in a folder, the same but for case, Unicode form and suffix sooner than one with a wrong letter."""
    listing = FolderNames(folder)
    return next((other for _, other in listing.like(name)), "") or listing.nearest(name)


def holds(folder: str) -> str:
    """What lies directly in a folder, by suffix, most often first; empty if it is not there or empty."""
    counts: Counter[str] = Counter()
    for name in FolderNames(folder).names:
        if not name.startswith("."):
            is_folder = os.path.isdir(os.path.join(folder, name))
            counts["folders" if is_folder else os.path.splitext(name)[1] or "without suffix"] += 1
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    return ", ".join(f"{count} {suffix}" for suffix, count in most)
