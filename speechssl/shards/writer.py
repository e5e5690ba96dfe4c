"""One shard: an ordinary webdataset tar with an index beside it, whole or not there at all."""

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import soundfile

from speechssl.files import PARTIAL
from speechssl.shards.index import index_path, write_index
from speechssl.shards.members import identifier_of
from speechssl.shards.table import SampleEntry
from speechssl.shards.webdataset_alone import tar_writer_class

AudioFormat = Literal["flac", "opus", "wav"]


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
    """Writes one shard with webdataset's TarWriter, in a ``with`` statement; the same samples give the same bytes.

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
        self._file = self._partial.open("wb", buffering=1 << 20)
        self._sums = _Sums(self._file)
        # The long names of pax tell a reader where they end; time, user and mode are the same for all.
        self._tar = tar_writer_class()(
            self._sums, user="speechssl", group="speechssl", mtime=0, encoder=False, format="PAX_FORMAT"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._sums.is_open = False  # what the tar still holds back is not wanted any more, and the disk may be full
        self._tar.close()
        with suppress(OSError):
            self._file.close()
        self._partial.unlink(missing_ok=True)

    @property
    def _position(self) -> int:
        """Bytes of the tar so far, those that are not in the file yet included."""
        return int(self._tar.tarstream.offset)

    def write(self, sample: EncodedSample) -> None:
        """Append a sample: its audio, then its metadata as JSON."""
        metadata = json.dumps(sample.metadata, ensure_ascii=False, sort_keys=True).encode()
        start = self._position
        # One by one: together they would be sorted by suffix.
        self._tar.write({"__key__": sample.key, self._audio_format: sample.audio})
        num_blocks = -(-len(sample.audio) // tarfile.BLOCKSIZE)
        audio_start = self._position - num_blocks * tarfile.BLOCKSIZE - start
        self._tar.write({"__key__": sample.key, "json": metadata})
        self._sums.end_sample(self._position)
        self._entries.append(
            SampleEntry(
                key=sample.key,
                offset=start,
                size=self._position - start,
                num_samples=sample.num_samples,
                audio_start=audio_start,
                audio_size=len(sample.audio),
                checksum=0,  # of bytes that may still be on their way
                text=str(sample.metadata.get("text", "")),
                speaker=identifier_of("speaker", sample.metadata),
                language=identifier_of("language", sample.metadata),
            )
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
        sums = zip(self._entries, self._sums.checksums, strict=True)
        entries = [replace(entry, checksum=checksum) for entry, checksum in sums]
        write_index(self._partial, self._sample_rate, entries, index_path(self._path), self._sums.sha256)
        self._partial.replace(self._path)
        return self._sums.num_bytes, self._sums.sha256


class _Sums:
    """A file, and what proves that it is what was written, summed up on the way.

    To read the tar again for it would take longer than writing it did.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.num_bytes = 0
        self._checksum = 0
        self.checksums: list[int] = []
        """CRC-32 of each sample's bytes."""
        self._ends: deque[int] = deque()
        self.is_open = True
        """Whether what is written is wanted."""

    def write(self, data: bytes) -> int:
        """Write some bytes, in which samples may end."""
        if not self.is_open:
            return len(data)
        self._file.write(data)
        self._sha256.update(data)
        left = memoryview(data)
        while self._ends and self._ends[0] <= self.num_bytes + len(left):
            size = self._ends.popleft() - self.num_bytes
            self.checksums.append(zlib.crc32(left[:size], self._checksum))
            self._checksum = 0
            self.num_bytes += size
            left = left[size:]
        self._checksum = zlib.crc32(left, self._checksum)
        self.num_bytes += len(left)
        return len(data)

    def end_sample(self, position: int) -> None:
        """A sample ends at a byte that may still be on its way; the next one has not begun."""
        self._ends.append(position)

    @property
    def sha256(self) -> str:
        """Checksum of all that was written, hexadecimal."""
        return self._sha256.hexdigest()
