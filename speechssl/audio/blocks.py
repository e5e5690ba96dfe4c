"""Audio files of any format and length, as mono blocks or as pieces, in memory that does not grow with them.

A frame is here what libsndfile calls one: a sample of each channel, at the file's own rate.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr

from speechssl.audio.decoders import Decoder, opened, reason_of
from speechssl.errors import DataError

SKIP_FRAMES = 1 << 16
"""Frames decoded at a time on the way to a piece that cannot be sought."""


class AudioInfo(NamedTuple):
    """What a file holds."""

    sample_rate: int
    """Hz."""
    num_frames: int
    """As many as reading gives."""
    num_channels: int
    format: str
    """libsndfile's name of the container, as in "WAV"; "FFmpeg" for what only FFmpeg reads."""


def probe(path: Path) -> AudioInfo:
    """What a file holds, from its header where that can be trusted, else by decoding it once.

    Raises:
        DataError: missing, unreadable or empty; damaged, if it has to be decoded.
    """
    return probe_with_begin(path, 0.0)[0]


def probe_with_begin(path: Path, seconds: float) -> tuple[AudioInfo, np.ndarray]:
    """The same, and what ``read_range`` gives for the first seconds, while the file is open anyway.

    Raises:
        DataError: as ``probe``, or damaged in these seconds.
    """
    with opened(path) as decoder:
        num_begin = round(seconds * decoder.sample_rate)
        begin = _read_mono(decoder, path, num_begin, 0) if num_begin else np.empty(0, np.float32)
        num_frames = decoder.num_frames
        if num_frames is None:
            num_frames = len(begin) + sum(map(len, _mono_blocks(decoder, path, SKIP_FRAMES)))
        if num_frames == 0:
            raise DataError(f"{path}: holds no samples")
        info = AudioInfo(decoder.sample_rate, num_frames, decoder.num_channels, decoder.format)
    return info, begin


def read_blocks(path: Path, block_seconds: float = 30.0) -> Iterator[np.ndarray]:
    """Read a file from beginning to end.

    Args:
        path: audio file of any format.
        block_seconds: length of the blocks; only one is in memory.

    Yields:
        Mean of the channels at the file's own rate, float32 (block,); the last is shorter. They hold the same
        samples for any length of block.

    Raises:
        DataError: missing, unreadable, damaged, shorter than its header says, or with samples that are not finite.
    """
    with opened(path) as decoder:
        yield from _mono_blocks(decoder, path, max(1, round(block_seconds * decoder.sample_rate)))


def read_blocks_at(path: Path, sample_rate: int, block_seconds: float = 30.0) -> Iterator[np.ndarray]:
    """The same at another rate: together the samples that soxr at high quality makes of the whole file.

    Args:
        path: audio file of any format.
        sample_rate: wanted rate in Hz.
        block_seconds: length of the blocks.

    Yields:
        Mean of the channels, float32; blocks differ in length, and some may be empty.

    Raises:
        DataError: as ``read_blocks``.
    """
    with opened(path) as decoder:
        blocks = _mono_blocks(decoder, path, max(1, round(block_seconds * decoder.sample_rate)))
        if decoder.sample_rate == sample_rate:
            yield from blocks
            return
        stream = soxr.ResampleStream(decoder.sample_rate, sample_rate, 1, dtype="float32", quality="HQ")
        yield from map(stream.resample_chunk, blocks)
        yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def read_range(path: Path, start_frame: int, num_frames: int, sample_rate: int) -> np.ndarray:
    """Read one piece of a file; for several of the same file use ``read_ranges``.

    Args:
        path: audio file of any format.
        start_frame: first frame, at the file's own rate.
        num_frames: length, at the file's own rate.
        sample_rate: wanted rate in Hz; the piece is resampled as a whole by soxr at high quality.

    Returns:
        Mean of the channels, float32 (S,).

    Raises:
        DataError: as ``read_ranges``.
    """
    return next(read_ranges(path, [(start_frame, num_frames)], sample_rate))


def read_ranges(path: Path, ranges: Iterable[tuple[int, int]], sample_rate: int) -> Iterator[np.ndarray]:
    """Read pieces of a file while decoding it once: one by one, an hour of MP3 would be decoded for each of them.

    Args:
        path: audio file of any format.
        ranges: (first frame, number of frames) of each piece at the file's own rate, in order and without overlap.
        sample_rate: wanted rate in Hz; each piece is resampled as a whole by soxr at high quality.

    Yields:
        Mean of the channels of each piece, float32 (S,).

    Raises:
        DataError: missing, unreadable, damaged, with samples that are not finite, or without the frames of a piece.
    """
    with opened(path) as decoder:
        position = 0
        for start, num_frames in ranges:
            if start < position or num_frames < 1:
                raise ValueError(f"piece ({start}, {num_frames}) after frame {position}: not in order, or empty")
            where = f"frames {start} to {start + num_frames}"
            if not _skip(decoder, path, position, start):
                raise _ends_early(path, where, 0, num_frames)
            samples = _read_mono(decoder, path, num_frames, start)
            if len(samples) < num_frames:
                raise _ends_early(path, where, len(samples), num_frames)
            position = start + num_frames
            if decoder.sample_rate != sample_rate:
                samples = soxr.resample(samples, decoder.sample_rate, sample_rate, quality="HQ")
            yield np.ascontiguousarray(samples, dtype=np.float32)


def _mono_blocks(decoder: Decoder, path: Path, block_frames: int) -> Iterator[np.ndarray]:
    position = 0
    while len(samples := _read_mono(decoder, path, block_frames, position)):
        position += len(samples)
        yield samples
    if decoder.num_frames is not None and position < decoder.num_frames:
        raise _ends_early(path, "the file", position, decoder.num_frames)


def _read_mono(decoder: Decoder, path: Path, num_frames: int, position: int) -> np.ndarray:
    """Next frames as the mean of their channels, float32 (num_frames,); ``position`` is for messages."""
    with _damage_named(path, position / decoder.sample_rate, (position + num_frames) / decoder.sample_rate):
        samples = decoder.read(num_frames)
    if not np.isfinite(samples).all():
        raise DataError(f"{path}: holds samples that are not finite numbers")
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)


def _skip(decoder: Decoder, path: Path, position: int, start: int) -> bool:
    """Go on to a frame; False if the file ends before it."""
    if decoder.can_seek:
        if decoder.num_frames is not None and start >= decoder.num_frames:
            return False
        if start > position:
            with _damage_named(path, position / decoder.sample_rate, start / decoder.sample_rate):
                decoder.seek(start)
        return True
    while position < start:
        passed = len(_read_mono(decoder, path, min(SKIP_FRAMES, start - position), position))
        if not passed:
            return False
        position += passed
    return True


@contextmanager
def _damage_named(path: Path, first_second: float, last_second: float) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # soundfile's own errors are of this class
        raise DataError(
            f"{path}: cannot be decoded between {first_second:.1f} and {last_second:.1f} s ({reason_of(error)}); the "
            "file is damaged, get it again or leave it out"
        ) from error


def _ends_early(path: Path, where: str, found: int, expected: int) -> DataError:
    return DataError(
        f"{path}: {where}: {found} frames, expected {expected}; the file is cut off or was replaced, get it again or "
        "leave it out"
    )
