"""Chained Ogg, FLAC, what FFmpeg reads, damage, and what is no audio: every sample is read, or an error says where."""

import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import NUM_FRAMES, RATE, all_blocks, met, speech_like, untagged, write

from speechssl.audio.blocks import probe, read_blocks, read_range, read_ranges
from speechssl.audio.findings import AudioError, Finding
from speechssl.errors import DataError

FFMPEG = """#!{python}
import array, pathlib, sys, time
source = sys.argv[sys.argv.index("-i") + 1]
if not source.startswith("file:"):
    sys.exit("a name that could be a protocol")
content = pathlib.Path(source[5:]).read_bytes()
out = sys.stdout.buffer
out.write(b".snd" + (32).to_bytes(4, "big") + b"\\xff" * 4 + b"".join(n.to_bytes(4, "big") for n in (6, 8000, 2)))
out.write(bytes(8))
samples = array.array("f", [int(word) / 1000 for word in content.split()[1:] for _ in (0, 1)])
samples.byteswap()
out.write(samples.tobytes())
if content.startswith(b"long"):
    for _ in range(200):
        out.write(bytes(64000))
if content.startswith(b"stuck"):
    out.flush()
    time.sleep(3)
if content.startswith(b"bad"):
    sys.exit("[in] moov atom not found\\nInvalid data found")
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_names_that_are_no_text_are_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"na\xefve.wav")
    write(tmp_path, "wav", speech_like(NUM_FRAMES)).rename(path)
    assert len(all_blocks(path)) == NUM_FRAMES


@pytest.fixture
def fake_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """A program that writes what FFmpeg writes, 8 kHz in stereo, and a way to make files for it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ffmpeg").write_text(FFMPEG.format(python=sys.executable))
    (folder / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))

    def make(content: str) -> Path:
        path = tmp_path / "concat:a.m4a"
        path.write_text(content)
        return path

    return make


def test_a_flac_is_read_up_to_damage_whatever_the_blocks(tmp_path: Path) -> None:
    path = write(tmp_path, "flac", speech_like(8 * NUM_FRAMES))
    whole = all_blocks(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    found, findings = met(path)
    [finding] = findings
    assert finding.kind == "cut off"
    assert finding.first_second == len(found) / RATE
    assert finding.missing_seconds == pytest.approx((len(whole) - len(found)) / RATE)
    assert 0.45 * len(whole) < len(found) < 0.55 * len(whole)
    np.testing.assert_array_equal(found, whole[: len(found)])
    for seconds in (0.0317, 3.0, 100.0):
        np.testing.assert_array_equal(all_blocks(path, seconds), found)
    behind = len(found) + 20000
    ranges = [(0, 5), (len(found) - 500, 900), (behind, len(whole) - behind)]
    pieces = list(read_ranges(path, ranges, RATE))
    for piece, (start, length) in zip(pieces, [(0, 5), (len(found) - 500, 500), ranges[2]], strict=True):
        np.testing.assert_array_equal(piece, whole[start : start + length])


def test_damage_behind_which_nothing_can_be_read_is_named_with_its_place(
    tmp_path: Path, no_ffmpeg: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "ogg", speech_like(NUM_FRAMES))
    reads = []
    original = soundfile.SoundFile.read

    def failing(self: soundfile.SoundFile, *arguments: object, **options: object) -> object:
        reads.append(1)
        if len(reads) > 2:
            raise RuntimeError("Internal psf_fseek() failed.")
        return original(self, *arguments, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", failing)
    findings: list[Finding] = []
    assert sum(map(len, read_blocks(path, 1.0, findings=findings))) == 2 * RATE
    assert [(finding.kind, finding.first_second) for finding in findings] == [("cut off", 2.0)]
    assert "libsndfile reads 2.00 s, what follows is damaged or missing (Internal" in findings[0].detail


def test_flac_from_a_pipe_has_no_length_in_its_header(tmp_path: Path) -> None:
    path = write(tmp_path, "flac", speech_like(NUM_FRAMES))
    expected, _ = soundfile.read(path, dtype="float32")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert probe(path) == (RATE, NUM_FRAMES, 1, "FLAC")
    np.testing.assert_array_equal(all_blocks(path, 0.7), expected)
    np.testing.assert_array_equal(read_range(path, NUM_FRAMES - 100, 100, RATE), expected[-100:])


def test_ogg_of_several_streams_is_not_cut_to_the_first(tmp_path: Path, no_ffmpeg: None) -> None:
    files = [write(tmp_path, "ogg", speech_like(RATE, seed)).read_bytes() for seed in range(2)]
    path = tmp_path / "a.ogg"
    for data in (b"".join(files), files[0] * 2):  # of the same stream number, as after `cat`
        path.write_bytes(data)
        with pytest.raises(AudioError, match=rf"a\.ogg: is several streams, .* from byte {len(files[0])} on; split it"):
            probe(path)


def test_files_that_cannot_be_used_say_what_to_do(tmp_path: Path, no_ffmpeg: None) -> None:
    with pytest.raises(DataError, match=r"nothing\.wav: no such audio file"):
        probe(tmp_path / "nothing.wav")
    for name in ("text.m4a", "text.mp3", "text.raw"):
        (tmp_path / name).write_bytes(bytes(range(1, 200)))
        with pytest.raises(DataError, match=rf"{name}: cannot be read as audio .*or install FFmpeg"):
            all_blocks(tmp_path / name)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    with pytest.raises(DataError, match=r"empty\.wav: holds no samples"):
        probe(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "nan.wav", np.array([0, np.nan], np.float32), RATE, subtype="FLOAT")
    with pytest.raises(DataError, match=r"nan\.wav: holds samples that are not finite"):
        all_blocks(tmp_path / "nan.wav")
    soundfile.write(tmp_path / "rate.wav", np.zeros(100), 7)
    with pytest.raises(DataError, match=r"rate\.wav: its header says 7 Hz, which is no sample rate"):
        all_blocks(tmp_path / "rate.wav")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>404 not found</html>", "text that begins '<!DOCTYPE html>"),
        (b"\n<HTML><body>log in", "text that begins '<HTML>"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "text that begins"),
        (b'{"error": "rate limit"}', "text that begins"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (b"PK\3\4" + bytes(range(256)), "an archive"),
        (bytes(100_000), "empty, or zeros"),
        ("Ein Text über Töne.\n".encode() * 5000, "text that begins 'Ein Text über"),
    ],
)
@pytest.mark.parametrize("suffix", ["wav", "mp3", "flac"])
def test_what_is_no_audio_is_called_what_it_is(
    tmp_path: Path, no_ffmpeg: None, content: bytes, words: str, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=rf"a\.{suffix}: cannot be read as audio: it is .*{words}"):
        probe(path)


def test_a_file_without_permission_is_not_told_to_be_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "wav", speech_like(RATE))
    monkeypatch.setattr(Path, "open", refused)  # root may read everything
    with pytest.raises(AudioError, match=r"a\.wav: may not be read, permission denied; .*chmod") as caught:
        probe(path)
    assert caught.value.reason == "may not be read"


