"""Audio on standard input: a file of any format, or raw samples as they come."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import BinaryIO

import numpy as np
import soxr

from speechssl.errors import ConfigError, DataError

MAX_WAITING = 2048
"""Reads of raw samples that may wait for the model, of at most 64 KiB each: 70 minutes at 16 kHz in whole ones."""
_READ_BYTES = 1 << 16
_FILES = {b"RIFF": "a WAV file", b"fLaC": "a FLAC file", b"OggS": "an Ogg file", b"caff": "a CAF file"}
"""By their first bytes."""


@contextmanager
def copied_input() -> Iterator[Path]:
    """A copy of what standard input brings, which can be read from any place; gone in the end.

    Raises:
        ConfigError: standard input is closed.
    """
    with tempfile.NamedTemporaryFile(prefix="standard_input_") as copy:
        shutil.copyfileobj(standard_input(), copy)
        copy.flush()
        yield Path(copy.name)


def standard_input() -> BinaryIO:
    """Its bytes.

    Raises:
        ConfigError: it is closed.
    """
    if sys.stdin is None:
        raise ConfigError("standard input is closed; give a file, or a pipe to read from")
    return sys.stdin.buffer


def live_blocks(source: BinaryIO, from_rate: int, sample_rate: int, block_seconds: float) -> Iterator[np.ndarray]:
    """Raw samples as they come, signed 16 bit, little-endian, one channel; half of one at the end is dropped.

    They are read in a thread of their own, so that who writes them never waits for the model. What came while a block
    was in use is the next block.

    Args:
        source: of bytes, with ``read1``.
        from_rate: of the samples, in Hz.
        sample_rate: wanted rate in Hz; others are resampled by soxr at high quality.
        block_seconds: least audio of a block, but for the last.

    Yields:
        float32 in -1..1, (block,).

    Raises:
        DataError: a file comes, not raw samples.
    """
    waiting: Queue[bytes] = Queue(MAX_WAITING)
    Thread(target=_pump, args=(source, waiting), daemon=True).start()
    resample = soxr.ResampleStream(from_rate, sample_rate, 1, dtype="float32", quality="HQ")
    least, is_over, left = max(2, 2 * round(block_seconds * from_rate)), False, b""
    while not is_over:
        parts, size = [left], len(left)
        while not is_over and (size < least or not waiting.empty()):
            data = waiting.get()
            if size == 0 and (kind := _FILES.get(data[:4])) is not None:
                raise DataError(
                    f"standard input begins as {kind} does, expected raw samples; give - and no --stream for a file"
                )
            is_over = not data
            parts.append(data)
            size += len(data)
        together = b"".join(parts)
        whole = len(together) // 2 * 2
        samples, left = np.frombuffer(together[:whole], "<i2").astype(np.float32) / 32768, together[whole:]
        yield samples if from_rate == sample_rate else resample.resample_chunk(samples, last=is_over)


def _pump(source: BinaryIO, waiting: "Queue[bytes]") -> None:
    """Read until the end, which is an empty read."""
    data = b"."
    while data:
        data = source.read1(_READ_BYTES)  # type: ignore[attr-defined]
        waiting.put(data)
