"""Augmentation: what may have happened to a recording before it is heard, drawn anew for each sample.

The stages follow the sound: the room, what else sounds in it, the telephone line, the file, the level. Every stage is
a pure function of the audio and of what it rng, and none moves the speech in time.

A signal-to-noise ratio is one of mean powers. That of speech is taken over its active frames, so that pauses do not
count (``active_power``); that of noise over all that is added.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeVar, get_args

import numpy as np
import soundfile
from scipy.fft import irfft, next_fast_len, rfftfreq
from scipy.signal import correlate, oaconvolve

from speechssl.audio.codings import TELEPHONE_RATE, Codec, coding_rate, through_codec, through_file, through_telephone
from speechssl.audio.reading import Samples
from speechssl.audio.resampling import resample
from speechssl.config import AugmentationConfig
from speechssl.errors import ConfigError

Choice = TypeVar("Choice")

ACTIVE_FRAME_SECONDS = 0.02
ACTIVE_RANGE_DB = 30.0  # below the loudest frame; speech is quieter only in pauses and the weakest consonants
LOWEST_NOISE_HZ = 50.0  # coloured noise is flat below: nearly all of its power would lie where there is no speech
MAX_DELAY_SAMPLES = 4


class AudioPool(Protocol):
    """Recordings to draw from, all of one sample rate."""

    def __len__(self) -> int: ...

    def audio(self, i: int) -> Samples:
        """Recording ``i``, float32 (S,), not to be written to."""


class Response(NamedTuple):
    """Impulse response of a room."""

    samples: Samples
    direct: int
    """Position of the direct path, in samples."""


class _Stage(NamedTuple):
    prob: float
    apply: Callable[[Samples, np.random.Generator], Samples]


class Augmenter:
    """Applies the stages of a configuration, each with its own probability.

    Args:
        config: probabilities and ranges.
        sample_rate: of all audio, in Hz.
        noise: noise to add; without it, noise of a drawn colour.
        speech: utterances to mix in.
        responses: impulse responses of rooms; without them, synthetic ones.

    Raises:
        ConfigError: names what libsndfile cannot do, and recordings that are missing.
    """

    def __init__(
        self,
        config: AugmentationConfig,
        sample_rate: int,
        noise: AudioPool | None = None,
        speech: AudioPool | None = None,
        responses: AudioPool | None = None,
    ) -> None:
        problems = _problems(config, sample_rate)
        if config.speech.prob > 0 and speech is None:
            problems.append(
                f"augmentation.speech.prob is {config.speech.prob:g}, but there are no utterances to mix in; "
                "name their shards in augmentation.speech.shards, or set it to 0"
            )
        for name, pool in (("noise", noise), ("speech", speech), ("reverberation", responses)):
            if pool is not None and len(pool) == 0:
                problems.append(f"augmentation.{name}.shards: they hold no samples; name others, or none")
        if problems:
            raise ConfigError("\n".join(problems))
        self.config = config
        self.sample_rate = sample_rate
        self._noise, self._speech, self._responses = noise, speech, responses
        self._stages = (
            _Stage(config.reverberation.prob, self._reverberate),
            _Stage(config.noise.prob, self._add_noise),
            _Stage(config.speech.prob, self._mix_speech),
            _Stage(config.telephone.prob, self._telephone),
            _Stage(config.codec.prob, self._codec),
            _Stage(config.gain.prob, self._gain),
        )

    def augment(self, audio: Samples, rng: np.random.Generator) -> Samples:
        """Everything but the change of speed.

        Each stage has a generator of its own, so that switching one on or off leaves what the others draw as it was.

        Args:
            audio: float32 (S,), at least one sample; not written to.
            rng: generator of this sample; the result depends on its state and on the audio alone.

        Returns:
            Float32 (S,), within -1..1; ``audio`` itself if no stage was drawn.
        """
        if not any(stage.prob for stage in self._stages):
            return audio
        changed = audio
        for stage, seed in zip(self._stages, rng.integers(2**63, size=len(self._stages)), strict=True):
            stage_draws = np.random.Generator(np.random.PCG64(int(seed)))
            if stage_draws.random() < stage.prob:
                changed = stage.apply(changed, stage_draws)
        return audio if changed is audio else without_clipping(changed)

    def change_speed(self, audio: Samples, rng: np.random.Generator) -> Samples:
        """Faster or slower, by resampling: the length changes.

        Args:
            audio: float32 (S,), at least one sample; not written to.
            rng: generator of this sample; ``speed_factor`` draws the same from one in the same state.

        Returns:
            Float32 (S / factor,), rounded, at least one sample; ``audio`` itself if the factor is 1.
        """
        factor = self.speed_factor(rng)
        return audio if factor == 1 else resample(audio, self.sample_rate * factor, self.sample_rate)

    def speed_factor(self, rng: np.random.Generator) -> float:
        """The factor that ``change_speed`` applies, to plan lengths without audio."""
        config = self.config.speed
        return _choose(config.factors, rng) if rng.random() < config.prob else 1.0

    def _reverberate(self, audio: Samples, rng: np.random.Generator) -> Samples:
        config = self.config.reverberation
        if self._responses is not None:
            return reverberate(audio, measured_response(_draw_from(self._responses, rng)))
        rt60_seconds = rng.uniform(*config.rt60_seconds)
        ratio_db = rng.uniform(*config.direct_to_reverberant_db)
        return reverberate(audio, synthetic_response(self.sample_rate, rt60_seconds, ratio_db, rng))

    def _add_noise(self, audio: Samples, rng: np.random.Generator) -> Samples:
        config = self.config.noise
        snr_db = rng.uniform(*config.snr_db)
        if self._noise is not None:
            noise = excerpt(_draw_from(self._noise, rng), len(audio), rng)
        else:
            noise = coloured_noise(len(audio), self.sample_rate, rng.uniform(*config.slope), rng)
        powers = active_power(audio, self.sample_rate), mean_power(noise)
        return mix(audio, noise, snr_db, *powers)

    def _mix_speech(self, audio: Samples, rng: np.random.Generator) -> Samples:
        """Length, places and ratio of the overlap are drawn as in WavLM (Chen et al. 2022, section IV-B)."""
        config = self.config.speech
        longest = int(config.max_share * len(audio))
        if self._speech is None or not longest:
            return audio
        other = _draw_from(self._speech, rng)
        length = min(int(rng.integers(1, longest + 1)), len(other))
        start = int(rng.integers(len(audio) - length + 1))
        # The whole utterances set the level, not what happens to overlap, or a pause would be raised to that of speech.
        powers = active_power(audio, self.sample_rate), active_power(other, self.sample_rate)
        overlap = slice(start, start + length)
        changed = audio.copy()
        changed[overlap] = mix(audio[overlap], excerpt(other, length, rng), rng.uniform(*config.snr_db), *powers)
        return changed

    def _telephone(self, audio: Samples, rng: np.random.Generator) -> Samples:
        return through_telephone(audio, self.sample_rate, _choose(self.config.telephone.codings, rng))

    def _codec(self, audio: Samples, rng: np.random.Generator) -> Samples:
        config = self.config.codec
        return through_codec(audio, self.sample_rate, _choose(config.codecs, rng), rng.uniform(*config.quality))

    def _gain(self, audio: Samples, rng: np.random.Generator) -> Samples:
        return audio * 10 ** (rng.uniform(*self.config.gain.gain_db) / 20)


def mean_power(audio: Samples) -> float:
    """Mean square of (S,)."""
    return _energy(audio) / len(audio)


def active_power(audio: Samples, sample_rate: int) -> float:
    """Mean power of (S,) over its active frames: those of 20 ms within 30 dB of the loudest; 0 for silence."""
    starts = np.arange(0, len(audio), max(1, round(ACTIVE_FRAME_SECONDS * sample_rate)))
    energies = np.add.reduceat(np.square(audio, dtype=np.float64), starts)  # (frames,)
    lengths = np.diff(np.append(starts, len(audio)))
    powers = energies / lengths
    active = powers >= powers.max() * 10 ** (-ACTIVE_RANGE_DB / 10)
    return float(energies[active].sum() / lengths[active].sum())


def mix(audio: Samples, other: Samples, snr_db: float, audio_power: float, other_power: float) -> Samples:
    """Add a second sound at a signal-to-noise ratio.

    Args:
        audio: float32 (S,).
        other: float32 (S,).
        snr_db: ratio of the first power to the second, as they are in the result, in dB.
        audio_power: mean power of the speech in ``audio``.
        other_power: mean power of ``other`` before it is scaled.

    Returns:
        Float32 (S,); ``audio`` itself if either is silent, since there is no ratio to silence.
    """
    if audio_power == 0 or other_power == 0:
        return audio
    gain = math.sqrt(audio_power / other_power) * 10 ** (-snr_db / 20)
    return (audio + gain * other.astype(np.float64)).astype(np.float32)  # the gain of a faint sound may exceed float32


def excerpt(audio: Samples, length: int, rng: np.random.Generator) -> Samples:
    """A part of (S,) from a drawn offset, (length,); what is too short is repeated."""
    if len(audio) >= length:
        start = int(rng.integers(len(audio) - length + 1))
        return audio[start : start + length]
    return np.resize(np.roll(audio, -int(rng.integers(len(audio)))), length)


def coloured_noise(length: int, sample_rate: int, slope: float, rng: np.random.Generator) -> Samples:
    """Gaussian noise whose power falls as ``1 / f**slope`` above 50 Hz, of no particular level, float32 (length,)."""
    num_samples = next_fast_len(max(length, sample_rate // 10), real=True)
    frequencies = np.maximum(rfftfreq(num_samples, 1 / sample_rate), LOWEST_NOISE_HZ)
    amplitudes = (frequencies / LOWEST_NOISE_HZ).astype(np.float32) ** np.float32(-slope / 2)
    amplitudes[0] = 0  # no offset
    parts = rng.standard_normal((2, len(amplitudes)), dtype=np.float32)
    return irfft((parts[0] + np.complex64(1j) * parts[1]) * amplitudes, num_samples)[:length]


def synthetic_response(
    sample_rate: int, rt60_seconds: float, direct_to_reverberant_db: float, rng: np.random.Generator
) -> Response:
    """A direct path, then Gaussian noise that decays by 60 dB in the given time (Polack's model of late reverberation).

    Args:
        sample_rate: Hz.
        rt60_seconds: time of decay by 60 dB, where the response ends.
        direct_to_reverberant_db: energy of the direct path over that of the rest, in dB.
        rng: source of the noise.
    """
    num_samples = max(2, round(rt60_seconds * sample_rate))
    decay = np.logspace(0, -3, num_samples, dtype=np.float32)  # 60 dB are a factor of 1000 in amplitude
    samples = decay * rng.standard_normal(num_samples, dtype=np.float32)
    samples[0] = math.sqrt(_energy(samples[1:])) * 10 ** (direct_to_reverberant_db / 20)
    return Response(samples, 0)


def measured_response(samples: Samples) -> Response:
    """A recorded response (R,); the direct path is the first peak of at least half the highest."""
    # A strong reflection may be higher than the direct path, but what comes before that path is far lower.
    magnitudes = np.abs(samples)
    return Response(samples, int(np.argmax(magnitudes >= magnitudes.max() / 2)))


def reverberate(audio: Samples, response: Response) -> Samples:
    """Convolve with a response; the direct path stays where the sound was, and the energy is kept.

    Returns:
        Float32 (S,); ``audio`` itself if either is silent.
    """
    wet = oaconvolve(audio, response.samples)[response.direct :][: len(audio)]
    energy, wet_energy = _energy(audio), _energy(wet)
    if energy == 0 or wet_energy == 0:
        return audio
    return (wet * math.sqrt(energy / wet_energy)).astype(np.float32)


def without_clipping(audio: Samples) -> Samples:
    """Float32 (S,) within -1..1: itself, or all of it made quieter."""
    peak = np.abs(audio).max()
    return audio / peak if peak > 1 else audio


def _energy(audio: Samples) -> float:
    # In float64: the squares of what is merely faint vanish in float32.
    return float(np.square(audio, dtype=np.float64).sum())


def _draw_from(pool: AudioPool, rng: np.random.Generator) -> Samples:
    return pool.audio(int(rng.integers(len(pool))))


def _choose(items: Sequence[Choice], rng: np.random.Generator) -> Choice:
    return items[int(rng.integers(len(items)))]


def _problems(config: AugmentationConfig, sample_rate: int) -> list[str]:
    """What cannot be done to audio of a sample rate, a line each."""
    problems = []
    if config.telephone.prob > 0:
        problems += _unusable("telephone.codings", config.telephone.codings, TELEPHONE_RATE)
        if sample_rate < TELEPHONE_RATE:
            problems.append(
                f"augmentation.telephone.prob: expected audio of {TELEPHONE_RATE} Hz or more, "
                f"found {sample_rate} Hz; set it to 0"
            )
    if config.codec.prob > 0:
        problems += _unusable("codec.codecs", config.codec.codecs, sample_rate)
    return problems


def _unusable(field: str, codings: Sequence[str], sample_rate: int) -> list[str]:
    """Codings that this libsndfile does not have, or that would move the speech."""
    problems = []
    for coding in codings:
        if coding == "pcm":
            continue
        try:
            delay = _coding_delay(coding, coding_rate(coding, sample_rate))
        except (soundfile.LibsndfileError, ValueError) as error:
            problems.append(f"augmentation.{field}: libsndfile cannot write {coding} ({error}); leave it out")
            continue
        if abs(delay) > MAX_DELAY_SAMPLES:
            problems.append(
                f"augmentation.{field}: libsndfile {soundfile.__libsndfile_version__} moves {coding} by {delay} "
                f"samples, expected at most {MAX_DELAY_SAMPLES}; install a newer soundfile, or leave it out"
            )
    return problems


@lru_cache
def _coding_delay(coding: str, sample_rate: int) -> int:
    """Samples by which a coding, at its lowest quality, moves the audio: where its output is most like its input."""
    probe = 0.1 * coloured_noise(sample_rate // 2, sample_rate, 1.0, np.random.Generator(np.random.PCG64(0)))
    coded = through_file(probe, sample_rate, coding, quality=0.0 if coding in get_args(Codec) else None)
    return int(np.argmax(correlate(coded, probe, method="fft"))) - (len(probe) - 1)
