"""What only all rows of a list together tell: what "null" and channel 1 mean, and which of its columns are not used."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from speechssl.ingest.describing import count_columns, uncount_texts
from speechssl.ingest.lists.placing import Placer
from speechssl.ingest.lists.rows import Item
from speechssl.ingest.recordings import Findings, Recording

_SENTENCE = re.compile(r"[^\W\d_]+\W+[^\W\d_]+")


def settle_channels(items: Sequence[Item], channels: set[int], placer: Placer, source: str, found: Findings) -> bool:
    """Decide on rows with a channel that is none, and on where channels begin.

    Returns:
        Whether the column holds channels at all. If no row has one, it is about something else, such as a broadcaster.
    """
    for item in items:
        if channels:
            found.reject(item.where, "wrong line", item.odd_channel)
        else:
            placer.place(item)
    if items and not channels:
        found.note(source, "column of another meaning", f"{len(items)} rows, for one: {items[0].odd_channel}")
    return bool(channels) or not items


def count_channels_from_0(channels: set[int], placer: Placer, source: str, found: Findings) -> None:
    """Take channels 1 and 2 for 0 and 1 where no row has a channel 0; channel 1 alone stays the second one."""
    if len(channels) < 2 or min(channels) != 1:
        return

    def shifted(recording: Recording) -> Recording:
        if recording.channel is None:
            return recording
        end, channel = f"-ch{recording.channel}", recording.channel - 1
        key = f"{recording.key.removesuffix(end)}-ch{channel}" if recording.key.endswith(end) else recording.key
        return recording._replace(key=key, channel=channel)

    placer.named[:] = map(shifted, placer.named)
    placer.unnamed[:] = map(shifted, placer.unnamed)
    shown = ", ".join(map(str, sorted(channels)))
    found.note(source, "channels counted from 1", f"its channels are {shown}: 1 is taken as the first of a file")


def count_fields(placer: Placer, num_wordless: int, place: str, *, has_channels: bool, found: Findings) -> bool:
    """Count where the fields of all recordings were found, and what was ignored; returns whether any has a text."""
    before = dict(found.fields)
    for (known_as, present), num_rows in placer.shapes.items():
        columns = _used(placer.columns[known_as])
        if not has_channels:
            columns.pop("channel", None)
        count_columns(present, num_rows, columns, found, place)
    return uncount_texts(before, num_wordless, found)


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


def note_wordless(samples: Sequence[Mapping[str, Any]], source: str, found: Findings) -> None:
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
