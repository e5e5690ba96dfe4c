"""The recordings of one list: the file that each row means, and what only all rows together tell."""

import os
import re
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from speechssl.ingest.describing import count_columns, note_values
from speechssl.ingest.lists.paths import Near, Paths, why_elsewhere
from speechssl.ingest.lists.rows import Item, Listed, Row, segment_name, understand
from speechssl.ingest.recordings import Findings, Recording, absolute, is_usable, key_of
from speechssl.shards.values import is_missing

_OFFERED = 3
"""Missing files of a list for which the nearest name is sought, which takes longer than all else."""
_SAMPLES = 50
_SENTENCE = re.compile(r"[^\W\d_]+\W+[^\W\d_]+")
_TIMES_NOT_USED = ("sample_rate", "start_samples", "end_samples", "start_frames", "end_frames")


def read_listed(listed: Listed, source: str, folder: str, split: str, found: Findings) -> str:
    """Add the recordings of a list; rows that cannot be used are rejected one by one.

    Returns:
        Why none of it can be used; empty if it can.
    """
    placer = Placer(source, listed.root or folder, split, listed, found)
    for row in listed.rows:
        placer.add(row)
    return placer.finish()


class Placer:
    """Adds the recordings of one list, each with its file, and names the files that are not there."""

    def __init__(self, source: str, folder: str, split: str, listed: Listed, found: Findings) -> None:
        self._source, self._folder, self._split = source, folder, split
        self._listed = listed
        self._found = found
        self._paths = Paths(folder)
        self._named: list[Recording] = []
        """With a key of their own."""
        self._unnamed: list[Recording] = []
        self._shapes: Counter[tuple[tuple[tuple[str, str], ...], tuple[str, ...]]] = Counter()
        """Recordings by the columns that are known, and those that had a value."""
        self._samples: list[Mapping[str, Any]] = []
        self._channels: set[int] = set()
        self._ids: set[tuple[str, str]] = set()
        """Of rows, with their segments."""
        self._missing: list[Item] = []
        self._num_rows = self._num_offered = self._num_repeated_ids = 0

    def add(self, row: Row) -> None:
        """Add the recording of a row, unless its file is not there: that may be seen from the other rows."""
        self._num_rows += 1
        file = os.path.join(os.path.dirname(self._source), row.file) if row.file else self._source
        where = f"{file}:{row.line}"
        num_missing = len(self._found.missing)
        try:
            item = understand(row, where, self._listed, self._folder, self._found)
        except ValueError as error:
            del self._found.missing[num_missing:]
            self._found.reject(where, row.reason, str(error))
            return
        if len(self._samples) < _SAMPLES:
            self._samples.append(row.values)
        if item.known.channel is not None:
            self._channels.add(item.known.channel)
        exact = self._paths.exact(item.name)
        if exact is None:
            self._missing.append(item)
            return
        name = item.name
        inside = os.path.relpath(name, self._folder) if name.startswith(self._folder + os.sep) else name
        self._place(item, exact[0], os.path.normpath(inside), exact[1])

    def finish(self) -> str:
        """Settle what only all rows tell, and hand the recordings on; returns why none can be used, if so."""
        note_values(self._source, self._found)
        if not self._num_rows:
            return "lists no recordings"
        if len(self._channels) > 1 and min(self._channels) == 1:  # 1 would be taken as the second one
            return f"its channels are {', '.join(map(str, sorted(self._channels)))}; count them from 0"
        self._place_missing()
        for (columns, present), num_rows in self._shapes.items():
            used = {field: name for field, name in columns if field not in _TIMES_NOT_USED}
            count_columns(present, num_rows, used, self._found, self._listed.place)
        if not any(recording.text for recording in (*self._named, *self._unnamed)):
            self._note_wordless()
        if self._num_repeated_ids:
            detail = f"{self._num_repeated_ids} rows have ids of others; their keys are made of their paths"
            self._found.note(self._source, "ids that are not unique", detail)
        self._found.named += self._named
        self._found.unnamed += self._unnamed
        return ""

    def _place_missing(self) -> None:
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
        taken = {recording.path for recording in (*self._named, *self._unnamed)} if near else set()
        for item, file in near:
            if file.kind == "moved folder":
                left_out.setdefault(file.path, set()).add(os.path.dirname(item.name))
        for item, file in near:
            if file.kind == "moved folder" and (len(left_out[file.path]) > 1 or file.path in taken):
                self._reject(item, "no such file", f"nearest is {file.path}, which other rows would mean too")
                continue
            is_known_by_id = file.kind == "suffix" and item.columns.get("id") == item.columns["path"]
            if self._place(item, file.path, file.inside, None) and file.kind and not is_known_by_id:
                self._found.note(item.where, f"path mended: {file.kind}", f"{item.name!r} is taken as {file.path}")

    def _reject_missing(self, item: Item, near: Sequence[Near]) -> None:
        detail = ""
        if near:
            detail = f"it may be {' or '.join(file.path for file in near[:3])}"
        elif "shard_id" in item.present:
            detail = "it is a member of a tar, as in NeMo's tarred sets; unpack the tars beside the list"
        elif self._num_offered < _OFFERED:
            self._num_offered += 1
            detail = self._paths.nearest(item.name)
        self._reject(item, "no such file", detail)

    def _reject(self, item: Item, reason: str, detail: str) -> None:
        is_path = "://" not in item.name and not item.name.endswith("|")
        path = absolute(os.path.join(self._folder, item.name)) if is_path else item.name
        origin = f"named in {item.where}"
        self._found.reject(path, reason, f"{origin}; {detail}" if detail else origin)

    def _place(self, item: Item, path: str, inside: str, status: os.stat_result | None) -> bool:
        """Add the recording of a row, unless its file cannot be used."""
        known = item.known
        is_plain = status is not None and stat.S_ISREG(status.st_mode) and status.st_size > 0 and path.isascii()
        if not is_plain and not is_usable(path, f"named in {item.where}", self._found, status):
            return False
        identity, segment = os.path.splitext(inside)[0], segment_name(known)
        if item.own_id and (item.own_id, segment) in self._ids:
            self._found.reject(item.where, "wrong line", f"the id {item.own_id!r} is that of another row")
            return False
        self._ids.add((item.own_id, segment))
        own_key = self._own_key(item) if item.own_id else ""
        recording = known._replace(
            key=own_key or key_of(identity + segment),
            path=path,
            split=known.split or self._split,
            recording=known.recording or identity,
        )
        (self._named if own_key else self._unnamed).append(recording)
        self._shapes[tuple(item.columns.items()), item.present] += 1
        return True

    def _own_key(self, item: Item) -> str:
        """Key of a row's id, which may be that of a whole recording for its segments; empty if others have it."""
        key = key_of(item.own_id)
        if key in self._found.keys:
            self._num_repeated_ids += 1
            key += segment_name(item.known)
        if key in self._found.keys:
            return ""
        self._found.keys.add(key)
        return key

    def _note_wordless(self) -> None:
        """Name columns that look like transcripts in a list of which none is known as one."""
        counts = Counter(
            name
            for values in self._samples
            for name, value in values.items()
            if isinstance(value, str) and _SENTENCE.search(value) and self._found.ignored_columns[name]
        )
        likely = [name for name, count in counts.most_common() if 2 * count >= len(self._samples)]
        if likely:
            detail = f"no column is known as the transcript, but {' and '.join(likely)} has words; if so, name it text"
            self._found.note(self._source, "no transcript column", detail)
