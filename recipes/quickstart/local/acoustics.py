"""From the synthesiser's dry voice to a recording: rooms, telephone bands and noise, in exact integer arithmetic.

Every sample is an integer sum of integer products, so that it is the same on every platform. Filter coefficients and
gains come from `math` once, rounded to 15 bits: no value lies near enough to a rounding boundary for the last digits of
a platform's sine to matter (a test holds that).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from draws import Draws
from synthesis import SAMPLE_RATE as DRY_RATE

SAMPLE_RATE = 16000
"""Samples per second of the corpus."""

_ONE = 1 << 15
_UP, _DOWN = 320, 441
_TAPS_PER_PHASE = 24
_BAND_TAPS = 201
_MAX_NOISE_WIDTH = 12


def record(dry: bytes, draws: Draws) -> np.ndarray:
    """One utterance as recorded, int16 (S,): room, noise, line and level are drawn.

    `dry` is little-endian 16-bit PCM at 22,050 Hz. Raises ValueError when it is silent.
    """
    speech = _with_margins(resample(np.frombuffer(dry, dtype="<i2").astype(np.int64)), draws)
    speech = reverberate(speech, draws)
    noisy = speech + noise_at(speech, draws.integer(16, 36), draws)
    if draws.integer(0, 3) == 0:
        noisy = convolve(noisy, band_filter())
    return _levelled(noisy, draws.integer(17, 29))


def exact_resampling_filter() -> list[list[float]]:
    """The windowed sinc of `resample` before rounding, (phase, tap), each phase scaled to sum to 2**15."""
    cutoff = 0.92 * SAMPLE_RATE / DRY_RATE
    half = _TAPS_PER_PHASE // 2
    phases = []
    for phase in range(_UP):
        # Output sample n lies phase/_UP after input sample n * _DOWN // _UP.
        times = [(tap - half + 1) - phase / _UP for tap in range(_TAPS_PER_PHASE)]
        taps = [_sinc(cutoff * t) * (0.5 + 0.5 * math.cos(math.pi * t / half)) for t in times]
        scale = _ONE / math.fsum(taps)
        phases.append([tap * scale for tap in taps])
    return phases


def exact_band_filter() -> list[float]:
    """The 300 to 3400 Hz band pass before rounding, (tap,), unit gain being 2**15."""
    half = _BAND_TAPS // 2
    taps = []
    for n in range(-half, half + 1):
        ideal = sum(sign * 2 * f / SAMPLE_RATE * _sinc(2 * f * n / SAMPLE_RATE) for sign, f in ((1, 3400), (-1, 300)))
        taps.append(_ONE * ideal * (0.54 + 0.46 * math.cos(math.pi * n / half)))
    return taps


def exact_attenuations() -> list[float]:
    """Amplitudes that lie 0, 1, ... 40 dB below 2**15, before rounding."""
    return [_ONE * 10 ** (-ratio / 20) for ratio in range(41)]


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)


@cache
def resampling_filter() -> np.ndarray:
    """Coefficients of the 320/441 polyphase filter, int64 (phase, tap)."""
    return np.array([[round(tap) for tap in phase] for phase in exact_resampling_filter()], dtype=np.int64)


@cache
def band_filter() -> np.ndarray:
    """Coefficients of the telephone band, int64 (tap,)."""
    return np.array([round(tap) for tap in exact_band_filter()], dtype=np.int64)


def _scaled(total: np.ndarray) -> np.ndarray:
    return (total + _ONE // 2) >> 15


def resample(wave: np.ndarray) -> np.ndarray:
    """22,050 Hz to 16,000 Hz, int64 (S,) to int64 (S,)."""
    half = _TAPS_PER_PHASE // 2
    num_blocks = -(-len(wave) // _DOWN)
    num_samples = len(wave) * _UP // _DOWN
    padded = np.zeros(num_blocks * _DOWN + _TAPS_PER_PHASE, dtype=np.int64)
    padded[half - 1 : half - 1 + len(wave)] = wave
    first = np.arange(_UP) * _DOWN // _UP
    phases = resampling_filter()[np.arange(_UP) * _DOWN % _UP]
    total = np.zeros((num_blocks, _UP), dtype=np.int64)
    for tap in range(_TAPS_PER_PHASE):
        block = padded[tap : tap + num_blocks * _DOWN].reshape(num_blocks, _DOWN)
        total += block[:, first] * phases[:, tap]
    return _scaled(total.reshape(-1)[:num_samples])


def convolve(wave: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """FIR filter without delay, int64 (S,) to int64 (S,)."""
    return _scaled(np.convolve(wave, taps, mode="same"))


def _with_margins(wave: np.ndarray, draws: Draws) -> np.ndarray:
    """Cut the synthesiser's silence at both ends and leave 80 to 240 ms."""
    before, after = (draws.integer(SAMPLE_RATE * 2 // 25, SAMPLE_RATE * 6 // 25) for _ in range(2))
    loud = np.flatnonzero(np.abs(wave) * 128 > np.abs(wave).max(initial=0))
    if loud.size == 0:
        raise ValueError("the synthesiser was silent")
    return np.pad(wave[loud[0] : loud[-1] + 1], (before, after))


def reverberate(wave: np.ndarray, draws: Draws) -> np.ndarray:
    """Half dry, the others through a sparse impulse response: the direct sound and 12 to 32 decaying reflections."""
    if draws.integer(0, 1):
        return wave
    half_life = draws.integer(SAMPLE_RATE * 5 // 1000, SAMPLE_RATE * 25 // 1000)
    first = draws.integer(_ONE // 10, _ONE * 3 // 10)
    total = wave * _ONE
    for _ in range(draws.integer(12, 32)):
        delay = draws.integer(SAMPLE_RATE * 3 // 1000, min(6 * half_life, len(wave) - 1))
        halvings, rest = divmod(delay, half_life)
        gain = (first >> halvings) * (2 * half_life - rest) // (2 * half_life)
        total[delay:] += wave[:-delay] * (gain if draws.integer(0, 1) else -gain)
    return _scaled(total)


def noise_at(speech: np.ndarray, ratio: int, draws: Draws) -> np.ndarray:
    """White or low-pitched noise `ratio` dB (0 to 40) below the speech, int64 (S,); the margins count as speech."""
    noise = draws.noise(len(speech) + 2 * _MAX_NOISE_WIDTH) >> 4
    if draws.integer(0, 1):
        for _ in range(2):
            noise = _moving_sum(noise, draws.integer(2, _MAX_NOISE_WIDTH))
    noise = noise[: len(speech)]
    # Python integers, which do not overflow: the gain in units of 2**-30.
    equal = math.isqrt((_energy(speech) << 60) // max(_energy(noise), 1))
    gain = equal * round(exact_attenuations()[ratio]) // _ONE
    return (noise * gain + (1 << 29)) >> 30


def _moving_sum(wave: np.ndarray, width: int) -> np.ndarray:
    sums = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(wave)])
    return sums[width:] - sums[:-width]


def _energy(wave: np.ndarray) -> int:
    return int(np.dot(wave, wave))


def _levelled(wave: np.ndarray, decibels: int) -> np.ndarray:
    """Scale to a root mean square `decibels` below full scale, or less if that would clip; int16 (S,)."""
    target = round(exact_attenuations()[decibels])
    gain = target * _ONE // max(math.isqrt(_energy(wave) // len(wave)), 1)
    gain = min(gain, 32000 * _ONE // max(int(np.abs(wave).max()), 1))
    return _scaled(wave * gain).astype(np.int16)
