"""Lengths and segments that a list states, beside the files that are there."""

from pathlib import Path

import pytest
from hearing import RATE, Heard, encoded, hear, put, voice

from speechssl.audio import mp3

SECONDS = 6.0


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put(tmp_path_factory.mktemp("spans") / "a.wav", encoded(voice(SECONDS), "WAV", "PCM_16"))


def only(heard: Heard) -> str:
    """Kind and detail of the one thing that is said."""
    said = [f"{note.kind}: {note.detail}" for note in heard.notes]
    said += [f"{item.reason}: {item.detail}" for item in heard.rejected]
    assert len(said) == 1
    return said[0]


def test_lengths_that_agree_are_not_worth_a_word(path: Path) -> None:
    for text in ["", "words"]:
        for listed in [
            {"stated_seconds": 6.0},
            {"stated_seconds": 6.09},
            {"stated_seconds": 5.95},
            {"stated_frames": 6 * RATE},
            {"stated_frames": 6 * RATE + 1000},
            {"stated_seconds": 2.0, "start_seconds": 1.0, "stop_seconds": 3.0},
            {"stated_seconds": 6.0, "start_seconds": 1.0, "stop_seconds": 3.0},
            {"start_seconds": 1.0},
            {"stop_seconds": 6.05},
            {},
        ]:
            heard = hear(path, text, listed)
            assert not heard.kinds
            expected = min(SECONDS, listed.get("stop_seconds", SECONDS)) - listed.get("start_seconds", 0)
            assert heard.seconds == pytest.approx(expected)


def test_other_lengths_are_named(path: Path) -> None:
    for listed, text, said in [
        ({"stated_seconds": 5.0}, "words", "list says another length: the list says 5.00 s, there are 6.00 s"),
        ({"stated_seconds": 6.3}, "words", "list says another length: the list says 6.30 s, there are 6.00 s"),
        ({"stated_seconds": 9.0}, "", "list says another length: the list says 9.00 s, there are 6.00 s"),
        ({"stated_frames": 3 * RATE}, "words", "list says another length: the list says 3.00 s, there are 6.00 s"),
    ]:
        heard = hear(path, text, listed)
        assert heard.seconds == SECONDS
        assert only(heard) == said


def test_a_file_that_is_shorter_than_its_list_says_has_not_all_of_its_words(path: Path) -> None:
    for listed in [
        {"stated_seconds": 9.0},
        {"stated_frames": 9 * RATE},
        {"stated_seconds": 6.6},
        {"stated_seconds": 6000.0},
    ]:
        heard = hear(path, "words", listed)
        assert not heard.samples
        assert only(heard).startswith("shorter than the list says: the list says ")


def test_segments_that_leave_their_file_are_named_with_both_numbers(path: Path) -> None:
    for text in ["", "words"]:
        for start, stop, said in [
            (4.0, 9.0, "the segment from 4 s to 9 s, the file lasts 6.00 s; correct the list"),
            (7.0, 9.0, "the segment from 7 s to 9 s, the file lasts 6.00 s; correct the list"),
            (7.0, None, "the segment from 7 s to its end, the file lasts 6.00 s; correct the list"),
            (0.0, 3000.0, "the segment from 0 s to 3000 s, the file lasts 6.00 s; correct the list"),
            (5.0, 6.4, "the segment from 5 s to 6.4 s, the file lasts 6.00 s; correct the list"),
        ]:
            heard = hear(path, text, {"start_seconds": start, "stop_seconds": stop})
            assert not heard.samples
            assert only(heard).startswith("segment leaves its file: ")
            assert only(heard).endswith(said)


def test_a_segment_that_reaches_a_little_past_the_end_is_cut_there(path: Path) -> None:
    heard = hear(path, "words", {"start_seconds": 1.0, "stop_seconds": 6.3})
    assert heard.seconds == 5
    assert only(heard) == "segment leaves its file: it ends at 6.3 s, the file at 6.00 s; it is cut there"


def test_segments_of_a_file_that_is_cut_off_are_used_where_it_is_not(tmp_path: Path) -> None:
    data = encoded(voice(SECONDS), "WAV", "PCM_16")
    cut = put(tmp_path / "a.wav", data[: 2 * len(data) // 3])
    kept = hear(cut, "words", {"start_seconds": 1.0, "stop_seconds": 3.5})
    assert kept.seconds == 2.5
    assert kept.kinds == {"cut off"}
    assert hear(cut, "words", {"start_seconds": 3.0, "stop_seconds": 5.5}).kinds == {"segment leaves its file"}
    assert not hear(cut, "words", {"start_seconds": 3.0}).samples, "up to an end that is missing"


def test_a_file_of_many_segments_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "b.mp3", encoded(voice(SECONDS), "MP3", "MPEG_LAYER_III").replace(b"Xing", bytes(4)))
    walks: list[Path] = []
    original = mp3.walk
    monkeypatch.setattr(mp3, "walk", lambda path: walks.append(path) or original(path))
    for i in range(50):
        hear(path, "words", {"start_seconds": i / 10, "stop_seconds": i / 10 + 0.1})
    assert len(walks) == 51, "once to look, and once for each that is read"
