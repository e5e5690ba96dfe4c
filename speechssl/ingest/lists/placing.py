"""Which files the rows of a list mean, and the recordings that they become."""

# Strings and os.path throughout: a Path per file costs more time and memory than finding it.
# ruff: noqa: PTH118, PTH120, PTH122
import os
import stat
from collections import Counter
from collections.abc import Mapping

from speechssl.ingest.lists.paths import Near, Paths, why_elsewhere
from speechssl.ingest.lists.rows import Item
from speechssl.ingest.lists.times import segment_name
from speechssl.ingest.recordings import Findings, Recording, absolute, is_usable, key_of
from speechssl.shards.values import is_missing

_OFFERED = 1000
"""Missing files of a list for which the nearest name is sought, which takes longer than all else."""


class Placer:
    """Adds the recordings of one list, each with its file, and names the files that are not there."""

    def __init__(self, folder: str, found: Findings) -> None:
        self.named: list[Recording] = []
        """With a key of their own."""
        self.unnamed: list[Recording] = []
        self.shapes: Counter[tuple[int, tuple[str, ...]]] = Counter()
        """Recordings by the columns that had a value, and ``columns`` those that are known among them."""
        self.columns: dict[int, Mapping[str, str]] = {}
        self._folder = folder
        self._found = found
        self._paths = Paths(folder)
        self._missing: list[Item] = []
        self._num_offered = 0

    def place(self, item: Item) -> None:
        """Add the recording of a row, unless its file is not there: that may be seen from the other rows."""
        exact = self._paths.exact(item.name)
        if exact is None:
            self._missing.append(item)
            return
        inside = os.path.relpath(item.name, self._folder) if item.name.startswith(self._folder + os.sep) else item.name
        self._add(item, exact[0], os.path.normpath(inside), exact[1])

    def place_missing(self) -> None:
        """Add what is nearly called as a row has it, if one file alone is; reject the other rows without a file."""
        near: list[tuple[Item, Near]] = []
        for item in self._missing:
            if is_missing(item.name):
                self._found.reject(item.where, "wrong line", f"no path, but {item.name!r}")
            elif elsewhere := why_elsewhere(item.name):
                self._reject(item, *elsewhere)
            elif len(found := self._paths.near(item.name)) == 1:
                near.append((item, found[0]))
            else:
                self._reject_missing(item, found)
        # Where a folder was left out, files of one name in several folders would become one.
        left_out: dict[str, set[str]] = {}
        taken = {recording.path for recording in (*self.named, *self.unnamed)} if near else set()
        for item, file in near:
            if file.kind == "moved folder":
                left_out.setdefault(file.path, set()).add(os.path.dirname(item.name))
        for item, file in near:
            if file.kind == "moved folder" and (len(left_out[file.path]) > 1 or file.path in taken):
                self._reject(item, "no such file", f"nearest is {file.path}, which other rows would mean too")
                continue
            is_known_by_id = file.kind == "suffix" and item.columns.get("id") == item.columns["path"]
            if self._add(item, file.path, file.inside, None) and file.kind and not is_known_by_id:
                self._found.note(item.where, f"path mended: {file.kind}", f"{item.name!r} is taken as {file.path}")

    def _reject_missing(self, item: Item, near: list[Near]) -> None:
        if near:
            detail = f"it may be {' or '.join(file.path for file in near[:3])}"
        elif "shard_id" in item.present:
            detail = "it is a member of a tar, as in NeMo's tarred sets; unpack the tars beside the list"
        elif self._num_offered < _OFFERED:
            self._num_offered += 1
            detail = self._paths.nearest(item.name)
        else:
            detail = ""
        self._reject(item, "no such file", detail)

    def _reject(self, item: Item, reason: str, detail: str) -> None:
        is_path = "://" not in item.name and not item.name.endswith("|")
        path = absolute(os.path.join(self._folder, item.name)) if is_path else item.name
        origin = f"named in {item.where}"
        self._found.reject(path, reason, f"{origin}; {detail}" if detail else origin)

    def _add(self, item: Item, path: str, inside: str, status: os.stat_result | None) -> bool:
        """Add the recording of a row, unless its file cannot be used."""
        known = item.known
        is_plain = status is not None and stat.S_ISREG(status.st_mode) and status.st_size > 0 and path.isascii()
        if not is_plain and not is_usable(path, f"named in {item.where}", self._found, status):
            return False
        identity = os.path.splitext(inside)[0]
        key = item.own_key or key_of(identity + segment_name(known))
        recording = Recording._make((key, path, *known[2:6], known.recording or identity, *known[7:]))
        (self.named if item.own_key else self.unnamed).append(recording)
        self.columns[id(item.columns)] = item.columns
        self.shapes[id(item.columns), item.present] += 1
        return True
