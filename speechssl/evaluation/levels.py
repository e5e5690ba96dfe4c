"""Audio of a set in which little can be heard: silent, clipped, or without the upper half of its band."""

from collections.abc import Iterator, Sequence
from math import log10

import numpy as np

from speechssl.data.corpus import Corpus
from speechssl.data.samples import read_sample_audio
from speechssl.errors import DataError
from speechssl.evaluation.diagnosis import Diagnosis

NUM_HEARD = 24
"""Utterances of a set that are looked at, spread over it."""
QUIET = 10 ** (-60 / 20)
"""Root mean square below which nobody hears speech: 60 dB below full scale."""
FULL_SCALE = 0.999
MAX_CLIPPED = 0.01
"""Share of an utterance's samples at full scale; more is audible distortion."""
SPOILT_SHARE = 0.25
"""Share of the utterances looked at from which a set is doubted."""
UPPER_BAND = 0.6
"""Of the band, above which a recording of half the rate has nothing."""
NARROW = 1e-5
"""Share of the energy up there, 50 dB below the whole, that is nothing."""
SILENT_AUDIO = "silent audio"


def find_faults(corpus: Corpus, name: str) -> Iterator[Diagnosis]:
    """All that may be wrong with the audio of a set that is not recognised."""
    yield from doubt_level(corpus, name)
    yield from doubt_band(corpus, name)


def doubt_level(corpus: Corpus, name: str) -> Iterator[Diagnosis]:
    """Audio that is silent or clipped; shards on another machine are not fetched for it."""
    if corpus.store is not None:
        return
    heard = list(_heard(corpus))
    quiet = [key for key, audio in heard if np.sqrt(np.square(audio).mean()) < QUIET]
    clipped = [key for key, audio in heard if (np.abs(audio) >= FULL_SCALE).mean() > MAX_CLIPPED]
    if quiet and len(quiet) >= SPOILT_SHARE * len(heard):
        yield Diagnosis(
            SILENT_AUDIO,
            f"{name}: {len(quiet)} of {len(heard)} utterances that were looked at are quieter than "
            f"{20 * log10(QUIET):.0f} dB of full scale ({_listed(quiet)})",
            "silence, or another channel than that of the voice",
            "listen to one, and make the shards again (--channel each)",
        )
    if clipped and len(clipped) >= SPOILT_SHARE * len(heard):
        yield Diagnosis(
            "clipped audio",
            f"{name}: in {len(clipped)} of {len(heard)} utterances that were looked at more than {MAX_CLIPPED:.0%} of "
            f"the samples are at full scale ({_listed(clipped)})",
            "they are clipped",
            "look for the recordings before they were made louder",
        )


def doubt_band(corpus: Corpus, name: str) -> Iterator[Diagnosis]:
    """Audio that was recorded at a lower rate than it is stored at, which is a fault only if the model knows better."""
    if corpus.store is not None:
        return
    heard = list(_heard(corpus))
    narrow = [key for key, audio in heard if _upper_share(audio) < NARROW]
    if narrow and len(narrow) >= SPOILT_SHARE * len(heard):
        rate = corpus.sample_rate
        yield Diagnosis(
            "narrow band",
            f"{name}: {len(narrow)} of {len(heard)} utterances that were looked at hold nothing above "
            f"{UPPER_BAND * rate / 2000:.1f} kHz, though they are stored at {rate / 1000:g} kHz ({_listed(narrow)})",
            "recordings of a lower rate, as of a telephone, which a model of others has never heard",
            "train with --augmentation.telephone.prob, or on recordings like these",
        )


def _upper_share(audio: np.ndarray) -> float:
    """Share of the energy in the upper part of the band; 1 of silence, of which nothing can be said."""
    power = np.abs(np.fft.rfft(audio - audio.mean())) ** 2
    whole = float(power.sum())
    return float(power[int(UPPER_BAND * len(power)) :].sum()) / whole if whole > 0 else 1.0


def _heard(corpus: Corpus) -> Iterator[tuple[str, np.ndarray]]:
    """Keys and audio of some utterances spread over a set; what is damaged is the loader's to tell."""
    for row in np.unique(np.linspace(0, len(corpus) - 1, NUM_HEARD).astype(int)).tolist():
        try:
            audio = read_sample_audio(corpus[row], corpus.sample_rate)
        except DataError:
            continue
        if len(audio):
            yield corpus[row].key, audio


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
