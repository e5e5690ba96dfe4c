"""Resampling to a wanted rate and length."""

import numpy as np
import soxr

from speechssl.audio.reading import Samples


def resample(audio: Samples, from_rate: float, to_rate: float, *, length: int | None = None) -> Samples:
    """Resample float32 (S,) by soxr at high quality.

    Args:
        audio: at least one sample.
        from_rate: its sample rate in Hz.
        to_rate: wanted sample rate in Hz.
        length: wanted number of samples, if not S * to_rate / from_rate, rounded, and at least 1.

    Returns:
        Float32 (length,); ``audio`` itself if nothing changes.
    """
    if length is None:
        length = max(1, round(len(audio) * to_rate / from_rate))
    if from_rate != to_rate:
        audio = soxr.resample(audio, from_rate, to_rate, quality="HQ")
    return fit(audio, length)


def fit(audio: Samples, length: int) -> Samples:
    """Cut or extend by silence to a length; the audio itself if it has it."""
    if len(audio) >= length:
        return audio if len(audio) == length else audio[:length]
    return np.pad(audio, (0, length - len(audio)))
