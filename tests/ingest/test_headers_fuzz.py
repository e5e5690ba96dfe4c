"""Files that are whole, cut off, joined, followed by other bytes, with other numbers in their headers, at random.

What was written is known, so that there is one rule: all that was written is heard, or what happened is named.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hearing import RATE, Heard, chunk, encoded, hear, put, voice, with_flac_length, with_sizes

KINDS = (
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("WAV", "ULAW"),
    ("WAV", "PCM_U8"),
    ("WAVEX", "PCM_16"),
)
KINDS += (
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("AU", "ALAW"),
    ("CAF", "PCM_16"),
)
KINDS += (("NIST", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"))
KINDS += (("MP3", "MPEG_LAYER_III"), ("WAV", "GSM610"), ("WAV", "IMA_ADPCM"), ("CAF", "ALAC_16"))
ROUNDING = 0.1
DELAYS = {"MP3": 0.2, "GSM610": 0.03, "IMA_ADPCM": 0.15, "VORBIS": 0.01, "OPUS": 0.01}
"""Seconds that the encoding of a file may add."""


class Made(NamedTuple):
    data: bytes
    seconds: float
    """Of all that was written into it, before anything was cut off."""
    num_files: int
    is_cut: bool
    is_touched: bool


def make(draws: np.random.Generator, container: str, subtype: str) -> Made:
    """One to three files in a row, of which something may be missing or wrong."""
    num_files = int(draws.choice([1, 1, 1, 2, 3]))
    lengths = draws.uniform(0.7, 2.5, num_files)
    if draws.random() < 0.3:
        lengths[:] = lengths[0]
    parts = [encoded(voice(seconds, int(draws.integers(99))), container, subtype) for seconds in lengths]
    fault = draws.choice(["none", "cut", "number", "chunk", "bytes", "text", "zeros"])
    is_touched = fault != "none"
    if fault == "cut":
        parts[-1] = parts[-1][: int(len(parts[-1]) * draws.uniform(0.3, 0.97))]
    elif fault == "number":
        wrong = int(draws.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, draws.integers(1 << 18), draws.integers(1 << 31)]))
        number = int(draws.integers(num_files))
        if container in ("WAV", "WAVEX"):
            parts[number] = with_sizes(parts[number], wrong)
        elif container == "FLAC":
            parts[number] = with_flac_length(parts[number], wrong)
        else:
            is_touched = False
    elif fault == "chunk" and container in ("WAV", "WAVEX"):
        parts[-1] += chunk(bytes(draws.choice([b"LIST", b"id3 ", b"Abcd"])), draws.bytes(int(draws.integers(1 << 16))))
    elif fault == "bytes":
        parts[-1] += draws.bytes(int(draws.integers(1 << 12, 1 << 16)))
    elif fault == "text":
        parts[-1] += b"neither sound nor anything known\n" * int(draws.integers(1000, 3000))
    elif fault == "zeros":
        parts[-1] += bytes(int(draws.integers(1 << 16)))
    return Made(b"".join(parts), float(np.round(lengths * RATE).sum()) / RATE, num_files, fault == "cut", is_touched)


def check(made: Made, heard: Heard, text: str, container: str, subtype: str) -> None:
    allowed = ROUNDING + made.num_files * DELAYS.get(subtype, DELAYS.get(container, 0.0))
    assert heard.samples or heard.rejected
    if heard.samples and not heard.kinds and container not in ("W64", "NIST"):  # zeros behind these are heard
        assert abs(heard.seconds - made.seconds) <= allowed
    if heard.seconds < made.seconds - allowed:
        assert heard.kinds, "audio is missing, and nothing says so"
        assert not (text and heard.samples), "words may be missing"
    if made.num_files > 1 and container != "MP3":
        assert heard.rejected
    if not made.is_touched and made.num_files == 1:
        assert not heard.kinds


@pytest.mark.parametrize("seed", range(8))
def test_all_that_is_there_is_heard_or_what_happened_is_named(tmp_path: Path, seed: int) -> None:
    draws = np.random.default_rng(seed)
    for container, subtype in KINDS:
        made = make(draws, container, subtype)
        text = str(draws.choice(["", "words"]))
        path = put(tmp_path / "a", made.data)
        heard = hear(path, text)
        check(made, heard, text, container, subtype)
        if heard.samples and not heard.kinds:
            again = hear(path, text, listed={"start_seconds": 0.2, "stop_seconds": 0.5})
            assert again.seconds == pytest.approx(0.3, abs=1e-3)
