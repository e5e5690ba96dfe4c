"""lhotse's manifests of cuts, as lines of JSON."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from speechssl.ingest.lists.json_lists import line_rows
from speechssl.ingest.lists.rows import Listed, Row

_FIELDS = ("path", "id", "text", "speaker", "language", "recording", "channel", "frames", "start", "end", "duration")
_COLUMNS = dict(zip(_FIELDS, _FIELDS, strict=True))
_SAME = 0.001
"""Seconds by which the end of a cut may differ from that of its recording."""


def lhotse_kind(records: Sequence[Mapping[str, Any]]) -> str:
    """Which of lhotse's manifests the first records are of: "cuts", "recordings" or "supervisions"; else empty."""
    record = records[0] if records else {}
    if str(record.get("type", "")).endswith("Cut") or _is_recording(record.get("recording")) or "tracks" in record:
        return "cuts"
    if _is_recording(record):
        return "recordings"
    return (
        "supervisions" if {"id", "recording_id", "start", "duration"} <= record.keys() and "path" not in record else ""
    )


def _is_recording(record: Any) -> bool:
    sources = record.get("sources") if isinstance(record, dict) else None
    return isinstance(sources, list) and all(isinstance(source, dict) and "source" in source for source in sources)


def _wrong_type(cut: Mapping[str, Any], source: Mapping[str, Any]) -> str:
    """What of a cut of one file has another type than lhotse gives it; empty if nothing has."""
    supervisions, channels = cut.get("supervisions") or [], source.get("channels", [0])
    if not isinstance(supervisions, list) or not all(isinstance(item, dict) for item in supervisions):
        return "has supervisions that are no list of objects"
    if not isinstance(source["source"], str):
        return f"has the source {source['source']!a}, expected the path of a file"
    if not channels or not isinstance(channels, list) or not all(isinstance(channel, int) for channel in channels):
        return f"has a source with the channels {channels!a}, expected a list of numbers"
    for item in (cut, *supervisions):
        wanted = item.get("channel")
        if any(isinstance(channel, dict | list) for channel in (wanted if isinstance(wanted, list) else [wanted])):
            return f"has the channel {wanted!a}, expected a number or a list of them"
    return ""


def cuts_list(path: str) -> Listed:
    """Rows of a manifest of cuts, one for each of their supervisions."""
    rows = (one for row in line_rows(path) for one in ([row] if row.problem else _rows_of_cut(row, path)))
    return Listed(rows, _COLUMNS, "lhotse's")


def _rows_of_cut(row: Row, path: str) -> Iterator[Row]:
    cut, recording = row.values, row.values.get("recording")
    sources = recording["sources"] if isinstance(recording, dict) and _is_recording(recording) else []
    if len(sources) != 1 or "tracks" in cut or sources[0].get("type", "file") not in ("file", "url", "command"):
        what = f"a {cut.get('type') or 'cut'} that is no part of one file"
        command = (
            f"python -c \"from lhotse import CutSet; CutSet.from_file('{os.path.basename(path)}')"
            ".save_audios('audio').to_file('cuts_of_files.jsonl')\""
        )
        yield Row(row.line, problem=f"is {what}; write its audio with {command}")
        return
    if problem := _wrong_type(cut, sources[0]):
        yield Row(row.line, problem=problem)
        return
    supervisions = cut.get("supervisions") or [{}]
    for supervision in supervisions:
        one = _row(row.line, cut, supervision, recording or {})
        if len(supervisions) == 1 and "id" in cut:
            one = one._replace(values={**one.values, "id": cut["id"]})
        yield one


def _row(line: int | str, cut: Mapping[str, Any], supervision: Mapping[str, Any], recording: Mapping[str, Any]) -> Row:
    """Row of what was said; a supervision's time begins with its cut."""
    try:
        start = float(cut.get("start") or 0) + float(supervision.get("start") or 0)
        length = supervision.get("duration", cut.get("duration"))
        end = None if length is None else start + float(length)
        whole = float(recording["duration"]) if "duration" in recording else None
    except (TypeError, ValueError, OverflowError) as error:
        return Row(line, problem=f"a time that is no number ({error})")
    source = recording["sources"][0]
    channel, problem = _channel_of(source.get("channels", [0]), supervision.get("channel", cut.get("channel")))
    is_whole = start == 0 and (end is None or whole is None or abs(end - whole) < _SAME)
    values = {
        "path": source["source"] + (" |" if source.get("type") == "command" else ""),
        "id": supervision.get("id") or cut.get("id"),
        "recording": recording.get("id"),
        "channel": channel,
        "start": None if is_whole else start,
        "end": None if is_whole else end,
        "duration": whole if is_whole else length,
        "frames": recording.get("num_samples") if is_whole else None,
    }
    taken = ("id", "recording_id", "start", "duration", "channel")
    return Row(line, values | {name: value for name, value in supervision.items() if name not in taken}, problem)


def _channel_of(there: Sequence[int], wanted: Any) -> tuple[int | None, str]:
    """Place of a channel in its file (None: all, or its only one), and what is wrong with it."""
    channels = wanted if isinstance(wanted, list) else [wanted]
    if wanted is None or len(there) == 1 or set(channels) == set(there):
        return None, ""
    if len(channels) > 1:
        return None, f"channels {wanted} of {there} are meant; give each a line of its own"
    return (there.index(channels[0]) if channels[0] in there else channels[0]), ""
