"""Resampling to a wanted rate and length."""

from signals import RATE, voice

from speechssl.audio.resampling import resample


def test_resampling_gives_the_wanted_length() -> None:
    audio = voice(1001)
    assert resample(audio, RATE, RATE) is audio
    assert len(resample(audio, 16000, 8000)) == 500
    assert len(resample(audio, 16000, 8000, length=510)) == 510
    assert len(resample(audio[:1], 16000, 8000)) == 1
