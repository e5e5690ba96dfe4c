"""Transcripts in a folder of their own, as ``txt/p225/p225_001.txt`` of ``wav/p225/p225_001.wav``."""

import os
import re
from collections.abc import Mapping, Sequence

from speechssl.ingest.recordings import Findings, Recording
from speechssl.shards.transcripts import MAX_TRANSCRIPT_BYTES, read_transcript

_TEXT_FOLDERS = frozenset(
    {
        *("txt", "text", "texts", "trans", "transcript", "transcripts", "transcription", "transcriptions"),
        *("lab", "labs", "label", "labels", "prompts"),
    }
)
_MICROPHONE = re.compile(r"_mic\d$")
"""VCTK has a recording by each of two microphones, and one text."""
Key = tuple[tuple[str, ...], str]
"""Folders but for the one of its own, and the name without suffix."""


def add_parallel_texts(folder: str, texts: Sequence[str], found: Findings) -> set[str]:
    """Give recordings without text that of the same path in a folder of texts; returns what was looked at.

    Args:
        folder: tree that both are in.
        texts: paths of those that lie beside no audio.
        found: with the recordings, that are replaced.
    """
    by_key: dict[Key, list[str]] = {}
    for path in texts:
        *folders, name = path[len(folder) :].strip(os.sep).split(os.sep)
        own = next((i for i, part in enumerate(folders) if part.lower() in _TEXT_FOLDERS), None)
        if own is not None:
            key = (*folders[:own], *folders[own + 1 :]), os.path.splitext(name)[0]
            by_key.setdefault(key, []).append(path)
    looked_at: set[str] = set()
    if not by_key:
        return looked_at
    for origins, recordings in list(found.walked.items()):
        if not any(field == "text" for field, _ in origins):
            found.walked[origins] = []
            for recording in recordings:
                path = _text_of(recording, folder, by_key)
                if path:
                    looked_at.add(path)
                    _add_text(recording, origins, path, found)
                else:
                    found.walked[origins].append(recording)
    return looked_at


def _text_of(recording: Recording, folder: str, by_key: Mapping[Key, Sequence[str]]) -> str:
    """Path of the one text of a recording; empty if there is none, or several."""
    if not recording.path.startswith(folder):
        return ""
    *folders, name = recording.path[len(folder) :].strip(os.sep).split(os.sep)
    stem = os.path.splitext(name)[0]
    for own in range(len(folders)):
        rest = (*folders[:own], *folders[own + 1 :])
        paths = by_key.get((rest, stem)) or by_key.get((rest, _MICROPHONE.sub("", stem)), ())
        if len(paths) == 1:
            return paths[0]
    return ""


def _add_text(recording: Recording, origins: tuple[tuple[str, str], ...], path: str, found: Findings) -> None:
    stem, suffix = os.path.splitext(path)
    try:
        with open(path, "rb") as file:
            transcript = read_transcript(
                file.read(MAX_TRANSCRIPT_BYTES + 1), suffix[1:].lower(), os.path.basename(stem)
            )
    except OSError as error:
        found.unread[recording.path] = f"{path} cannot be read ({error.strerror})"
        return
    except ValueError as error:
        found.unread[recording.path] = f"{path} {error}"
        return
    if transcript.text:
        found.used.add(path)
        origins = (*origins, ("text", f"{suffix.lower()} in a folder of its own"))
        recording = recording._replace(text=transcript.text)
    else:
        found.ignore(path, f"no transcript: {transcript.kind}" if transcript.kind else "no words")
    found.walked[origins].append(recording)
