"""What files, lists and tars say of the same recordings, put together; keys that are unique."""

import hashlib
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from speechssl.ingest.recordings import Findings, Origins, Recording, is_usable, printable

_WORDS = ("text", "speaker", "language", "split")
"""Fields in which two rows of one recording may contradict each other."""


def join(found: Findings) -> list[Recording]:
    """All recordings, each once, in order of path, begin and offset, with unique keys.

    A file that was met and that a list describes is one recording, with what lies beside it where the list is silent.
    """
    rows = {row.path for group in (found.named, found.unnamed) for row in group if row.member is None}
    refused = {item.path for item in found.rejected}  # such as a row's file that cannot be used
    described: dict[str, tuple[Recording, Origins]] = {}
    alone = []
    for recording, origins in _files_once(found):
        if recording.path in rows:
            described[recording.path] = (recording, origins)
        elif printable(recording.path) not in refused and is_usable(recording.path, "", found):
            if origins:
                found.fields.update(origins)
            alone.append(recording)
    if found.unread or found.only_listed:
        taken = refused.union(map(printable, rows), (printable(recording.path) for recording in alone))
        _reject_the_rest(taken, found)
    # Before what lies beside files is looked at, which counts only where all lists are silent.
    recordings = _without_repeats(found)
    for group in (found.named, recordings):
        group[:] = _described(group, described, found)
    recordings = sorted(recordings + alone, key=_place) if recordings else alone  # which are in order
    _make_keys_unique(recordings, {recording.key for recording in found.named})
    if found.named:
        recordings += found.named
        recordings.sort(key=lambda recording: (*_place(recording), recording.key))
    return recordings


def _reject_the_rest(taken: Collection[str], found: Findings) -> None:
    """Leave out the files that lost their transcript, and those that are in none of a corpus's lists."""
    for path, detail in found.unread.items():
        if printable(path) not in taken:
            found.reject(path, "unreadable transcript", detail)
    for path in found.only_listed:
        if printable(path) not in taken:
            found.reject(path, "not listed", "none of Common Voice's tables that are read names it")


def _files_once(found: Findings) -> Iterator[tuple[Recording, Origins]]:
    """Files that were met, each once, however many sources met them."""
    met = [(recording, origins) for origins, group in found.walked.items() for recording in group]
    found.walked.clear()
    met.sort(key=lambda item: item[0].path)
    best = None
    for item in met:
        if best is not None and item[0].path == best[0].path:
            # What is known decides, not the order of the sources.
            best = min(best, item, key=lambda item: (not item[0].text, not item[0].speaker, item[0][:7], item[1]))
            continue
        if best is not None:
            yield best
        best = item
    if best is not None:
        yield best


def _described(
    rows: Sequence[Recording], files: Mapping[str, tuple[Recording, Origins]], found: Findings
) -> Iterator[Recording]:
    """Rows of lists, with what lies beside their files where they are silent, but for those that lose a transcript."""
    for row in rows:
        unread = found.unread.get(row.path) if row.member is None else None
        if unread is not None and not row.text and _is_whole(row):
            found.reject(row.path, "unreadable transcript", unread)
            continue
        if unread is not None:
            found.note(row.path, "transcript beside it not used", f"{unread}; the list's is used")
        yield _filled(row, *files[row.path], found) if row.member is None and row.path in files else row


def _is_whole(row: Recording) -> bool:
    """Whether a row is about all of its file."""
    return row.start_seconds is None and row.stop_seconds is None and row.channel is None


def _filled(row: Recording, file: Recording, origins: Origins, found: Findings) -> Recording:
    fields: dict[str, Any] = {"speaker": file.speaker, "language": file.language, "split": file.split}
    if _is_whole(row):
        fields["text"] = file.text
    if file.text and not _is_whole(row):
        found.note(file.path, "transcript beside it not used", "a list names parts of it")
    elif file.text and row.text and row.text.split() != file.text.split():
        detail = f"the list has {row.text!r}, which is used; beside it lies {file.text!r}"
        found.note(file.path, "two transcripts", detail)
    fields = {field: value for field, value in fields.items() if value and not getattr(row, field)}
    found.fields.update(origin for origin in origins if origin[0] in fields)
    return row._replace(**fields)


