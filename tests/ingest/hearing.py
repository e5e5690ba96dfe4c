"""What ingest makes of one recording, and sounds and files to try it on."""

import io
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from speechssl.config import ShardConfig
from speechssl.ingest.clips import scan
from speechssl.ingest.recordings import Note, Recording, Rejected
from speechssl.ingest.shard_maker import prepared

RATE = 16000


class Heard(NamedTuple):
    """All of it."""

    samples: list[np.ndarray]
    """Of each clip, as in the shard."""
    metadata: list[dict[str, Any]]
    rejected: list[Rejected]
    notes: list[Note]

    @property
    def kinds(self) -> set[str]:
        """Of notes and rejections."""
        return {note.kind for note in self.notes} | {item.reason for item in self.rejected}

    @property
    def seconds(self) -> float:
        """Of all clips."""
        return sum(map(len, self.samples)) / RATE


def hear(path: Path, text: str = "", listed: dict[str, Any] | None = None, **options: Any) -> Heard:
    """Ingest one file, with what a list says of it and options of the configuration."""
    recording = Recording("key", str(path), text=text, **(listed or {}))
    config = ShardConfig([], path.parent, **({"cut_above_seconds": 1000.0} | options))
    scanned = scan(recording, config)
    heard = Heard([], [], list(scanned.rejected), list(scanned.notes))
    for result in prepared(scanned.clips, config, 1):
        if isinstance(result, Rejected):
            heard.rejected.append(result)
            continue
        heard.samples.append(soundfile.read(io.BytesIO(result.encoded.audio), dtype="float32")[0])
        heard.metadata.append(result.encoded.metadata | {"key": result.encoded.key})
        heard.notes.extend(result.notes)
    return heard


def voice(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Harmonics with the rhythm of syllables, and a little noise, float32 (S,)."""
    draws = np.random.default_rng(seed)
    times = np.arange(round(seconds * rate)) / rate
    pitch = 100 + 80 * draws.random()
    sound = sum(np.sin(2 * np.pi * pitch * k * times + draws.uniform(0, 6)) / k for k in range(1, 16))
    syllables = (0.6 + 0.4 * np.sin(2 * np.pi * 3 * times + seed)) ** 2
    return (0.08 * sound * syllables + 1e-3 * draws.standard_normal(len(times))).astype(np.float32)


def encoded(samples: np.ndarray, container: str, subtype: str, rate: int = RATE) -> bytes:
    """A file in memory."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def put(path: Path, data: bytes | bytearray) -> Path:
    path.write_bytes(data)
    return path


def with_sizes(data: bytes, size: int) -> bytes:
    """A WAV with another number of bytes of audio in its header."""
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", size & 0xFFFFFFFF) + data[at + 4 :]


def with_flac_length(data: bytes, num_samples: int) -> bytes:
    """A FLAC file with another number of samples in its header."""
    packed = int.from_bytes(data[18:26], "big") >> 36 << 36 | num_samples
    return data[:18] + packed.to_bytes(8, "big") + data[26:]


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a WAV file."""
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def level_db(samples: np.ndarray) -> float:
    """Of what varies."""
    return 10 * float(np.log10(np.var(samples.astype(np.float64)) + 1e-30))
