"""MP3s and MP2s of any header, and damaged ones: every sample is read, or an error says where."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import NUM_FRAMES, RATE, all_blocks, met, speech_like, untagged, write
from scipy.signal import correlate

from speechssl.audio.blocks import probe, read_range
from speechssl.audio.findings import AudioError
from speechssl.audio.inspection import inspect
from speechssl.audio.mpeg import header_of
from speechssl.errors import DataError


def id3(size: int) -> bytes:
    """Picture of an album, as it were; it holds what looks like the tag of an MP3."""
    return b"ID3\4\0\0" + bytes([0, 0, size >> 7, size & 127]) + b"Xing".ljust(size, b"\0")


@pytest.fixture(scope="module")
def mp3s(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, np.ndarray]:
    """Folder, and an MP3 of variable bit rate with its samples; a guess by its first frame is far off."""
    folder = tmp_path_factory.mktemp("mp3")
    samples = speech_like(NUM_FRAMES)
    samples[RATE:] *= 1e-3
    soundfile.write(folder / "a.mp3", samples, RATE, bitrate_mode="VARIABLE", compression_level=0.1)
    return folder, (folder / "a.mp3").read_bytes(), samples


@pytest.mark.parametrize(
    ("make", "copies"),
    [
        (lambda data: untagged(data), 1),
        (lambda data: id3(9000) + untagged(data), 1),
        (lambda data: untagged(data) + b"TAG".ljust(128, b"\0"), 1),
        (lambda data: untagged(data) + b"APETAGEX".ljust(3000, b"\0"), 1),
        (lambda data: data + untagged(data) * 9, 10),
        (lambda data: id3(9000) + (data + id3(300)) * 12, 12),
    ],
    ids=["no tag", "after ID3", "before ID3v1", "before APE", "joined", "joined with ID3"],
)
def test_mp3_is_read_to_its_end_whatever_its_header_says(
    mp3s: tuple[Path, bytes, np.ndarray], make: Callable[[bytes], bytes], copies: int
) -> None:
    folder, data, samples = mp3s
    path = folder / "b.mp3"
    path.write_bytes(make(data))
    found = all_blocks(path)
    extra = len(found) - copies * NUM_FRAMES
    assert 0 <= extra <= copies * 4000, "nothing but the codec's delay and padding may be added"
    assert probe(path).num_frames == len(found)
    np.testing.assert_array_equal(all_blocks(path, 0.0317), found)
    np.testing.assert_array_equal(read_range(path, len(found) - 2000, 2000, RATE), found[-2000:])
    onsets = np.flatnonzero(np.abs(found) > 0.03)
    loud = np.flatnonzero(np.abs(samples) > 0.03)
    assert abs(onsets[-1] - loud[-1] - (len(found) - len(found) / copies)) < 4000, "the last copy is whole"


def test_mp3_with_a_true_header_is_not_decoded_to_be_counted(
    mp3s: tuple[Path, bytes, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, data, _ = mp3s
    (folder / "c.mp3").write_bytes(id3(9000) + data)
    monkeypatch.setattr("soundfile.SoundFile.read", lambda *_: pytest.fail("it was decoded"))
    assert probe(folder / "c.mp3").num_frames == NUM_FRAMES


@pytest.mark.parametrize("tagged", [True, False])
def test_mp3_that_is_cut_off_holds_what_is_left(mp3s: tuple[Path, bytes, np.ndarray], *, tagged: bool) -> None:
    folder, data, _ = mp3s
    long = data + untagged(data) * 9 if tagged else untagged(data) * 10
    (folder / "d.mp3").write_bytes(long[: len(long) // 2 + 77])
    found = probe(folder / "d.mp3").num_frames
    assert 4.5 * NUM_FRAMES < found < 5.5 * NUM_FRAMES
    assert len(all_blocks(folder / "d.mp3", 0.5)) == found


@pytest.mark.parametrize("is_tagged", [True, False])
def test_damage_in_an_mp3_is_left_out_and_named_with_its_place(
    tmp_path: Path, no_ffmpeg: None, *, is_tagged: bool
) -> None:
    path, samples = tmp_path / "a.mp3", np.concatenate([speech_like(NUM_FRAMES, seed) for seed in range(4)])
    soundfile.write(path, samples, RATE, bitrate_mode="CONSTANT", compression_level=0.5)
    data = path.read_bytes() if is_tagged else untagged(path.read_bytes())
    whole = all_blocks(path)
    path.write_bytes(data[: len(data) // 2] + bytes(4000) + data[len(data) // 2 + 4000 :])
    found, findings = met(path)
    [finding] = dict.fromkeys(findings)
    assert finding.kind == "damaged"
    assert finding.first_second == pytest.approx(len(whole) / RATE / 2, abs=0.15)
    assert finding.missing_seconds == pytest.approx(4000 / len(data) * len(whole) / RATE, abs=0.1)
    assert finding.last_second == float("inf"), "what follows is earlier than it was"
    assert len(whole) - len(found) == pytest.approx(finding.missing_seconds * RATE, abs=3 * 1152)
    half = round(finding.first_second * RATE) - 2 * 1152
    assert best_match(whole[:half], found) > 0.99
    assert best_match(whole[-RATE:-3000], found) > 0.99


def best_match(part: np.ndarray, whole: np.ndarray) -> float:
    """Correlation with the most similar place: encoders delay."""
    at = int(correlate(whole, part, mode="valid").argmax())
    best = whole[at : at + len(part)]
    return float(best @ part / np.sqrt((best @ best) * (part @ part)))


def test_mp3_with_numbers_in_its_header_that_cannot_be_is_read_to_its_end(
    mp3s: tuple[Path, bytes, np.ndarray], no_ffmpeg: None
) -> None:
    folder, data, _ = mp3s
    stated = data.index(b"Xing") + 8
    for num_frames in (0xFFFFFFFF, 10):
        changed = data[:stated] + num_frames.to_bytes(4, "big") + data[stated + 4 :]
        for damage, kinds in ((b"", []), (bytes(300), ["damaged"])):
            (folder / "i.mp3").write_bytes(changed[:9000] + damage + changed[9000 + len(damage) :])
            found, findings = met(folder / "i.mp3")
            assert abs(len(found) - NUM_FRAMES) < 4000, "the codec's delay and padding, and what is lost of 300 bytes"
            assert [finding.kind for finding in findings] == kinds


@pytest.mark.parametrize("seconds", [2, 20])
def test_an_mp2_is_read_to_its_end(tmp_path: Path, no_ffmpeg: None, seconds: int) -> None:
    """Layer II has no tag that says how long it is: 32 kbit/s, mono, 24 kHz, silent frames."""
    head = bytes([0xFF, 0xF5, 0x44, 0xC0])
    frame = head.ljust(header_of(head).size, b"\0")
    (tmp_path / "a.mp2").write_bytes(frame * round(seconds * 24000 / 1152))
    assert len(all_blocks(tmp_path / "a.mp2")) == pytest.approx(seconds * 24000, abs=4 * 1152)


def test_nothing_is_written_to_the_terminal_by_what_decodes_mp3(
    mp3s: tuple[Path, bytes, np.ndarray], no_ffmpeg: None, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, data, _ = mp3s
    path = folder / "j.mp3"
    damaged = data[:6000] + np.random.default_rng(0).bytes(2000) + data[8000:]
    behind_tag = data + b"APETAGEX".ljust(2000, b"\0")
    for content in (data, damaged, data * 3, behind_tag, data[:9000], id3(9000) + data, bytes(1 << 17) + data):
        path.write_bytes(content)
        assert len(all_blocks(path)) >= RATE
    soundfile.write(path, np.stack([speech_like(20 * RATE)] * 2, axis=1), RATE)
    assert inspect(path).info.num_frames == 20 * RATE
    path.write_bytes(b"\1" * (1 << 17))
    with pytest.raises(AudioError, match="no frames of MPEG audio"):
        probe(path)
    assert capfd.readouterr() == ("", "")


def test_mp3_with_fewer_frames_than_it_says_is_cut_off(mp3s: tuple[Path, bytes, np.ndarray], no_ffmpeg: None) -> None:
    folder, data, _ = mp3s
    stated = data.index(b"Xing") + 8
    frames = int.from_bytes(data[stated : stated + 4], "big") + 5
    (folder / "h.mp3").write_bytes(data[:stated] + frames.to_bytes(4, "big") + data[stated + 4 :])
    found, findings = met(folder / "h.mp3")
    assert 0 <= len(found) - NUM_FRAMES < 4000, "nothing but the codec's delay and padding may be added"
    assert [finding.kind for finding in findings] == ["cut off"]


def test_mp3_that_changes_its_rate_is_not_cut_to_its_beginning(
    mp3s: tuple[Path, bytes, np.ndarray], no_ffmpeg: None
) -> None:
    folder, data, _ = mp3s
    soundfile.write(folder / "f.mp3", speech_like(10 * 44100), 44100)
    (folder / "g.mp3").write_bytes(untagged(data) + (folder / "f.mp3").read_bytes())
    with pytest.raises(DataError, match=r"g\.mp3: cannot be read .*another sample rate .* at byte \d+: 44100 Hz"):
        probe(folder / "g.mp3")


def test_an_id3_tag_that_reaches_beyond_the_file_does_not_hide_what_follows(
    mp3s: tuple[Path, bytes, np.ndarray], no_ffmpeg: None
) -> None:
    folder, data, _ = mp3s
    (folder / "k.mp3").write_bytes(data + b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(500) + data)
    found, findings = met(folder / "k.mp3")
    assert 2 * NUM_FRAMES - 2 * 1152 < len(found) < 2 * NUM_FRAMES + 4000
    assert {finding.kind for finding in findings} == {"damaged"}


@pytest.mark.parametrize("size", [10, 100, 300, 400])
def test_an_mp3_that_is_cut_before_its_sound_is_refused_by_name(
    tmp_path: Path, no_ffmpeg: None, capfd: pytest.CaptureFixture[str], size: int
) -> None:
    path = write(tmp_path, "mp3", speech_like(RATE))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(AudioError, match=r"a\.mp3: cannot be read as audio \((it|'.*a\.mp3')"):
        probe(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [800, 1100])
def test_an_mp3_that_is_cut_soon_is_read_up_to_there(
    tmp_path: Path, no_ffmpeg: None, capfd: pytest.CaptureFixture[str], size: int
) -> None:
    path = write(tmp_path, "mp3", speech_like(RATE))
    path.write_bytes(path.read_bytes()[:size])
    assert [finding.kind for finding in met(path)[1]] == ["cut off"]
    assert capfd.readouterr() == ("", "")
