"""What may lie between a speaker and a recogniser: noise at an exact level, rooms, a telephone line, codecs.

Everything is a pure function of the recording, its key, and the training recordings or the noise that are given: each
model hears the same noise, and one recording has the same noise at every level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfftfreq
from scipy.signal import welch

from speechssl.audio.augmentation import (
    active_power,
    excerpt,
    mean_power,
    mix,
    reverberate,
    synthetic_response,
    without_clipping,
)
from speechssl.audio.codings import Codec, through_codec, through_telephone
from speechssl.audio.reading import Samples
from speechssl.errors import DataError
from speechssl.seeding import Purpose, numpy_generator
from speechssl.shards.table import key_hash

RATE = 16000
SNRS_DB = (20, 10, 5, 0)
ROOMS = {"room_0.3s": (0.3, 6.0), "room_0.6s": (0.6, 3.0), "room_1.0s": (1.0, 0.0)}
"""Reverberation time in seconds, and energy of the direct path over that of the rest in dB."""
CODECS: tuple[Codec, ...] = ("mp3", "opus")
NUM_VOICES = 8
"""In babble: fewer can be understood, and many more are speech-shaped noise."""
SEED = 0

Draw = Callable[[int, np.random.Generator], Samples]
"""Noise of a length, of no particular level, float32 (S,)."""


class Condition(NamedTuple):
    """Something that is done to each recording."""

    name: str
    family: str
    apply: Callable[[Samples, str], Samples]
    """From float32 (S,) at 16 kHz, and its key, to as many samples."""
    snr_db: int | None = None


def make_conditions(noises: Mapping[str, Draw]) -> list[Condition]:
    """All conditions: each kind of noise at each level, rooms, telephone and codecs."""
    conditions = [
        Condition(f"{kind}_{snr_db}db", kind, _noisy(kind, draw, snr_db), snr_db)
        for kind, draw in noises.items()
        for snr_db in SNRS_DB
    ]
    conditions += [Condition(name, "room", _room(*figures)) for name, figures in ROOMS.items()]
    conditions.append(Condition("telephone", "channel", _telephone))
    return conditions + [Condition(f"codec_{codec}", "channel", _codec(codec)) for codec in CODECS]


def at_snr(audio: Samples, noise: Samples, snr_db: float) -> Samples:
    """Speech in noise, where the mean power of the speech, pauses and all, over that of the noise is exactly this.

    Both powers are mean squares over the whole recording. Where the sum would clip, all of it is made quieter.
    """
    return without_clipping(mix(audio, noise, snr_db, mean_power(audio), mean_power(noise)))


def babble(voices: Mapping[str, Samples]) -> Draw:
    """Several people who talk at once, equally loud, of other voices and words for each recording.

    Args:
        voices: what each person says, one recording after the other, float32 (S,).

    Raises:
        DataError: there are fewer people than babble takes.
    """
    if len(voices) < NUM_VOICES:
        raise DataError(
            f"babble takes {NUM_VOICES} training speakers, found {len(voices)} with audio that is not silent"
        )
    levelled = [audio / math.sqrt(active_power(audio, RATE)) for _, audio in sorted(voices.items())]

    def draw(length: int, rng: np.random.Generator) -> Samples:
        chosen = rng.choice(len(levelled), NUM_VOICES, replace=False)
        return np.sum([excerpt(levelled[i], length, rng) for i in chosen], axis=0)

    return draw


def speech_shaped(voices: Mapping[str, Samples]) -> Draw:
    """Steady Gaussian noise with the long-term average spectrum of these people, as in tests of hearing.

    Args:
        voices: as of ``babble``.
    """
    powers = []
    for _, audio in sorted(voices.items()):
        frequencies, power = welch(audio.astype(np.float64), RATE, nperseg=512)
        powers.append(power / power.mean())
    amplitudes = np.sqrt(np.mean(powers, axis=0))

    def draw(length: int, rng: np.random.Generator) -> Samples:
        num_samples = next_fast_len(max(length, RATE // 10), real=True)
        heights = np.interp(rfftfreq(num_samples, 1 / RATE), frequencies, amplitudes)
        heights[0] = 0  # no offset
        parts = rng.standard_normal((2, len(heights)))
        noise = irfft((parts[0] + 1j * parts[1]) * heights, num_samples)[:length]
        return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)

    return draw


def recorded(recordings: Sequence[Samples]) -> Draw:
    """An excerpt of one of these recordings of noise; one that is too short is repeated."""

    def draw(length: int, rng: np.random.Generator) -> Samples:
        return excerpt(recordings[int(rng.integers(len(recordings)))], length, rng)

    return draw


def _noisy(kind: str, draw: Draw, snr_db: int) -> Callable[[Samples, str], Samples]:
    def apply(audio: Samples, key: str) -> Samples:
        return at_snr(audio, draw(len(audio), _generator(kind, key)), snr_db)

    return apply


def _room(rt60_seconds: float, direct_to_reverberant_db: float) -> Callable[[Samples, str], Samples]:
    def apply(audio: Samples, key: str) -> Samples:
        rng = _generator("room", key)
        return without_clipping(
            reverberate(audio, synthetic_response(RATE, rt60_seconds, direct_to_reverberant_db, rng))
        )

    return apply


def _telephone(audio: Samples, key: str) -> Samples:
    return without_clipping(through_telephone(audio, RATE, "mulaw"))


def _codec(codec: Codec) -> Callable[[Samples, str], Samples]:
    def apply(audio: Samples, key: str) -> Samples:
        return without_clipping(through_codec(audio, RATE, codec, quality=0.0))

    return apply


def _generator(kind: str, key: str) -> np.random.Generator:
    """Of what is drawn for a recording; the same at every level."""
    return numpy_generator(SEED, Purpose.CONDITIONS, key_hash(kind), key_hash(key))
