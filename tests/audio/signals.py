"""Signals for the tests of audio, and what can be measured in them."""

import math

import numpy as np

from speechssl.audio.augmentation import coloured_noise

RATE = 16000


def draws(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def voice(num_samples: int, rate: int = RATE, *, level: float = 0.02, seed: int = 1) -> np.ndarray:
    """Coloured noise with parts that are 20 dB below the rest, and pauses 40 dB below: something like syllables."""
    noise = coloured_noise(max(num_samples, rate), rate, 1.0, draws(seed))[:num_samples]
    envelope = np.array([1, 0.1, 0.01])[np.arange(num_samples) // (rate // 5) % 3]
    audio = (level / math.sqrt(np.mean(noise**2)) * noise * envelope).astype(np.float32)
    audio.flags.writeable = False
    return audio


def decibels(ratio: float) -> float:
    return 10 * math.log10(ratio)


def delay(changed: np.ndarray, audio: np.ndarray) -> int:
    """Samples by which the second is late in the first."""
    size = 2 * len(audio)
    correlation = np.fft.irfft(np.fft.rfft(changed, size) * np.conj(np.fft.rfft(audio, size)), size)
    peak = int(np.argmax(correlation))
    return peak if peak < len(audio) else peak - size


def band_level(audio: np.ndarray, low: float, high: float, rate: int = RATE) -> float:
    """Mean power of a band, in dB."""
    powers = np.abs(np.fft.rfft(audio.astype(np.float64) * np.hanning(len(audio)))) ** 2
    frequencies = np.fft.rfftfreq(len(audio), 1 / rate)
    return decibels(float(powers[(frequencies >= low) & (frequencies < high)].mean()))
