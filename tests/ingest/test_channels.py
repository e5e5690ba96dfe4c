"""Channels: their mean is right unless it loses what one of them has; then it is chosen, and said."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hearing import RATE, encoded, hear, level_db, put, voice
from shards_to_verify import read_sample

from speechssl.audio.inspection import Choice, inspect
from speechssl.config import SegmentationConfig, ShardConfig
from speechssl.data.corpus import read_corpus
from speechssl.ingest.clips import scan
from speechssl.ingest.pipeline import scanned_from
from speechssl.ingest.recordings import Recording
from speechssl.verbs import shard as ingest

VOICE, OTHER = voice(6, 1), voice(6, 2)
TURNS = (np.arange(len(VOICE)) // (RATE // 2) % 2).astype(np.float32)


def noise(level: float, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(len(VOICE))).astype(np.float32)


def write(folder: Path, *channels: np.ndarray, suffix: str = "wav", rate: int = RATE) -> Path:
    path = folder / f"a.{suffix}"
    soundfile.write(path, np.stack(channels, axis=1), rate, **({"subtype": "FLOAT"} if suffix == "wav" else {}))
    return path


@pytest.mark.parametrize(
    "channels",
    [
        (VOICE, VOICE),
        (VOICE, 0.3 * VOICE),
        (VOICE, OTHER),
        (VOICE + noise(0.003), VOICE + noise(0.003, 1)),
        (VOICE, np.roll(VOICE, 2)),
        (VOICE, VOICE, VOICE),
    ],
    ids=["the same", "panned", "two at a time", "two microphones", "a hand's breadth apart", "three"],
)
def test_ordinary_channels_are_mixed_as_ever_and_nothing_is_said(
    tmp_path: Path, channels: tuple[np.ndarray, ...]
) -> None:
    heard = hear(write(tmp_path, *channels), "words")
    mean = np.stack(channels, axis=1).astype(np.float32).mean(axis=1, dtype=np.float32)
    np.testing.assert_array_equal(heard.samples[0], np.clip(np.round(mean * 32768), -32768, 32767) / 32768)
    assert not heard.kinds
    assert "channels" not in heard.metadata[0]


@pytest.mark.parametrize(
    ("channels", "chosen", "kind"),
    [
        ((VOICE, -VOICE), 0, "opposite polarity"),
        ((VOICE, -0.98 * VOICE + noise(1e-3)), 0, "opposite polarity"),
        ((-0.3 * VOICE, VOICE), 1, "opposite polarity"),
        ((VOICE, np.concatenate([VOICE[: 5 * RATE], -VOICE[5 * RATE :]])), 0, "opposite polarity"),
        ((VOICE, -VOICE, VOICE, -VOICE), 0, "opposite polarity"),
        ((VOICE, 0 * VOICE), 0, "silent channels"),
        ((noise(1e-4), VOICE), 1, "silent channels"),
        ((*(0 * VOICE,) * 3, VOICE, *(0 * VOICE,) * 2), 3, "silent channels"),
        (tuple(noise(2e-3, seed) + (VOICE if seed == 4 else 0) for seed in range(6)), 4, "faint in the mix"),
        ((VOICE, np.roll(VOICE, 80)), 0, "delayed channels"),
        ((np.roll(VOICE, 300), VOICE), 1, "delayed channels"),
    ],
)
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_mean_that_loses_the_voice_is_not_taken(
    tmp_path: Path, channels: tuple[np.ndarray, ...], chosen: int, kind: str, suffix: str
) -> None:
    heard = hear(write(tmp_path, *channels, suffix=suffix), "words")
    assert heard.kinds == {kind}
    assert f"channel {chosen} is used" in heard.notes[0].detail
    assert heard.metadata[0]["channels"] == [chosen]
    assert level_db(heard.samples[0]) == pytest.approx(level_db(channels[chosen]), abs=0.3)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_the_choice_does_not_depend_on_the_rate(tmp_path: Path, rate: int) -> None:
    samples = voice(3, 1, rate)
    heard = hear(write(tmp_path, samples, -samples, rate=rate))
    assert heard.kinds == {"opposite polarity"}
    assert level_db(heard.samples[0]) == pytest.approx(level_db(samples), abs=0.5)


def test_two_ends_of_a_call_are_mixed_and_named(tmp_path: Path) -> None:
    path = write(tmp_path, VOICE * TURNS, OTHER * (1 - TURNS))
    heard = hear(path)
    assert heard.kinds == {"channels differ"}
    assert "--channel each" in heard.notes[0].detail
    np.testing.assert_allclose(heard.samples[0], (VOICE * TURNS + OTHER * (1 - TURNS)) / 2, atol=1e-4)


def test_a_channel_with_an_offset_and_no_sound_is_silent(tmp_path: Path) -> None:
    heard = hear(write(tmp_path, 0 * VOICE + 0.3, VOICE))
    assert heard.kinds == {"silent channels"}
    np.testing.assert_allclose(heard.samples[0], VOICE, atol=1e-4)


def test_voices_in_few_of_many_channels_are_all_kept(tmp_path: Path) -> None:
    silent = 0 * VOICE
    heard = hear(write(tmp_path, silent, VOICE * TURNS, silent, silent, OTHER * (1 - TURNS), silent))
    assert heard.kinds == {"channels differ"}
    assert heard.metadata[0]["channels"] == [1, 4]
    np.testing.assert_allclose(heard.samples[0], (VOICE * TURNS + OTHER * (1 - TURNS)) / 2, atol=1e-4)


def test_who_speaks_late_on_the_other_channel_is_not_left_out(tmp_path: Path) -> None:
    """Between the places at which a long file is heard first, there is another voice."""
    first = np.tile(VOICE, 10)
    second = np.zeros_like(first)
    where = slice(RATE * 31 + 1000, RATE * 31 + 1000 + 3 * RATE // 2)
    second[where], first[where] = OTHER[: 3 * RATE // 2], 0
    heard = hear(write(tmp_path, first, second))
    assert heard.kinds == {"channels differ"}
    np.testing.assert_allclose(heard.samples[0], (first + second) / 2, atol=1e-4)


@pytest.mark.parametrize(
    ("suffix", "gain", "seconds"),
    [("flac", 0.8, 10), ("ogg", 0.8, 10), ("mp3", 0.8, 60), ("mp3", -0.8, 60), ("wav", -0.8, 60), ("flac", -0.8, 70)],
)
def test_no_more_of_a_long_file_is_decoded_than_tells_its_channels(
    tmp_path: Path, suffix: str, gain: float, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, np.tile(VOICE, 10), gain * np.tile(VOICE, 10), suffix=suffix)
    opened, found = list[object](), list[int]()
    original, original_open = soundfile.SoundFile.read, soundfile.SoundFile.__init__

    def counted(self: soundfile.SoundFile, frames: int, **options: object) -> np.ndarray:
        found.append(len(samples := original(self, frames, **options)))
        return samples

    def opening(self: soundfile.SoundFile, source: object, **options: object) -> None:
        opened.append(source)
        original_open(self, source, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    monkeypatch.setattr(soundfile.SoundFile, "__init__", opening)
    assert inspect(path).choice.channels == (() if gain > 0 else (0,))
    assert sum(found) == seconds * RATE, "of 60 s"
    assert len(opened) == 1


def test_a_channel_is_chosen_by_the_list_before_the_options(tmp_path: Path) -> None:
    path = write(tmp_path, VOICE, -OTHER)
    for options, expected in (
        ({"channel": 0}, VOICE),
        ({"channel": 1}, -OTHER),
        ({"channel": 0, "listed": {"channel": 1}}, -OTHER),
        ({"listed": {"channel": 0}}, VOICE),
        ({"channel": "each", "listed": {"channel": 1}}, -OTHER),
    ):
        heard = hear(path, "words", **options)
        assert len(heard.samples) == 1
        np.testing.assert_allclose(heard.samples[0], expected, atol=1e-4)
        assert not heard.kinds


@pytest.mark.parametrize(("channel", "there"), [(2, "0 to 1"), (-1, "0 to 1")])
def test_a_channel_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, channel: int, there: str) -> None:
    heard = hear(write(tmp_path, VOICE, OTHER), listed={"channel": channel})
    assert [(item.reason, item.key) for item in heard.rejected] == [("no such channel", "key")]
    assert f"channel {channel}, the file has {there}" in heard.rejected[0].detail
    mono = hear(put(tmp_path / "b.wav", encoded(VOICE, "WAV", "PCM_16")), channel=1)
    assert "channel 1, the file has 0 alone" in mono.rejected[0].detail


def test_each_channel_becomes_a_recording(tmp_path: Path) -> None:
    heard = hear(write(tmp_path, VOICE, OTHER), channel="each")
    assert [item["key"] for item in heard.metadata] == ["key-ch0", "key-ch1"]
    assert [item["channels"] for item in heard.metadata] == [[0], [1]]
    for samples, expected in zip(heard.samples, (VOICE, OTHER), strict=True):
        np.testing.assert_allclose(samples, expected, atol=1e-4)
    mono = hear(put(tmp_path / "b.wav", encoded(VOICE, "WAV", "PCM_16")), "words", channel="each")
    assert [item["key"] for item in mono.metadata] == ["key"]
    assert not mono.kinds


def test_a_transcript_of_all_channels_is_given_to_none_of_them(tmp_path: Path) -> None:
    heard = hear(write(tmp_path, VOICE, OTHER), "words", channel="each")
    assert [item.reason for item in heard.rejected] == ["transcript of several channels"]
    assert "a column channel" in heard.rejected[0].detail


def test_pieces_of_a_long_recording_are_of_the_channel_that_was_chosen(tmp_path: Path) -> None:
    """Through the whole of ingest: what was chosen is written down and read again."""
    (tmp_path / "in").mkdir()
    pauses = (np.arange(60 * RATE) // (5 * RATE) % 2 == 0) * np.tile(VOICE, 10)
    noisy = pauses + 1e-4 * np.random.default_rng(0).standard_normal(len(pauses)).astype(np.float32)
    write(tmp_path / "in", 0.1 * noisy, -noisy, suffix="flac")
    segmentation = SegmentationConfig(method="energy", max_seconds=10)
    config = ShardConfig([str(tmp_path / "in")], tmp_path / "out", segmentation=segmentation)
    assert ingest.run(config).num_samples >= 6
    corpus = read_corpus([str(tmp_path / "out")])
    whole, _ = soundfile.read(tmp_path / "in" / "a.flac", dtype="float32")
    for ref in corpus:
        with open(ref.shard, "rb") as file:  # noqa: PTH123
            file.seek(ref.offset)
            sample = file.read(ref.size)
        second = float((re.findall(rb'"start_seconds": ([\d.]+)', sample) or [b"0"])[0])  # rounded to 0.1 ms
        samples = read_sample(ref, RATE).audio
        starts = [max(0, round(second * RATE) + offset) for offset in (-1, 0, 1)]
        assert any(np.array_equal(samples, whole[start : start + len(samples), 1]) for start in starts)


def test_what_was_chosen_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, 0 * VOICE, 1.5 / np.abs(VOICE).max() * VOICE, 0 * VOICE)
    scanned = scan(Recording("key", str(path)), ShardConfig([], tmp_path))
    assert scanned.clips[0].choice == Choice((1,), 0.5)
    assert scanned_from(json.loads(json.dumps(scanned))) == scanned


@pytest.mark.parametrize("channel", ["mix", "each", 1])
def test_speech_is_looked_for_in_the_channel_that_is_taken(tmp_path: Path, channel: str | int) -> None:
    late = np.concatenate([np.zeros(20 * RATE, np.float32), np.tile(VOICE, 2), np.zeros(8 * RATE, np.float32)])
    early = np.roll(late, -15 * RATE)
    floor = (1e-4 * np.random.default_rng(1).standard_normal(len(late))).astype(np.float32)
    segmentation = SegmentationConfig(method="energy", padding_seconds=0.5)
    path = write(tmp_path, early + floor, late + floor, suffix="flac")
    heard = hear(path, channel=channel, cut_above_seconds=10, segmentation=segmentation)
    starts = [(item["key"], item["start_seconds"]) for item in heard.metadata]
    expected = {
        "mix": [("key-00000", 4.5)],
        "each": [("key-ch0-00000", 4.5), ("key-ch1-00000", 19.5)],
        1: [("key-00000", 19.5)],
    }[channel]
    assert [key for key, _ in starts if key.endswith("00000")] == [key for key, _ in expected]
    for key, second in expected:
        assert dict(starts)[key] == pytest.approx(second, abs=0.3)


@pytest.mark.parametrize("seed", range(4))
def test_no_channels_at_random_lose_the_loudest_without_a_word(tmp_path: Path, seed: int) -> None:
    draws = np.random.default_rng(seed)
    for _ in range(12):
        num_channels = int(draws.integers(2, 7))
        channels = []
        for _ in range(num_channels):
            gain = draws.choice([0, 1e-4, 0.03, 0.3, 1, 1]) * draws.choice([1, 1, -1])
            sound = np.roll(VOICE[: 2 * RATE], int(draws.choice([0, 0, 0, 3, 40, 200])))
            channels.append(gain * sound + noise(draws.choice([0, 1e-4, 1e-3]), int(draws.integers(99)))[: 2 * RATE])
        channels[int(draws.integers(num_channels))] += VOICE[: 2 * RATE]
        buffer = io.BytesIO()
        soundfile.write(buffer, np.stack(channels, 1).astype(np.float32), RATE, format="FLAC", subtype="PCM_24")
        heard = hear(put(tmp_path / "a.flac", buffer.getvalue()), "words")
        loudest = max(map(level_db, channels))
        kept = level_db(heard.samples[0])
        assert kept > loudest - (12.0 if "channels differ" in heard.kinds else 5.6), (num_channels, heard.kinds)
        assert not heard.rejected
