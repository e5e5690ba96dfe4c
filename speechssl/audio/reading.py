"""Audio files and tar members to mono float32 samples."""

import io
from pathlib import Path

import numpy as np
import soundfile
import soxr

from speechssl.audio.blocks import probe, read_range
from speechssl.errors import DataError

Samples = np.ndarray

# What a folder is searched for; a file that was named one by one is read whatever its suffix.
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".sph", ".aiff", ".au"})


def read_audio(path: Path, sample_rate: int) -> Samples:
    """Read a file of any format, rate and channel count as a whole.

    Args:
        path: audio file.
        sample_rate: wanted rate in Hz; other rates are resampled by soxr at high quality.

    Returns:
        Mean of the channels, float32 in -1..1, (S,).

    Raises:
        DataError: missing, unreadable, empty, or with samples that are not finite.
    """
    return read_range(path, 0, probe(path).num_frames, sample_rate)


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
    """Decode an encoded file in memory: float32 (S,).

    Args:
        data: FLAC, WAV or Ogg bytes, mono.
        name: shard and key, for messages.
        sample_rate: the rate that it must have, in Hz.

    Raises:
        DataError: damaged, of another rate, or empty.
    """
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DataError(f"{name}: cannot be decoded ({error}); make the shard again") from error
    if rate != sample_rate:
        raise DataError(f"{name}: {rate} Hz, expected {sample_rate} Hz as its index says; make the shard again")
    return _checked(_to_mono(samples, rate, rate), name)


def _to_mono(samples: Samples, rate: int, wanted_rate: int) -> Samples:
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if rate != wanted_rate and mono.size:
        mono = soxr.resample(mono, rate, wanted_rate, quality="HQ")
    return np.ascontiguousarray(mono, dtype=np.float32)


def _checked(samples: Samples, name: str) -> Samples:
    if samples.size == 0:
        raise DataError(f"{name}: holds no samples")
    if not np.isfinite(samples).all():
        raise DataError(f"{name}: holds samples that are not finite numbers")
    return samples
