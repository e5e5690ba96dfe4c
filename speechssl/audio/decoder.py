"""What every decoder of audio files is.

A frame is here what libsndfile calls one: a sample of each channel, at the file's own rate.
"""

from typing import Protocol

import numpy as np

from speechssl.audio.findings import Finding

SKIPPED_FRAMES = 1 << 16
"""Frames decoded at a time on the way to others."""


class Decoder(Protocol):
    """An open file that is decoded from its beginning."""

    format: str
    """libsndfile's name of the container, as in "WAV"; "FFmpeg" for what only FFmpeg reads."""
    sample_rate: int
    num_channels: int
    num_frames: int | None
    """None if only decoding tells."""
    can_seek: bool
    """Whether seeking is exact."""
    is_plain: bool
    """Whether the file is read as its header says."""
    is_float: bool
    """Whether the file holds floating-point numbers, which know no full scale."""
    findings: list[Finding]
    """What is to be said of the file; damage is added when it is met."""

    def read(self, num_frames: int) -> np.ndarray:
        """Next frames, float32 (num_frames, C); fewer only at the end."""

    def seek(self, frame: int) -> None:
        """Go to a frame, if ``can_seek``; else somewhere near it, if the number of frames is known."""

    def close(self) -> None:
        """Let go of the file."""


def skip(decoder: Decoder, num_frames: int) -> bool:
    """Decode frames and forget them; False if there are not so many."""
    while num_frames > 0:
        passed = len(decoder.read(min(SKIPPED_FRAMES, num_frames)))
        if not passed:
            return False
        num_frames -= passed
    return True


def reason_of(error: Exception) -> str:
    """Last line of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
