"""lhotse's manifests: cuts, and recordings with supervisions, as lines of JSON."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from speechssl.ingest.lists.json_lists import line_rows
from speechssl.ingest.lists.opening import open_list
from speechssl.ingest.lists.rows import Listed, Row
from speechssl.ingest.recordings import Findings

_FIELDS = ("path", "id", "text", "speaker", "language", "recording", "channel", "frames", "start", "end", "duration")
_COLUMNS = dict(zip(_FIELDS, _FIELDS, strict=True))
_SAME = 0.001
"""Seconds by which the end of a cut may differ from that of its recording."""


def lhotse_kind(records: list[Mapping[str, Any]]) -> str:
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


def cuts_list(path: str) -> Listed:
    """Rows of a manifest of cuts, one for each of their supervisions."""

    def rows() -> Iterator[Row]:
        with open_list(path) as file:
            for row in line_rows(file):
                yield from [row] if row.problem else _rows_of_cut(row.line, row.values, path)

    return Listed(rows(), _COLUMNS, "lhotse's", counts_from_0=True)


def partner_of(path: str) -> str:
    """Manifest of the supervisions to one of recordings, or the reverse; empty if it is not there."""
    folder, name = os.path.split(path)
    for one, other in (("recordings", "supervisions"), ("supervisions", "recordings")):
        partner = os.path.join(folder, name.replace(one, other))
        if one in name and os.path.isfile(partner):
            return partner
    return ""


def recordings_list(recordings: str, supervisions: str, found: Findings) -> Listed:
    """Rows of a manifest of recordings, one for each of the supervisions in another if there is one."""
    for path in filter(None, (recordings, supervisions)):
        found.read.add(path)
        found.used.add(path)
    return Listed(_joined_rows(recordings, supervisions), _COLUMNS, "lhotse's", counts_from_0=True)


def _joined_rows(recordings: str, supervisions: str) -> Iterator[Row]:
    by_id: dict[str, tuple[int, Mapping[str, Any]]] = {}
    with open_list(recordings) as file:
        for row in line_rows(file):
            if row.problem or not _is_recording(row.values):
                yield row if row.problem else Row(row.line, problem="is no recording: it has no sources")
            else:
                by_id[str(row.values.get("id"))] = row.line, row.values
    supervised = set()
    if supervisions:
        name = os.path.basename(supervisions)
        with open_list(supervisions) as file:
            for row in line_rows(file):
                recording = str(row.values.get("recording_id"))
                if row.problem or recording not in by_id:
                    problem = row.problem or f"the recording {recording!r} is not in {os.path.basename(recordings)}"
                    yield Row(row.line, problem=problem, file=name)
                    continue
                supervised.add(recording)
                yield _row(row.line, {}, row.values, by_id[recording][1])._replace(file=name)
    for recording, (line, values) in by_id.items():
        if recording not in supervised:
            yield _row(line, {}, {}, values)


def _rows_of_cut(line: int, cut: Mapping[str, Any], path: str) -> Iterator[Row]:
    recording = cut.get("recording")
    if "tracks" in cut or not _is_recording(recording):
        what = f"a {cut.get('type') or 'cut'} without one recording of its own"
        command = (
            f"python -c \"from lhotse import CutSet; CutSet.from_file('{os.path.basename(path)}')"
            ".save_audios('audio').to_file('cuts_of_files.jsonl')\""
        )
        yield Row(line, problem=f"is {what}; write its audio with {command}")
        return
    supervisions = cut.get("supervisions") or [{}]
    for supervision in supervisions:
        row = _row(line, cut, supervision, recording or {})
        if len(supervisions) == 1 and "id" in cut:
            row = row._replace(values={**row.values, "id": cut["id"]})
        yield row


def _row(line: int, cut: Mapping[str, Any], supervision: Mapping[str, Any], recording: Mapping[str, Any]) -> Row:
    """Row of what was said, in a part of a recording; a supervision's time begins with its cut, if it is in one."""
    try:
        start = float(cut.get("start") or 0) + float(supervision.get("start") or 0)
        length = supervision.get("duration", cut.get("duration"))
        end = None if length is None else start + float(length)
        whole = float(recording["duration"]) if "duration" in recording else None
    except (TypeError, ValueError) as error:
        return Row(line, problem=f"a time that is no number ({error})")
    source, channel, problem = _source_of(recording, supervision.get("channel", cut.get("channel")))
    is_whole = start == 0 and (end is None or whole is None or abs(end - whole) < _SAME)
    values = {
        "path": source,
        "id": supervision.get("id") or cut.get("id") or recording.get("id"),
        "recording": recording.get("id"),
        "channel": channel,
        "start": None if is_whole else start,
        "end": None if is_whole else end,
        "duration": whole if is_whole else length,
        "frames": recording.get("num_samples") if is_whole else None,
    }
    taken = ("id", "recording_id", "start", "duration", "channel")
    return Row(line, values | {name: value for name, value in supervision.items() if name not in taken}, problem)


def _source_of(recording: Mapping[str, Any], wanted: Any) -> tuple[str, int | None, str]:
    """File of a channel, which of its channels that is (None: all, or its only one), and what is wrong with it."""
    sources = recording["sources"]
    all_channels = [channel for source in sources for channel in source.get("channels", [0])]
    channels = wanted if isinstance(wanted, list) else [wanted]
    channel = channels[0] if len(channels) == 1 else None
    is_mix = channel is None and (wanted is None or set(channels) == set(all_channels))
    if channel is None and (len(sources) > 1 or not is_mix):
        return "", None, f"channels {wanted} of {all_channels} are meant; give each a line of its own"
    source = next((source for source in sources if channel in source.get("channels", [channel])), sources[0])
    if source.get("type", "file") not in ("file", "url", "command"):
        return "", None, f"its audio is of the kind {source.get('type')!r}; write it to files with CutSet.save_audios"
    own = source.get("channels", [0])
    place = own.index(channel) if len(own) > 1 and channel in own else None
    return source["source"] + (" |" if source.get("type") == "command" else ""), place, ""