def _place(recording: Recording) -> tuple[str, float, float, int, int, str]:
    """Where the audio is, as an order of all recordings."""
    stop = math.inf if recording.stop_seconds is None else recording.stop_seconds
    channel = -1 if recording.channel is None else recording.channel
    # By a link, two members of a tar are in one place.
    offset, name = (recording.member.offset, recording.member.name) if recording.member else (-1, "")
    return recording.path, recording.start_seconds or 0.0, stop, channel, offset, name


def _without_repeats(found: Findings) -> list[Recording]:
    """Rows and members without an id, each place once and in order; those with one, in ``found``, are all kept.

    What is kept takes from the others of its place what it does not say itself.
    """
    named: dict[Any, list[Recording]] = {}
    for recording in found.named:
        named.setdefault(_place(recording), []).append(recording)
    kept = []
    found.unnamed.sort(key=_place)
    for place, repeats in groupby(found.unnamed, key=_place):
        # What is known decides, not the order of the sources.
        others = sorted(repeats, key=lambda recording: (not recording.text, not recording.speaker, recording[:7]))
        rows = named.get(place) or [others.pop(0)]
        for other in others:
            _reject_repeat(other, rows[0], found)
            rows = [row._replace(**_news(row, other)) for row in rows]
        if place in named:
            named[place] = rows
        else:
            kept += rows
    for rows in named.values():
        if len({row.text for row in rows if row.text}) > 1:
            listed = " and ".join(f"{row.text!r} as {row.key!r}" for row in rows)
            found.note(rows[0].path, "two transcripts", f"lists have {listed}; all are used")
    found.named[:] = [row for rows in named.values() for row in rows]
    return kept


def _news(row: Recording, other: Recording) -> dict[str, Any]:
    """What another row of the same place says and this one does not."""
    fields = (*_WORDS, "stated_seconds", "stated_frames")
    return {field: value for field in fields if (value := getattr(other, field)) and not getattr(row, field)}


def _reject_repeat(other: Recording, first: Recording, found: Findings) -> None:
    """Leave a row out that contradicts the one of its place that is kept, or says nothing that this does not."""
    said = {field: value for field in _WORDS if (value := getattr(other, field))}
    lost = {field: value for field, value in said.items() if getattr(first, field) not in ("", value)}
    if lost or not _news(first, other):
        reason = "listed twice, with another transcript" if "text" in lost else "listed twice"
        detail = [f"kept as {first.key!r}, {first.text!r}", *(f"not its {field} {lost[field]!r}" for field in lost)]
        found.reject(other.path, reason, "; ".join(detail))


def _make_keys_unique(recordings: list[Recording], taken: set[str]) -> None:
    """Give recordings whose keys clash a hash of their path; ids of manifests, ``taken``, stay as they are."""
    seen = set(taken)
    clashing: set[str] = set()
    for recording in recordings:
        (clashing if recording.key in seen else seen).add(recording.key)
    groups: dict[str, list[int]] = {key: [] for key in clashing}
    for i, recording in enumerate(recordings):
        if recording.key in groups:
            groups[recording.key].append(i)
    for key in sorted(groups):
        # Relative to the folder that they share, so that the keys are the same wherever the corpus lies.
        shared = os.path.commonpath([os.path.dirname(recordings[i].path) for i in groups[key]])
        for i in groups[key]:
            name = _unique_key(recordings[i], shared, seen)
            seen.add(name)
            recordings[i] = recordings[i]._replace(key=name)


def _unique_key(recording: Recording, folder: str, seen: set[str]) -> str:
    member = recording.member.name if recording.member else ""
    parts: Sequence[object] = (
        *(os.path.relpath(recording.path, folder), member, recording.start_seconds, recording.stop_seconds),
        *([] if recording.channel is None else [recording.channel]),
    )
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=20).hexdigest()
    # Eight digits are enough for all but a few of a million.
    return next(
        name for length in (8, 16, 40) if (name := f"{recording.key}_{digest[:length]}".lstrip("_")) not in seen
    )
