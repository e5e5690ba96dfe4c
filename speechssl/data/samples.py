"""One sample out of a shard, at the offset that the index gives."""

import os
import zlib

import numpy as np

from speechssl.audio.reading import decode_into
from speechssl.data.corpus import SampleRef
from speechssl.errors import DataError


def read_sample_audio(ref: SampleRef, sample_rate: int) -> np.ndarray:
    """Read and decode the audio of one sample alone, at the place that the index gives: float32 (S,).

    Raises:
        DataError: names shard and key of what is missing or damaged.
    """
    audio = np.empty(ref.num_samples, dtype=np.float32)
    read_audio_into(audio, ref, sample_rate)
    return audio


def read_audio_into(out: np.ndarray, ref: SampleRef, sample_rate: int, *, start: int = 0) -> None:
    """Read and decode a part of a sample's audio, from ``start`` on, to where it is wanted: float32 (S,), contiguous.

    Raises:
        DataError: names shard and key of what is missing or damaged.
    """
    encoded = read_bytes(ref)[ref.audio_start : ref.audio_start + ref.audio_size]
    name = f"{ref.shard}: {ref.key}"
    decode_into(out, encoded, name=name, sample_rate=sample_rate, num_samples=ref.num_samples, start=start)


def read_bytes(ref: SampleRef) -> bytes:
    """All bytes of a sample, checked against the index."""
    name = f"{ref.shard}: {ref.key}"
    data = _raw_bytes(ref)
    if zlib.crc32(data) != ref.checksum and ref.store is not None and ref.store.discard_damaged(ref.shard):
        data = _raw_bytes(ref)
    if zlib.crc32(data) != ref.checksum:
        raise DataError(
            f"{name}: the {len(data)} bytes at {ref.offset} are not the {ref.size} that were indexed; "
            "the shard is damaged or was replaced, make it again"
        )
    return data


def _raw_bytes(ref: SampleRef) -> bytes:
    try:
        if ref.store is None:
            return _read_local(ref.shard, ref.offset, ref.size)
        with ref.store.open(ref.shard) as file:
            file.seek(ref.offset)
            return file.read(ref.size)
    except OSError as error:
        raise DataError(f"{ref.shard}: {ref.key}: {error.strerror}") from error


def _read_local(path: str, offset: int, size: int) -> bytes:
    """Bytes of a file, by the system's calls themselves: a file object per sample costs more than the read."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)
