"""What codings do to spectra, quality and time."""

from functools import partial
from typing import get_args

import numpy as np
import pytest
from scipy.signal import firwin
from signals import RATE, band_level, delay, draws, voice

from speechssl.audio.codings import Codec, TelephoneCoding, through_codec, through_telephone


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("coding", get_args(TelephoneCoding))
def test_telephone_lines_move_nothing(coding: TelephoneCoding, rate: int) -> None:
    audio = voice(rate, rate, level=0.1)
    assert abs(delay(through_telephone(audio, rate, coding), audio)) <= 1


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
@pytest.mark.parametrize("codec", get_args(Codec))
def test_codecs_move_nothing(codec: Codec, rate: int) -> None:
    for num_samples in (rate // 4, 3 * rate // 2):
        audio = voice(num_samples, rate, level=0.1)
        for quality in (0.0, 0.1, 0.5, 1.0):
            changed = through_codec(audio, rate, codec, quality)
            assert abs(delay(changed, audio)) <= 2, f"quality {quality}"
            assert not np.array_equal(changed, audio)


def test_better_quality_is_closer() -> None:
    audio = voice(RATE, level=0.1)
    for codec in get_args(Codec):
        errors = [float(np.square(through_codec(audio, RATE, codec, q) - audio).sum()) for q in (0.0, 0.3, 1.0)]
        assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("coding", get_args(TelephoneCoding))
@pytest.mark.parametrize("rate", [8000, 16000])
def test_telephone_band(coding: TelephoneCoding, rate: int) -> None:
    audio = draws().normal(0, 0.1, 2 * rate).astype(np.float32)
    level = partial(band_level, rate=rate)
    changed = through_telephone(audio, rate, coding)
    # Speech codings shape the spectrum (GSM) and add noise of their own, below 4 kHz.
    assert level(changed, 400, 3200) - level(audio, 400, 3200) == pytest.approx(0, abs=3 if coding == "gsm" else 0.5)
    floor = {"pcm": -40, "mulaw": -25, "alaw": -25, "gsm": -8}[coding]
    assert level(changed, 20, 150) - level(audio, 20, 150) < floor
    if rate > 8000:
        assert level(changed, 4200, rate / 2) - level(audio, 4200, rate / 2) < -60
    if coding == "pcm":
        assert level(changed, 3600, 4000) - level(audio, 3600, 4000) < -40


@pytest.mark.parametrize("length", [50, 1000])
def test_the_band_pass_is_the_filter_that_was_designed(length: int) -> None:
    audio = voice(length, 8000)
    taps = firwin(161, [300, 3400], pass_zero=False, fs=8000)
    expected = np.convolve(audio.astype(np.float64), taps)[80 : 80 + length]
    np.testing.assert_allclose(through_telephone(audio, 8000, "pcm"), expected, atol=1e-7)
