"""Files of many kinds to samples."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.audio.reading import decode_audio, read_audio, read_raw_pcm
from speechssl.errors import DataError

RATE = 16000
TONE = (0.5 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)).astype(np.float32)


@pytest.mark.parametrize(("suffix", "tolerance"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.05), ("mp3", 0.05)])
def test_formats(tmp_path: Path, suffix: str, tolerance: float) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, TONE, RATE)
    samples = read_audio(path, RATE)
    assert samples.dtype == np.float32
    assert np.abs(samples[2000:14000] - TONE[2000:14000]).max() < tolerance


def test_sphere(tmp_path: Path) -> None:
    path = tmp_path / "tone.sph"
    soundfile.write(path, TONE, RATE, format="NIST", subtype="PCM_16")
    np.testing.assert_allclose(read_audio(path, RATE), TONE, atol=1e-4)


@pytest.mark.parametrize("big_endian", [True, False])
def test_raw_samples(tmp_path: Path, big_endian: bool) -> None:
    path = tmp_path / "tone.raw"
    path.write_bytes((TONE * 32767).astype(">i2" if big_endian else "<i2").tobytes())
    np.testing.assert_allclose(read_raw_pcm(path, sample_rate=RATE, big_endian=big_endian), TONE, atol=1e-4)
    path.write_bytes(b"\0\0\0")
    with pytest.raises(DataError, match="3 bytes, expected an even number"):
        read_raw_pcm(path, sample_rate=RATE, big_endian=big_endian)


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.wav: no such audio file"):
        read_audio(tmp_path / "nothing.wav", RATE)
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(DataError, match=r"text\.wav: cannot be read as audio"):
        read_audio(tmp_path / "text.wav", RATE)
    soundfile.write(tmp_path / "empty.wav", TONE[:0], RATE)
    with pytest.raises(DataError, match="holds no samples"):
        read_audio(tmp_path / "empty.wav", RATE)
    soundfile.write(tmp_path / "nan.wav", np.array([0, np.nan], np.float32), RATE, subtype="FLOAT")
    with pytest.raises(DataError, match="not finite"):
        read_audio(tmp_path / "nan.wav", RATE)


def test_members_of_another_rate_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.flac", TONE, 8000)
    with pytest.raises(DataError, match=r"shard: key: 8000 Hz, expected 16000 Hz"):
        decode_audio((tmp_path / "tone.flac").read_bytes(), name="shard: key", sample_rate=RATE)
    with pytest.raises(DataError, match="cannot be decoded"):
        decode_audio(b"fLaC nonsense", name="shard: key", sample_rate=RATE)
