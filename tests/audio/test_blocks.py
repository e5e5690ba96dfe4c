"""Any format in blocks and pieces, against what soundfile decodes in one go."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from audio_files import FORMATS, NUM_FRAMES, RATE, all_blocks, speech_like, write

from speechssl.audio.blocks import probe, read_blocks, read_blocks_at, read_range, read_ranges
from speechssl.errors import DataError


@pytest.mark.parametrize("suffix", FORMATS)
def test_blocks_are_what_one_read_gives_for_any_length_of_block(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, suffix, speech_like(NUM_FRAMES))
    whole, rate = soundfile.read(path, dtype="float32")
    assert probe(path) == (rate, len(whole), 1, FORMATS[suffix][0])
    expected = all_blocks(path)
    np.testing.assert_allclose(expected, whole, atol=1e-6)  # soundfile's first seek rounds an MP3 otherwise
    for seconds in (0.0317, 1.7):
        blocks = list(read_blocks(path, seconds))
        assert all(block.dtype == np.float32 and len(block) == round(seconds * rate) for block in blocks[:-1])
        np.testing.assert_array_equal(np.concatenate(blocks), expected)


@pytest.mark.parametrize("suffix", FORMATS)
def test_pieces_are_those_of_the_whole_file(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, suffix, speech_like(NUM_FRAMES))
    whole = all_blocks(path)
    ranges = [(0, 500), (7000, 8001), (15001, 3), (20011, 30000), (len(whole) - 777, 777)]
    pieces = list(read_ranges(path, ranges, RATE))
    for piece, (start, length) in zip(pieces, ranges, strict=True):
        np.testing.assert_array_equal(piece, whole[start : start + length])
        np.testing.assert_array_equal(read_range(path, start, length, RATE), piece)


def test_pieces_are_resampled_as_a_whole_after_the_mean_of_the_channels(tmp_path: Path) -> None:
    left, right = speech_like(44100, 1), speech_like(44100, 2)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 44100, subtype="FLOAT")
    assert probe(tmp_path / "a.wav") == (44100, 44100, 2, "WAV")
    mono = (left + right) / 2
    np.testing.assert_allclose(all_blocks(tmp_path / "a.wav", 0.1), mono, atol=1e-7)
    expected = soxr.resample(mono[1000:30001], 44100, RATE, quality="HQ")
    np.testing.assert_allclose(read_range(tmp_path / "a.wav", 1000, 29001, RATE), expected, atol=1e-6)


@pytest.mark.parametrize("rate", [RATE, 8000])
def test_blocks_at_another_rate_are_the_whole_file_resampled(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path, "wav", speech_like(NUM_FRAMES))
    whole = read_range(path, 0, NUM_FRAMES, rate)
    for seconds in (0.01, 0.3, 99.0):
        np.testing.assert_array_equal(np.concatenate(list(read_blocks_at(path, rate, seconds))), whole)


@pytest.mark.parametrize("suffix", ["wav", "mp3"])
def test_pieces_beyond_the_end_are_refused(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, suffix, speech_like(RATE))
    message = rf"a\.{suffix}: frames 15000 to 17000: 1000 frames, expected 2000; the file is cut off"
    with pytest.raises(DataError, match=message):
        read_range(path, 15000, 2000, RATE)
    with pytest.raises(DataError, match="frames 20000 to 20005: 0 frames, expected 5"):
        read_range(path, 20000, 5, RATE)
    with pytest.raises(ValueError, match="not in order"):
        list(read_ranges(path, [(100, 100), (150, 100)], RATE))
