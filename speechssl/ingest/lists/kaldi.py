"""Kaldi's data folders: wav.scp, and beside it text, utt2spk, segments and the like, one entry a line."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from speechssl.ingest.lists.opening import open_list
from speechssl.ingest.lists.rows import Listed, Row
from speechssl.ingest.recordings import Findings

_ARCHIVE = re.compile(r".+\.ark(:[0-9]+)?")
_BESIDE = {"text": "text", "speaker": "utt2spk", "language": "utt2lang"}
"""File of what is known of an utterance, by our field."""
_COLUMNS = {
    "path": "wav.scp",
    "id": "id",
    "recording": "recording",
    "start": "segments",
    "end": "segments' end",
    "channel": "reco2file_and_channel",
    **_BESIDE,
}


def looks_like_kaldi(lines: list[str], name: str) -> bool:
    """Whether the first lines are of a wav.scp: an id, white space, and a path or a command."""
    if name != "wav.scp" and not name.endswith(".scp"):
        return False
    entries = [line.split(maxsplit=1) for line in lines if line.strip()]
    pairs = [entry for entry in entries if len(entry) == 2]
    are_features = any(_ARCHIVE.fullmatch(entry[1].strip()) for entry in pairs)
    return 2 * len(pairs) > len(entries) and (name == "wav.scp" or not are_features)


class _Entry(NamedTuple):
    """What is behind an id in one of the files."""

    line: int
    rest: str


def kaldi_list(path: str, found: Findings) -> Listed:
    """Rows of a wav.scp, one per utterance of the segments beside it if there are any."""
    folder = os.path.dirname(path)

    def beside(name: str) -> list[tuple[str, _Entry]]:
        """Ids and entries of another file; none if there is no such file."""
        file_name = os.path.join(folder, name)
        if not os.path.isfile(file_name):
            return []
        found.used.add(file_name)
        return _entries(file_name)

    known = {field: dict(beside(name)) for field, name in _BESIDE.items()}
    channels = {recording: entry.rest.split()[-1:] for recording, entry in beside("reco2file_and_channel")}
    return Listed(_rows(_entries(path), beside("segments"), known, channels), _COLUMNS, "Kaldi's")


def _entries(path: str) -> list[tuple[str, _Entry]]:
    entries = []
    with open_list(path) as file:
        for line, text in enumerate(file, start=1):
            key, *rest = text.split(maxsplit=1)[:2] or [""]
            if key:
                entries.append((key, _Entry(line, rest[0].strip() if rest else "")))
    return entries


def _rows(
    audio: Sequence[tuple[str, _Entry]],
    segments: Sequence[tuple[str, _Entry]],
    known: Mapping[str, Mapping[str, _Entry]],
    channels: Mapping[str, list[str]],
) -> Iterator[Row]:
    def values_of(utterance: str, recording: str, path: str) -> dict[str, str]:
        channel = "".join(channels.get(recording, []))
        values = {"wav.scp": path, "id": utterance, "recording": recording, "reco2file_and_channel": channel}
        described = {
            _BESIDE[field]: entries[utterance].rest for field, entries in known.items() if utterance in entries
        }
        return values | described

    has_audio = set()
    paths = {recording: entry.rest for recording, entry in audio}
    for utterance, entry in segments:
        recording, start, end = [*entry.rest.split(), "", "", ""][:3]
        has_audio |= {utterance, recording}
        if recording not in paths:
            problem = f"the recording {recording!r} of {utterance!r} is not in wav.scp"
            yield Row(entry.line, problem=problem, file="segments")
            continue
        # An end of -1 is that of the file.
        times = {"segments": start, "segments' end": "" if end.startswith("-") else end}
        yield Row(entry.line, values_of(utterance, recording, paths[recording]) | times, file="segments")
    for recording, entry in audio:
        if not segments:
            has_audio.add(recording)
            yield Row(entry.line, values_of(recording, recording, entry.rest))
        elif recording not in has_audio:
            yield Row(entry.line, problem=f"{recording!r} has no segment", reason="in no segment")
    for utterance, entry in known["text"].items():
        if utterance not in has_audio:
            yield Row(entry.line, problem=f"no audio is given for the words of {utterance!r}", file="text")