def refused(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_other_formats_come_through_ffmpeg(fake_ffmpeg: Callable[[str], Path]) -> None:
    path = fake_ffmpeg("good " + " ".join(map(str, range(-500, 500))))
    expected = np.arange(-500, 500, dtype=np.float32) / 1000
    assert probe(path) == (8000, 1000, 2, "FFmpeg")
    np.testing.assert_allclose(all_blocks(path, 0.01), expected)
    np.testing.assert_allclose(read_range(path, 300, 600, 8000), expected[300:900])
    with pytest.raises(DataError, match="frames 900 to 1100: 100 frames, expected 200"):
        read_range(path, 900, 200, 8000)


def test_what_ffmpeg_cannot_read_says_why(fake_ffmpeg: Callable[[str], Path]) -> None:
    for content in ("bad", "bad 1 2 3"):
        with pytest.raises(DataError, match=r"m4a: cannot be read .*not by FFmpeg either \(Invalid data found\)"):
            probe(fake_ffmpeg(content))
    with pytest.raises(DataError, match="holds no samples"):
        probe(fake_ffmpeg("empty"))


def test_ffmpeg_ends_with_its_reader(fake_ffmpeg: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    class Watched(subprocess.Popen):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr("speechssl.audio.ffmpeg.subprocess.Popen", Watched)
    for content in ("stuck" + " 1" * 2000, "long"):
        blocks = read_blocks(fake_ffmpeg(content), 0.1)
        next(blocks)
        assert started[-1].returncode is None
        blocks.close()
        assert started[-1].returncode not in (None, 0), "it was ended, not waited for"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs FFmpeg")
def test_m4a_by_the_real_ffmpeg(tmp_path: Path) -> None:
    samples = speech_like(NUM_FRAMES)
    wav, m4a = write(tmp_path, "wav", samples), tmp_path / "a.m4a"
    subprocess.run(["ffmpeg", "-v", "error", "-i", wav, "-c:a", "aac", "-b:a", "128k", m4a], check=True)
    info = probe(m4a)
    assert info == (RATE, info.num_frames, 1, "FFmpeg")
    assert abs(info.num_frames - NUM_FRAMES) < 2048
    found = all_blocks(m4a, 0.3)
    assert np.corrcoef(found[:NUM_FRAMES], samples[: len(found)])[0, 1] > 0.95
    np.testing.assert_array_equal(read_range(m4a, 20000, 5000, RATE), found[20000:25000])
    m4a.write_bytes(m4a.read_bytes()[:20000])
    with pytest.raises(DataError, match="not by FFmpeg either"):
        all_blocks(m4a)


@pytest.mark.parametrize("kind", ["wav", "mp3", "ffmpeg"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, fake_ffmpeg: Callable[[str], Path], kind: str) -> None:
    num_frames = 50 * RATE
    if kind == "ffmpeg":
        path = fake_ffmpeg("long")
    else:
        path = write(tmp_path, kind, np.tile(speech_like(RATE), 50))
        path.write_bytes(untagged(path.read_bytes()))
    tracemalloc.start()
    try:
        found = sum(len(block) for block in read_blocks(path, 0.25))
        probe(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found >= num_frames
    assert peak < 4 * found / 3, "a third of the samples; probe decodes 65536 frames at a time"
