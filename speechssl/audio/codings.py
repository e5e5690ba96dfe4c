"""What telephone lines and codecs leave of a sound, by writing it to a file in memory and reading it again."""

import io
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import soundfile
from scipy.signal import firwin, oaconvolve

from speechssl.audio.reading import Samples
from speechssl.audio.resampling import fit, resample

Codec = Literal["mp3", "opus", "vorbis"]
TelephoneCoding = Literal["pcm", "mulaw", "alaw", "gsm"]

TELEPHONE_RATE = 8000
TELEPHONE_BAND_HZ = (300.0, 3400.0)


class _Coding(NamedTuple):
    """How libsndfile names a coding, and what it takes."""

    container: str
    subtype: str
    rates: tuple[int, ...] = ()
    """Sample rates in Hz, rising; none: any."""
    bitrate_mode: str | None = None


_CODINGS = {
    "mulaw": _Coding("WAV", "ULAW"),
    "alaw": _Coding("WAV", "ALAW"),
    "gsm": _Coding("WAV", "GSM610"),
    # At a constant bit rate, low ones leave no room for the tag that tells the decoder the delay: 1105 samples' shift.
    "mp3": _Coding("MP3", "MPEG_LAYER_III", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000), "AVERAGE"),
    "opus": _Coding("OGG", "OPUS", (8000, 12000, 16000, 24000, 48000)),
    "vorbis": _Coding("OGG", "VORBIS"),
}


def through_telephone(audio: Samples, sample_rate: int, coding: TelephoneCoding) -> Samples:
    """What a telephone line leaves of float32 (S,): 300 to 3400 Hz, at 8 kHz and back, coded unless it is "pcm"."""
    band = oaconvolve(audio, _telephone_band(sample_rate), mode="same")
    narrow = resample(band, sample_rate, TELEPHONE_RATE)
    if coding != "pcm":
        narrow = through_file(narrow, TELEPHONE_RATE, coding)
    return resample(narrow, TELEPHONE_RATE, sample_rate, length=len(audio))


def through_codec(audio: Samples, sample_rate: int, codec: Codec, quality: float) -> Samples:
    """Encode and decode float32 (S,) with a quality of 0..1, at the next rate that the codec has."""
    rate = coding_rate(codec, sample_rate)
    decoded = through_file(resample(audio, sample_rate, rate), rate, codec, quality=quality)
    return resample(decoded, rate, sample_rate, length=len(audio))


def through_file(audio: Samples, sample_rate: int, coding: str, *, quality: float | None = None) -> Samples:
    """Write float32 (S,) to a file in memory and read it again, as long as it was.

    Args:
        audio: finite, of any level; what is louder than -1..1 is scaled for the coding and back.
        sample_rate: one that the coding has, in Hz.
        coding: a codec or a coding of telephone lines.
        quality: 0..1 for codecs.
    """
    peak = max(1.0, float(np.abs(audio).max()))  # beyond -1..1, libsndfile reads past the end of its G.711 tables
    buffer = io.BytesIO()
    with _open_to_write(buffer, sample_rate, _CODINGS[coding], quality) as file:
        # In blocks, since libvorbis keeps a block on the stack, and a long one overflows it.
        for start in range(0, len(audio), sample_rate):
            file.write(audio[start : start + sample_rate] / np.float32(peak))
    buffer.seek(0)
    decoded, _ = soundfile.read(buffer, dtype="float32")
    return fit(decoded, len(audio)) * np.float32(peak)


def coding_rate(coding: str, sample_rate: int) -> int:
    """The lowest rate of a coding that keeps the band, or its highest."""
    rates = _CODINGS[coding].rates or (sample_rate,)
    return next((rate for rate in rates if rate >= sample_rate), rates[-1])


def _open_to_write(buffer: io.BytesIO, sample_rate: int, coding: _Coding, quality: float | None) -> soundfile.SoundFile:
    return soundfile.SoundFile(
        buffer,
        "w",
        sample_rate,
        channels=1,
        subtype=coding.subtype,
        format=coding.container,
        # libsndfile refuses the very lowest quality of MP3.
        compression_level=None if quality is None else min(1 - quality, 0.999),
        bitrate_mode=coding.bitrate_mode,
    )


@lru_cache
def _telephone_band(sample_rate: int) -> Samples:
    """Linear-phase band pass of 20 ms, float32; symmetric, so that it moves nothing."""
    num_taps = 2 * round(0.01 * sample_rate) + 1
    return firwin(num_taps, TELEPHONE_BAND_HZ, pass_zero=False, fs=sample_rate).astype(np.float32)
