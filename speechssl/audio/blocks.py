"""Audio files of any format and length, as mono blocks or as pieces, in memory that does not grow with them.

A frame is here what libsndfile calls one: a sample of each channel, at the file's own rate.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr

from speechssl.audio.decoders import Decoder, opened
from speechssl.audio.findings import AudioError, Finding, log_findings, reason_of
from speechssl.audio.inspection import (
    EVERYTHING,
    AudioInfo,
    Choice,
    inspect,
    note_early_end,
    read_frames,
)
from speechssl.audio.sndfile import SKIPPED_FRAMES


def probe(path: Path) -> AudioInfo:
    """What a file holds, from its header where that can be trusted, else by decoding it once.

    Raises:
        AudioError: missing, unreadable or empty; damaged, if it has to be decoded.
    """
    return inspect(path, judges_channels=False).info


def read_blocks(
    path: Path, block_seconds: float = 30.0, choice: Choice = EVERYTHING, findings: list[Finding] | None = None
) -> Iterator[np.ndarray]:
    """Read a file from beginning to end.

    Args:
        path: audio file of any format.
        block_seconds: length of the blocks; only one is in memory.
        choice: what is heard.
        findings: what is met on the way, as damage, is appended.

    Yields:
        Mean of the channels at the file's own rate, float32 (block,); the last is shorter. They hold the same
        samples for any length of block.

    Raises:
        AudioError: missing, unreadable, damaged so that nothing can be read behind it, or with samples that are not
            finite.
    """
    with opened(path) as decoder:
        num_known = len(decoder.findings)
        yield from _mono_blocks(decoder, path, max(1, round(block_seconds * decoder.sample_rate)), choice)
        if findings is not None:
            findings += decoder.findings[num_known:]


def read_blocks_at(path: Path, sample_rate: int, block_seconds: float = 30.0) -> Iterator[np.ndarray]:
    """The same at another rate, with what is best to be heard: together the samples that soxr makes of the whole file.

    What is noticed, as a file that is cut off, is logged.

    Args:
        path: audio file of any format.
        sample_rate: wanted rate in Hz.
        block_seconds: length of the blocks.

    Yields:
        Mean of the channels, float32; blocks differ in length, and some may be empty.

    Raises:
        AudioError: as ``read_blocks``.
    """
    with opened(path) as decoder:
        is_certain = decoder.num_channels == 1 and (not decoder.is_float or decoder.num_frames is None)
        inspection = None if is_certain else inspect(path)
        choice = EVERYTHING if inspection is None else inspection.choice
        blocks = _mono_blocks(decoder, path, max(1, round(block_seconds * decoder.sample_rate)), choice)
        if decoder.sample_rate == sample_rate:
            yield from blocks
        else:
            stream = soxr.ResampleStream(decoder.sample_rate, sample_rate, 1, dtype="float32", quality="HQ")
            yield from map(stream.resample_chunk, blocks)
            yield stream.resample_chunk(np.empty(0, np.float32), last=True)
        log_findings(path, decoder.findings + (inspection.findings if inspection is not None else []))


def read_range(
    path: Path, start_frame: int, num_frames: int, sample_rate: int, choice: Choice = EVERYTHING
) -> np.ndarray:
    """Read one piece of a file; for several of the same file use ``read_ranges``.

    Args:
        path: audio file of any format.
        start_frame: first frame, at the file's own rate.
        num_frames: length, at the file's own rate.
        sample_rate: wanted rate in Hz; the piece is resampled as a whole by soxr at high quality.
        choice: what is heard.

    Returns:
        Mean of the channels, float32 (S,).

    Raises:
        AudioError: as ``read_ranges``.
    """
    return next(read_ranges(path, [(start_frame, num_frames)], sample_rate, choice))


def read_ranges(
    path: Path,
    ranges: Iterable[tuple[int, int]],
    sample_rate: int,
    choice: Choice = EVERYTHING,
    findings: list[Finding] | None = None,
) -> Iterator[np.ndarray]:
    """Read pieces of a file while decoding it once: one by one, an hour of MP3 would be decoded for each of them.

    Args:
        path: audio file of any format.
        ranges: (first frame, number of frames) of each piece at the file's own rate, in order and without overlap.
        sample_rate: wanted rate in Hz; each piece is resampled as a whole by soxr at high quality.
        choice: what is heard.
        findings: what is met on the way to a piece and in it, as damage, is appended before it is given.

    Yields:
        Mean of the channels of each piece, float32 (S,). A piece is shorter where the file ends before its header says.

    Raises:
        AudioError: missing, unreadable, damaged so that nothing can be read behind it, with samples that are not
            finite, or without the frames of a piece.
    """
    with opened(path) as decoder:
        position = 0
        num_known = len(decoder.findings)
        for start, num_frames in ranges:
            if start < position or num_frames < 1:
                raise ValueError(f"piece ({start}, {num_frames}) after frame {position}: not in order, or empty")
            samples = _read_piece(decoder, path, position, start, num_frames)
            position = start + num_frames
            if findings is not None:
                findings += decoder.findings[num_known:]
                num_known = len(decoder.findings)
            mono = choice.of(samples)
            if decoder.sample_rate != sample_rate:
                mono = soxr.resample(mono, decoder.sample_rate, sample_rate, quality="HQ")
            yield np.ascontiguousarray(mono, dtype=np.float32)


def _read_piece(decoder: Decoder, path: Path, position: int, start: int, num_frames: int) -> np.ndarray:
    where = f"frames {start} to {start + num_frames}"
    if not _skip(decoder, path, position, start):
        raise _lacks(path, where, 0, num_frames)
    samples = read_frames(decoder, path, num_frames)
    if len(samples) < num_frames:
        # A file that has less than its header says is one thing, a piece that it never had another.
        if not len(samples) or decoder.num_frames is None or start + num_frames > decoder.num_frames:
            raise _lacks(path, where, len(samples), num_frames)
        note_early_end(decoder, start + len(samples))
    return samples


def _mono_blocks(decoder: Decoder, path: Path, block_frames: int, choice: Choice) -> Iterator[np.ndarray]:
    position = 0
    while len(samples := read_frames(decoder, path, block_frames)):
        position += len(samples)
        yield choice.of(samples)
    note_early_end(decoder, position)


def _skip(decoder: Decoder, path: Path, position: int, start: int) -> bool:
    """Go on to a frame; False if the file ends before it."""
    if decoder.can_seek:
        if decoder.num_frames is not None and start >= decoder.num_frames:
            return False
        if start > position:
            try:
                decoder.seek(start)
            except RuntimeError as error:
                second = start / decoder.sample_rate
                raise AudioError(
                    f"{path}: cannot be decoded at {second:.2f} s ({reason_of(error)}); the file is damaged, get it "
                    "again or leave it out",
                    "damaged",
                ) from error
        return True
    while position < start:
        passed = len(read_frames(decoder, path, min(SKIPPED_FRAMES, start - position)))
        if not passed:
            return False
        position += passed
    return True


def _lacks(path: Path, where: str, found: int, expected: int) -> AudioError:
    return AudioError(
        f"{path}: {where}: {found} frames, expected {expected}; the file is cut off or was replaced, get it again or "
        "leave it out",
        "cut off",
    )
