"""The scale of samples: floating-point numbers know none, and constants are silence."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hearing import RATE, hear, level_db, voice

from speechssl.config import SegmentationConfig

VOICE = voice(4, 1) / np.abs(voice(4, 1)).max()
"""Its loudest sample is 1."""


def write(folder: Path, samples: np.ndarray, subtype: str = "FLOAT", rate: int = RATE) -> Path:
    soundfile.write(folder / "a.wav", samples, rate, subtype=subtype)
    return folder / "a.wav"


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize(
    ("scale", "divisor", "kind"),
    [
        (32768.0, 1 << 15, "floats of integer scale"),
        (30000.0, 1 << 15, "floats of integer scale"),
        (35000.0, 1 << 16, "floats of integer scale"),
        (2.0**23, 1 << 23, "floats of integer scale"),
        (2.0**31 - 200, 1 << 31, "floats of integer scale"),
        (1500.0, 1 << 15, "floats of integer scale"),
        (1.5, 2, "louder than full scale"),
        (12.0, 16, "louder than full scale"),
    ],
)
def test_floats_beyond_full_scale_are_divided_by_a_power_of_two(
    tmp_path: Path, scale: float, divisor: int, kind: str, subtype: str
) -> None:
    heard = hear(write(tmp_path, VOICE * scale, subtype), "words")
    assert heard.kinds == {kind}
    assert f"divided by {divisor}" in heard.notes[0].detail
    expected = (VOICE * scale).astype(np.float32) / np.float32(divisor)
    np.testing.assert_allclose(heard.samples[0], np.clip(expected, -1, 1 - 2**-15), atol=2e-5)


@pytest.mark.parametrize("scale", [1.0, 0.5, 1.05])
def test_floats_of_full_scale_are_as_ever(tmp_path: Path, scale: float) -> None:
    heard = hear(write(tmp_path, VOICE * scale), "words")
    assert not heard.kinds
    expected = np.clip(np.round((VOICE * scale).astype(np.float32) * 32768), -32768, 32767) / 32768
    np.testing.assert_array_equal(heard.samples[0], expected)


def test_pieces_of_one_file_have_one_scale(tmp_path: Path) -> None:
    """Only one of them is beyond full scale."""
    samples = np.concatenate([0.2 * VOICE, 1.9 * VOICE, 0.3 * VOICE])
    segmentation = SegmentationConfig(method="none", max_seconds=4, min_seconds=0.5)
    heard = hear(write(tmp_path, samples), cut_above_seconds=5, segmentation=segmentation)
    np.testing.assert_allclose(np.concatenate(heard.samples), samples / 2, atol=2e-5)
    assert heard.kinds == {"louder than full scale"}


def test_numbers_that_no_sound_has_are_refused(tmp_path: Path) -> None:
    swapped = VOICE.astype(">f4").view("<f4")
    heard = hear(write(tmp_path, np.nan_to_num(swapped, posinf=1e30, neginf=-1e30)))
    assert [item.reason for item in heard.rejected] == ["unreadable audio"]
    assert "its samples reach" in heard.rejected[0].detail


@pytest.mark.parametrize("rate", [RATE, 44100, 8000])
@pytest.mark.parametrize("value", [0.0, 0.25, -1.0, 1.0, -0.01])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "PCM_24"])
def test_a_constant_is_silence(tmp_path: Path, value: float, rate: int, subtype: str) -> None:
    heard = hear(write(tmp_path, np.full(2 * rate, value, np.float32), subtype, rate))
    assert [item.reason for item in heard.rejected] == ["silent"]
    assert not heard.samples
    if value == 0.25:
        assert heard.rejected[0].detail == "all its samples are 0.25"


def test_a_long_constant_is_silence_and_long_noise_has_no_speech(tmp_path: Path) -> None:
    segmentation = SegmentationConfig(method="energy")
    options = {"cut_above_seconds": 10, "segmentation": segmentation}
    constant = hear(write(tmp_path, np.full(40 * RATE, 0.1)), **options)
    assert [(item.reason, item.key) for item in constant.rejected] == [("silent", "key")]
    noise = hear(write(tmp_path, np.random.default_rng(0).normal(0, 0.05, 40 * RATE)), **options)
    assert [(item.reason, item.key) for item in noise.rejected] == [("no speech found", "key")]
    assert "by method energy at threshold 0.5 in 40.0 s" in noise.rejected[0].detail


def test_an_offset_is_named_and_does_not_count_as_level(tmp_path: Path) -> None:
    heard = hear(write(tmp_path, 0.5 * VOICE + 0.2))
    assert heard.kinds == {"offset"}
    assert level_db(heard.samples[0]) == pytest.approx(level_db(0.5 * VOICE), abs=0.1)
    hiss = 0.2 + 1e-4 * np.random.default_rng(0).standard_normal(RATE)
    assert hear(write(tmp_path, hiss), min_level_db=-60).kinds == {"too quiet"}


def test_what_is_very_quiet_is_named(tmp_path: Path) -> None:
    heard = hear(write(tmp_path, VOICE * 2.0**-9, "PCM_16"))
    assert heard.kinds == {"very quiet"}
    heard = hear(write(tmp_path, VOICE * 1e-5))
    assert [item.reason for item in heard.rejected] == ["silent"]
    assert "its loudest sample is 1e-05 of full scale 1, of which 16 bits leave nothing" in heard.rejected[0].detail
