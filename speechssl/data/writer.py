"""One shard: an ordinary webdataset tar with an index beside it, whole or not there at all."""

import hashlib
import io
import json
import os
import tarfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

import numpy as np
import soundfile

from speechssl.data.index import SampleEntry, ShardSums, index_path, write_index

PARTIAL = ".partial_"
AudioFormat = Literal["flac", "opus", "wav"]
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


class EncodedSample(NamedTuple):
    """A sample ready to be written."""

    key: str
    audio: bytes
    num_samples: int
    metadata: dict[str, Any]


def to_pcm(samples: np.ndarray) -> np.ndarray:
    """Float32 (S,) in -1..1 as 16-bit numbers, clipped to the range."""
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)


def encode_audio(samples: np.ndarray, sample_rate: int, audio_format: AudioFormat) -> bytes:
    """Float32 (S,) in -1..1, or 16-bit numbers, to the bytes of a mono file; 16 bits unless it is Opus."""
    buffer = io.BytesIO()
    if audio_format == "opus":
        soundfile.write(buffer, np.clip(samples, -1, 1), sample_rate, format="OGG", subtype="OPUS")
        return buffer.getvalue()
    pcm = samples if samples.dtype == np.int16 else to_pcm(samples)
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
        self._checksums: list[int] = []
        self._num_bytes = 0
        # Summed up on the way: reading the tar again for it would take longer than writing it did.
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> "ShardFile":
        self._file = self._partial.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def write(self, sample: EncodedSample) -> None:
        """Append a sample: its audio, then its metadata as JSON."""
        metadata = json.dumps(sample.metadata, ensure_ascii=False, sort_keys=True).encode()
        blocks = [
            *member_blocks(f"{sample.key}.{self._audio_format}", sample.audio),
            *member_blocks(f"{sample.key}.json", metadata),
        ]
        offset, checksum = self._num_bytes, 0
        for block in blocks:
            checksum = zlib.crc32(block, checksum)
            self._append(block)
        text = str(sample.metadata.get("text", ""))
        size = self._num_bytes - offset
        self._entries.append(
            SampleEntry(sample.key, offset, size, sample.num_samples, text, len(blocks[0]), len(sample.audio))
        )
        self._checksums.append(checksum)

    def _append(self, block: bytes) -> None:
        self._file.write(block)
        self._sha256.update(block)
        self._num_bytes += len(block)

    def finish(self) -> tuple[int, str]:
        """Give the tar and its index their names, once both are on disk; bytes and SHA-256 of the tar.

        A shard without samples leaves nothing, and gives 0 and "".
        """
        if not self._entries:
            return 0, ""
        # Two empty blocks end a tar, which fills whole records.
        self._append(bytes(2 * tarfile.BLOCKSIZE))
        self._append(bytes(-self._num_bytes % tarfile.RECORDSIZE))
        self._file.flush()
        os.fsync(self._file.fileno())
        index = self._path.with_name(PARTIAL + index_path(self._path).name)
        sums = ShardSums(self._num_bytes, self._sha256.hexdigest(), np.array(self._checksums, dtype=np.uint32))
        write_index(self._partial, self._sample_rate, self._entries, index, sums)
        index.replace(index_path(self._path))
        self._partial.replace(self._path)
        return sums.num_bytes, sums.sha256


def member_blocks(name: str, data: bytes) -> list[bytes]:
    """A file of a tar: its header, its bytes, and zeros up to a whole block."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o444
    member.uname = member.gname = "speechssl"
    return [member.tobuf(tarfile.GNU_FORMAT), data, bytes(-len(data) % tarfile.BLOCKSIZE)]
