"""One shard: an ordinary webdataset tar with an index beside it, whole or not there at all."""

import io
import json
import os
import tarfile
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

import numpy as np
import soundfile

from speechssl.data.index import SampleEntry, file_sha256, index_path, write_index

PARTIAL = ".partial_"
AudioFormat = Literal["flac", "opus", "wav"]
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


class EncodedSample(NamedTuple):
    """A sample ready to be written."""

    key: str
    audio: bytes
    num_samples: int
    metadata: dict[str, Any]


def encode_audio(samples: np.ndarray, sample_rate: int, audio_format: AudioFormat) -> bytes:
    """Float32 (S,) in -1..1 to the bytes of a mono file; 16 bits, clipped to the range, unless it is Opus."""
    buffer = io.BytesIO()
    if audio_format == "opus":
        soundfile.write(buffer, np.clip(samples, -1, 1), sample_rate, format="OGG", subtype="OPUS")
        return buffer.getvalue()
    pcm = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    soundfile.write(buffer, pcm, sample_rate, format=audio_format.upper(), subtype="PCM_16")
    return buffer.getvalue()


class ShardFile:
    """Writes one shard, to be used in a ``with`` statement; the same samples give the same bytes.

    Until ``finish`` the tar has a temporary name, and leaving without it deletes what was written.

    Args:
        path: of the tar.
        sample_rate: of the audio, in Hz.
        audio_format: suffix of the audio members.
    """

    def __init__(self, path: Path, sample_rate: int, audio_format: AudioFormat) -> None:
        self._path = path
        self._partial = path.with_name(PARTIAL + path.name)
        self._sample_rate = sample_rate
        self._audio_format = audio_format
        self._entries: list[SampleEntry] = []

    def __enter__(self) -> "ShardFile":
        self._file = self._partial.open("wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.GNU_FORMAT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def write(self, sample: EncodedSample) -> None:
        """Append a sample: its audio, then its metadata as JSON."""
        offset = self._tar.offset
        ends = []
        metadata = json.dumps(sample.metadata, ensure_ascii=False, sort_keys=True).encode()
        for suffix, data in ((self._audio_format, sample.audio), ("json", metadata)):
            member = tarfile.TarInfo(f"{sample.key}.{suffix}")
            member.size, member.mode = len(data), 0o444
            member.uname = member.gname = "speechssl"
            self._tar.addfile(member, io.BytesIO(data))
            ends.append(self._tar.offset - offset)
        text = str(sample.metadata.get("text", ""))
        audio_size = len(sample.audio)
        audio_start = ends[0] - -(-audio_size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE  # it is padded to whole blocks
        self._entries.append(
            SampleEntry(sample.key, offset, ends[-1], sample.num_samples, text, audio_start, audio_size)
        )

    def finish(self) -> tuple[int, str]:
        """Give the tar and its index their names, once both are on disk; bytes and SHA-256 of the tar.

        A shard without samples leaves nothing, and gives 0 and "".
        """
        if not self._entries:
            return 0, ""
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        index = self._path.with_name(PARTIAL + index_path(self._path).name)
        write_index(self._partial, self._sample_rate, self._entries, index)
        index.replace(index_path(self._path))
        size, sha256 = self._partial.stat().st_size, file_sha256(self._partial)
        self._partial.replace(self._path)
        return size, sha256
