"""The recordings of one list: the file that each row means, and what only all rows together tell."""

import os
import re
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from speechssl.ingest.describing import count_columns, note_values, settle_texts, uncount_texts
from speechssl.ingest.lists.paths import Near, Paths, why_elsewhere
from speechssl.ingest.lists.rows import Item, Listed, RowReader, segment_name
from speechssl.ingest.recordings import Findings, Recording, absolute, is_usable, key_of
from speechssl.shards.values import is_missing

_OFFERED = 1000
"""Missing files of a list for which the nearest name is sought, which takes longer than all else."""
_SAMPLES = 50
_SENTENCE = re.compile(r"[^\W\d_]+\W+[^\W\d_]+")


def read_listed(listed: Listed, source: str, folder: str, split: str, found: Findings) -> int:
    """Add the recordings of a list; rows that cannot be used are rejected one by one.

    Returns:
        The number of rows, of either kind.
    """
    folder = listed.root or folder
    reader, placer = RowReader(source, folder, split, listed, found), Placer(source, folder, found)
    samples: list[Mapping[str, Any]] = []
    odd_channels: list[Item] = []
    num_rows = num_padded = 0
    for row in listed.rows:
        num_rows += 1
        num_missing = len(found.missing)
        try:
            item = reader.understand(row)
        except ValueError as error:
            del found.missing[num_missing:]
            found.reject(reader.where(row), row.reason, str(error))
            continue
        num_padded += row.is_padded
        if len(samples) < _SAMPLES:
            samples.append(row.values)
        if item.odd_channel:
            odd_channels.append(item)
        else:
            placer.place(item)
    placer.settle_channels(odd_channels, counts_from_0=listed.counts_from_0)
    if not placer.count_fields(listed.place):
        _note_wordless(samples, source, found)
    of_segments = "have the id of another segment; their times are added to their keys"
    of_others = "have ids of another list; their keys are made of their paths"
    notes = (
        (num_padded, "short rows", "lack columns at their end, which are taken as empty"),
        (reader.num_repeated_ids, "ids that are not unique", of_segments),
        (reader.num_ids_of_others, "ids that are not unique", of_others),
    )
    for count, kind, detail in notes:
        if count:
            found.note(source, kind, f"{count} rows {detail}")
    note_values(source, found)
    found.named += placer.named
    found.unnamed += placer.unnamed
    return num_rows


class Placer:
    """Adds the recordings of one list, each with its file, and names the files that are not there."""

    def __init__(self, source: str, folder: str, found: Findings) -> None:
        self.named: list[Recording] = []
        """With a key of their own."""
        self.unnamed: list[Recording] = []
        self._shapes: Counter[tuple[int, tuple[str, ...]]] = Counter()
        """Recordings by the columns that had a value, and ``_columns`` those that are known among them."""
        self._columns: dict[int, Mapping[str, str]] = {}
        self._channels: set[int] = set()
        self._has_channels = True
        self._source = source
        self._folder = folder
        self._found = found
        self._paths = Paths(folder)
        self._missing: list[Item] = []
        self._num_offered = 0

    def place(self, item: Item) -> None:
        """Add the recording of a row, unless its file is not there: that may be seen from the other rows."""
        if item.known.channel is not None:
            self._channels.add(item.known.channel)
        exact = self._paths.exact(item.name)
        if exact is None:
            self._missing.append(item)
            return
        inside = os.path.relpath(item.name, self._folder) if item.name.startswith(self._folder + os.sep) else item.name
        self._add(item, exact[0], os.path.normpath(inside), exact[1])

    def settle_channels(self, odd: Sequence[Item], *, counts_from_0: bool) -> None:
        """Decide on rows with a channel that is none, then on rows whose files are missing, and where channels begin.

        If no row has a channel, the column is about something else, such as a broadcaster.
        """
        channels = self._channels
        self._has_channels = bool(channels) or not odd
        for item in odd:
            if self._has_channels:
                self._found.reject(item.where, "wrong line", item.odd_channel)
            else:
                self.place(item)
        if not self._has_channels:
            detail = f"{len(odd)} rows, for one: {odd[0].odd_channel}"
            self._found.note(self._source, "column of another meaning", detail)
        self._place_missing()
        # Channels 1 and 2 are 0 and 1 where no row has a channel 0; channel 1 alone stays the second one.
        if not counts_from_0 and len(channels) > 1 and min(channels) == 1:
            self.named, self.unnamed = list(map(_shifted, self.named)), list(map(_shifted, self.unnamed))
            detail = f"its channels are {', '.join(map(str, sorted(channels)))}: 1 is taken as the first of a file"
            self._found.note(self._source, "channels counted from 1", detail)

    def count_fields(self, place: str) -> bool:
        """Count where the fields of all recordings were found, and what was ignored; returns whether any has a text."""
        num_wordless = settle_texts((self.named, self.unnamed), self._source, self._found)
        before = dict(self._found.fields)
        for (known_as, present), num_rows in self._shapes.items():
            columns = _used(self._columns[known_as])
            if not self._has_channels:
                columns.pop("channel", None)
            count_columns(present, num_rows, columns, self._found, place)
        return uncount_texts(before, num_wordless, self._found)

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
        self._columns[id(item.columns)] = item.columns
        self._shapes[id(item.columns), item.present] += 1
        return True


def _shifted(recording: Recording) -> Recording:
    """The same with its channel counted from 0 instead of 1."""
    if recording.channel is None:
        return recording
    end, channel = f"-ch{recording.channel}", recording.channel - 1
    key = f"{recording.key.removesuffix(end)}-ch{channel}" if recording.key.endswith(end) else recording.key
    return recording._replace(key=key, channel=channel)


def _used(columns: Mapping[str, str]) -> dict[str, str]:
    """Columns of which something is taken: not those with a time that another one gives too."""
    used = dict(columns)
    for field in ("start", "end", "duration"):
        if field in used or f"{field}_ms" in used:
            used.pop(f"{field}_samples", None)
            used.pop(f"{field}_frames", None)
        if field in used:
            used.pop(f"{field}_ms", None)
    if not {"start_samples", "end_samples"} & used.keys():
        used.pop("sample_rate", None)
    used.pop("duration_samples", None)
    used.pop("duration_frames", None)
    return used


def _note_wordless(samples: Sequence[Mapping[str, Any]], source: str, found: Findings) -> None:
    """Name columns that look like transcripts in a list of which none is known as one."""
    counts = Counter(
        name
        for values in samples
        for name, value in values.items()
        if isinstance(value, str) and _SENTENCE.search(value) and found.ignored_columns[name]
    )
    likely = [name for name, count in counts.most_common() if 2 * count >= len(samples)]
    if likely:
        detail = f"no column is known as the transcript, but {' and '.join(likely)} has words; if so, name it text"
        found.note(source, "no transcript column", detail)
