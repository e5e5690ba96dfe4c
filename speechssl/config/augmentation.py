"""What happens to the audio in training, stage by stage."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

from speechssl.config.limits import Decibels, Limit, Section, Share


@dataclass(frozen=True)
class ReverberationConfig(Section):
    """Rooms: convolution with an impulse response; the direct path stays in place, the energy is kept."""

    prob: Share = 0.0
    """Chance that a sample is reverberated."""
    shards: list[str] = field(default_factory=list)
    """Shards of impulse responses; without any, a response is decaying noise after a direct path (Polack 1988)."""
    rt60_seconds: Annotated[tuple[float, float], Limit(0, 10, is_range=True)] = (0.2, 0.8)
    """Shortest and longest time in which such a response decays by 60 dB."""
    direct_to_reverberant_db: Decibels = (0.0, 12.0)
    """Lowest and highest energy of such a response's direct path over that of the rest, in dB."""


@dataclass(frozen=True)
class NoiseConfig(Section):
    """Noise under the whole sample."""

    prob: Share = 0.0
    """Chance that a sample gets noise."""
    shards: list[str] = field(default_factory=list)
    """Shards of noise; without any, Gaussian noise of a drawn colour."""
    snr_db: Decibels = (0.0, 20.0)
    """Lowest and highest signal-to-noise ratio: the mean power of active speech over that of the added noise, in dB."""
    slope: Annotated[tuple[float, float], Limit(-4, 4, is_range=True)] = (0.0, 2.0)
    """Lowest and highest exponent of the noise of a drawn colour, whose power falls as 1/f**slope: 0 white, 1 pink."""


@dataclass(frozen=True)
class SpeechMixingConfig(Section):
    """Another utterance over a part of the sample (WavLM, Chen et al. 2022, section IV-B)."""

    prob: Share = 0.0
    """Chance that a sample gets another voice (0.2 in WavLM)."""
    shards: list[str] = field(default_factory=list)
    """Shards of the other utterances; without any, those that are trained on."""
    snr_db: Decibels = (-5.0, 5.0)
    """Lowest and highest ratio of the mean powers of the two, each over its active speech, in dB."""
    max_share: Annotated[float, Limit(0, 0.5)] = 0.5
    """Longest overlap, as a share of the sample; more than half would leave open who is the speaker."""


@dataclass(frozen=True)
class TelephoneConfig(Section):
    """Telephone lines: 300 to 3400 Hz at 8 kHz, and back to the sample rate."""

    prob: Share = 0.0
    """Chance that a sample passes through a line."""
    codings: list[Literal["pcm", "mulaw", "alaw", "gsm"]] = field(
        default_factory=lambda: ["pcm", "mulaw", "alaw", "gsm"]
    )
    """Codings to draw from: none ("pcm"), G.711 ("mulaw", "alaw"), GSM 06.10 full rate ("gsm")."""


@dataclass(frozen=True)
class CodecConfig(Section):
    """Lossy audio files: encoding and decoding."""

    prob: Share = 0.0
    """Chance that a sample passes through a file."""
    codecs: list[Literal["mp3", "opus", "vorbis"]] = field(default_factory=lambda: ["mp3", "opus", "vorbis"])
    """Codecs to draw from."""
    quality: Annotated[tuple[float, float], Limit(0, 1, is_range=True)] = (0.0, 0.3)
    """Lowest and highest quality, from 0, the smallest file, to 1; at 16 kHz, the default gives MP3 of 10 to 55 kbit/s,
    Opus of 10 to 86 and Vorbis of 30 to 33."""


@dataclass(frozen=True)
class GainConfig(Section):
    """Level of the recording."""

    prob: Share = 0.0
    """Chance that the level is changed."""
    gain_db: Decibels = (-12.0, 6.0)
    """Lowest and highest gain in dB; what would exceed full scale is scaled down to it as a whole."""


@dataclass(frozen=True)
class SpeedConfig(Section):
    """Speed, tempo and pitch together (Ko et al. 2015); the only change of length."""

    prob: Share = 0.0
    """Chance that the speed is changed."""
    factors: list[Annotated[float, Limit(0.5, 2)]] = field(default_factory=lambda: [0.9, 1.1])
    """Factors to draw from; above 1 is faster and shorter."""


@dataclass(frozen=True)
class AugmentationConfig(Section):
    """What happens to the audio before the model hears it, drawn for each sample, in this order; nothing by default."""

    speed: SpeedConfig = SpeedConfig()
    """Speed."""
    reverberation: ReverberationConfig = ReverberationConfig()
    """Rooms."""
    noise: NoiseConfig = NoiseConfig()
    """Noise."""
    speech: SpeechMixingConfig = SpeechMixingConfig()
    """Other voices."""
    telephone: TelephoneConfig = TelephoneConfig()
    """Telephone lines."""
    codec: CodecConfig = CodecConfig()
    """Lossy audio files."""
    gain: GainConfig = GainConfig()
    """Level."""

    def problems(self) -> Iterator[str]:
        for name, stage, choices in (
            ("speed.factors", self.speed, self.speed.factors),
            ("telephone.codings", self.telephone, self.telephone.codings),
            ("codec.codecs", self.codec, self.codec.codecs),
        ):
            if stage.prob > 0 and not choices:
                yield f"{name} is empty, expected at least one to draw from"
