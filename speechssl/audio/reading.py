"""Audio files, arrays and tar members to mono float32 samples."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import ArrayLike

from speechssl.audio.blocks import read_ranges
from speechssl.audio.findings import log_findings
from speechssl.audio.inspection import inspect
from speechssl.audio.sndfile import SEEKABLE_SUBTYPES
from speechssl.errors import DataError

Samples = np.ndarray
ARRAY = "array of samples"
"""What stands for a file's name in messages."""


def read_audio(path: Path, sample_rate: int) -> Samples:
    """Read a file of any format, rate and channel count as a whole; what is noticed, as a missing end, is logged.

    Args:
        path: audio file.
        sample_rate: wanted rate in Hz; other rates are resampled by soxr at high quality.

    Returns:
        Mean of the channels, float32 in -1..1, (S,).

    Raises:
        DataError: missing, unreadable, empty, or with samples that are not finite.
    """
    inspection = inspect(path, judges_channels=False)
    findings = inspection.findings
    audio = next(read_ranges(path, [(0, inspection.info.num_frames)], sample_rate, findings=findings))
    log_findings(path, findings)
    return audio


def read_array(samples: ArrayLike, from_rate: int | None, sample_rate: int) -> Samples:
    """Read what someone else has decoded, as a file of it would be read.

    Args:
        samples: floating-point numbers in -1..1, (S,), or (S, C) as soundfile gives them.
        from_rate: their rate in Hz.
        sample_rate: wanted rate in Hz; other rates are resampled by soxr at high quality.

    Returns:
        Mean of the channels, float32 (S,).

    Raises:
        DataError: of unknown rate, of another type or shape, empty, or with samples that are not finite.
    """
    array = np.asarray(samples)
    if array.dtype.kind != "f":
        raise DataError(f"{ARRAY}: {array.dtype}, expected floating-point numbers in -1..1; divide int16 by 32768")
    if not from_rate or from_rate < 0:
        raise DataError(f"{ARRAY}: sample_rate is {from_rate}, expected its samples per second, as sample_rate=16000")
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] > array.shape[0]):
        raise DataError(f"{ARRAY}: shape {array.shape}, expected (samples,) or (samples, channels); transpose it")
    mono = _checked(array.astype(np.float32), ARRAY)
    mono = mono.mean(1) if mono.ndim == 2 else mono
    return mono if from_rate == sample_rate else soxr.resample(mono, from_rate, sample_rate, quality="HQ")


def read_raw_pcm(path: Path, *, sample_rate: int, big_endian: bool) -> Samples:
    """Read headerless 16-bit mono samples, as in the raw files of the AN4 archive: float32 (S,).

    Raises:
        DataError: missing, empty, or half a sample too long.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if len(data) % 2:
        raise DataError(
            f"{path}: {len(data)} bytes, expected an even number, two per 16-bit sample; the file is cut off"
        )
    samples = np.frombuffer(data, dtype=">i2" if big_endian else "<i2").astype(np.float32) / 32768
    return _checked(samples, str(path))


def decode_audio(data: bytes, *, name: str, sample_rate: int) -> Samples:
    """Decode an encoded mono file in memory: float32 (S,).

    Args:
        data: FLAC, WAV or Ogg bytes.
        name: shard and key, for messages.
        sample_rate: the rate that it must have, in Hz.

    Raises:
        DataError: damaged, of another rate, not mono, or empty.
    """
    with _member(data, name, sample_rate) as file:
        samples = np.empty(file.frames, dtype=np.float32)
        _fill(samples, file, name)
    return samples


def decode_into(out: Samples, data: bytes, *, name: str, sample_rate: int, num_samples: int, start: int = 0) -> None:
    """Decode a part of an encoded mono file in memory to where it is wanted, as long as ``out``.

    Args:
        out: float32 (S,), contiguous.
        data: FLAC, WAV or Ogg bytes.
        name: shard and key, for messages.
        sample_rate: the rate that it must have, in Hz.
        num_samples: the length that it must have.
        start: first sample.

    Raises:
        DataError: damaged, of another rate or length, or not mono.
    """
    with _member(data, name, sample_rate) as file:
        if file.frames != num_samples:
            raise DataError(
                f"{name}: {file.frames} samples, expected {num_samples} as the index says; make the shard again"
            )
        if start and file.subtype in SEEKABLE_SUBTYPES:
            file.seek(start)
        elif start:
            file.read(start, dtype="float32")
        _fill(out, file, name)


@contextmanager
def _member(data: bytes, name: str, sample_rate: int) -> Iterator[soundfile.SoundFile]:
    """An open member of a shard, once its rate and channels are known to be right; what goes wrong is named."""
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.samplerate != sample_rate:
                raise DataError(
                    f"{name}: {file.samplerate} Hz, expected {sample_rate} Hz as its index says; make the shard again"
                )
            if file.channels != 1:
                raise DataError(f"{name}: {file.channels} channels, expected 1; make the shard again")
            yield file
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        raise DataError(f"{name}: cannot be decoded ({error}); make the shard again") from error


def _fill(out: Samples, file: soundfile.SoundFile, name: str) -> None:
    """Read the next samples into ``out``, all of it."""
    if out.size == 0:
        raise DataError(f"{name}: holds no samples")
    found = len(file.read(len(out), dtype="float32", out=out))
    if found != len(out):
        raise DataError(f"{name}: ends after {found} of {len(out)} samples; make the shard again")
    if file.subtype in ("FLOAT", "DOUBLE"):
        _checked(out, name)


def _checked(samples: Samples, name: str) -> Samples:
    if samples.size == 0:
        raise DataError(f"{name}: holds no samples")
    if not np.isfinite(samples).all():
        raise DataError(f"{name}: holds samples that are not finite numbers")
    return samples
