"""Sources of every kind for the tests, and what is found in them. No audio is read, so that there is none here."""

import csv
import io
import json
import re
import tarfile
from collections import Counter
from pathlib import Path

import pytest
import webdataset

from speechssl.errors import DataError
from speechssl.ingest.recordings import Found, Recording
from speechssl.ingest.sources import find_recordings

KEY = re.compile(r"[A-Za-z0-9_-]+")
ROWS = [
    {"path": "a.wav", "text": 'SAY "HI", YES', "speaker": "s1", "language": "en", "split": "train"},
    {"path": "sub/b.wav", "text": "", "speaker": "", "language": "", "split": ""},
    {"path": "c.opus", "text": "ÄÖ", "speaker": "s2", "language": "de", "split": "dev"},
]
SAMPLES = [
    {
        "__key__": "utt/one",
        "flac": b"first",
        "json": b'{"text": "YES", "speaker": "s1", "language": "en", "split": "dev", "source": "talk.mp3", "end": 0}',
    },
    {"__key__": "two", "wav": b"the second", "txt": "nö\n".encode()},
    {"__key__": "three", "mp3": b"third", "json": b'{"transcription": "", "source": "radio"}', "txt": b"GO"},
    {"__key__": "four", "m4a": b"4th"},
]


def write(path: Path, content: str | bytes = b"audio") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def find(*where: Path | str) -> Found:
    found = find_recordings([str(item) for item in where])
    keys = [recording.key for recording in found.recordings]
    assert len(set(keys)) == len(keys)
    assert all(KEY.fullmatch(key) for key in keys)
    return found


def by_key(found: Found) -> dict[str, Recording]:
    return {recording.key: recording for recording in found.recordings}


def reasons(found: Found) -> list[tuple[str, str]]:
    return [(Path(item.path).name, item.reason) for item in found.rejected]


def ignored(found: Found) -> dict[str, int]:
    return dict(Counter(item.reason for item in found.ignored))


def facts(found: Found) -> dict[str, tuple]:
    """File, text and speaker by key."""
    return {r.key: (Path(r.path).name, r.text, r.speaker) for r in found.recordings}


def kinds(found: Found) -> list[str]:
    return [note.kind for note in found.notes]


def message(*where: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        find(*where)
    return str(caught.value)


def write_audio(folder: Path, *names: str) -> None:
    for name in names:
        write(folder / name)


def write_tar(path: Path, samples: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path), encoder=False) as tar:
        for sample in samples:
            tar.write(sample)
    return path


def write_members(path: Path, members: list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def read_member(recording: Recording) -> bytes:
    assert recording.member is not None
    with open(recording.path, "rb") as file:  # noqa: PTH123
        file.seek(recording.member.offset)
        return file.read(recording.member.size)


def write_manifest(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(rows[0])
    if path.suffix == ".tsv":
        lines = ["\t".join(names), *("\t".join(str(row[name]) for name in names) for row in rows)]
        return write(path, "\n".join(lines) + "\n")
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        return path
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))
