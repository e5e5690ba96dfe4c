"""Webdataset tars as sources: samples, descriptions, and what is damaged."""

import re
from pathlib import Path

from source_files import SAMPLES, by_key, find, message, read_member, write, write_members, write_tar


def test_tars(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "s.tar", SAMPLES)
    found = find(tar)
    assert {r.key: (r.text, r.speaker, r.language, r.split, r.recording) for r in found.recordings} == {
        "utt_one": ("YES", "s1", "en", "dev", "talk"),
        "two": ("nö", "", "", "", "two"),
        "three": ("GO", "", "", "", "three"),
        "four": ("", "", "", "", "four"),
    }
    assert all(recording.path == str(tar) and recording.start_seconds is None for recording in found.recordings)
    assert [read_member(recording) for recording in found.recordings] == [b"first", b"the second", b"third", b"4th"]
    assert [r.member.name for r in found.recordings if r.member] == ["utt/one.flac", "two.wav", "three.mp3", "four.m4a"]


def test_folders_and_globs_of_tars(tmp_path: Path) -> None:
    tars = [write_tar(tmp_path / "set" / folder / "s.tar", SAMPLES) for folder in ("a", "b")]
    write(tmp_path / "set/a/s.tar.index", "index")
    expected = find(*tars).recordings
    assert len(expected) == 8
    found = find(tmp_path / "set")
    assert found.recordings == expected
    assert found.passed_over == {".index": 1}
    by_glob = find(tmp_path / "set/*/*.tar", tars[0])
    assert (by_glob.recordings, by_glob.rejected, by_glob.passed_over) == (expected, [], {})
    assert find(tmp_path / "set/*").recordings == expected
    assert all(re.fullmatch(r"(utt_one|two|three|four)_[0-9a-f]{8}", r.key) for r in expected)


def test_tars_among_audio_are_most_likely_its_archive(tmp_path: Path) -> None:
    write_tar(tmp_path / "corpus.tar", SAMPLES)
    write(tmp_path / "corpus/a.wav")
    found = find(tmp_path)
    assert list(by_key(found)) == ["corpus_a"]
    assert found.passed_over == {".tar beside audio": 1}


def test_shards_of_this_package_are_sources(shards: Path) -> None:
    found = find(shards)
    assert [recording.key for recording in found.recordings] == [f"u{i:03d}" for i in range(24)]
    assert found.recordings[1].text == "NO"
    assert found.recordings[1].speaker == "s1"
    assert all(read_member(recording).startswith(b"fLaC") for recording in found.recordings)
    assert found.rejected == []


def test_members_need_not_be_adjacent(tmp_path: Path) -> None:
    members = [("a.wav", b"A"), ("b.wav", b"B"), ("b.json", b'{"text": "BE"}'), ("a.json", b'{"text": "AY"}')]
    found = find(write_members(tmp_path / "s.tar", members))
    assert [(r.key, r.text, read_member(r)) for r in found.recordings] == [("a", "AY", b"A"), ("b", "BE", b"B")]


def test_what_is_no_sample_is_named(tmp_path: Path) -> None:
    names = ["a.wav", "b.json", "c.wav", "c.flac", "d.1.wav", "d.2.wav", "d.json", "README", "._a.wav", "e.wav"]
    tar = write_members(tmp_path / "s.tar", [(name, b"" if name == "e.wav" else b"{}") for name in names])
    found = find(tar)
    assert list(by_key(found)) == ["a"]
    assert [(item.path.removeprefix(f"{tar}: "), item.reason) for item in found.rejected] == [
        ("b", "no audio member"),
        ("c", "several audio members"),
        ("d.1.wav", "dotted key"),
        ("d.2.wav", "dotted key"),
        ("e.wav", "empty file"),
    ]
    assert found.passed_over == {"tar member without KEY.SUFFIX": 1}


def test_a_tar_that_is_cut_off_anywhere_is_an_error(tmp_path: Path) -> None:
    members = [(f"{key}.{suffix}", b"{}" * 300) for key in ("a", "b") for suffix in ("wav", "json")]
    whole = write_members(tmp_path / "s.tar", members).read_bytes()
    needed = 4 * (512 + 1024) + 1024
    for length in [*range(0, needed, 256), needed - 1, needed - 512]:
        tar = write(tmp_path / "cut.tar", whole[:length])
        assert re.search(r"cut\.tar: .* at byte \d+: .*\S", message(tar)), length
    write(tmp_path / "cut.tar", whole[:needed])
    write(tmp_path / "cut.tar", whole[:needed].replace(b"{}" * 300, b'{"text":"A"}' + b" " * 588))
    assert len(find(tmp_path / "cut.tar").recordings) == 2


def test_damaged_tars_are_errors_that_say_where(tmp_path: Path) -> None:
    good = write_tar(tmp_path / "good.tar", SAMPLES)
    data = bytearray(good.read_bytes())
    data[1024 + 100] ^= 1
    broken = write(tmp_path / "broken.tar", bytes(data))
    twice = write_members(tmp_path / "twice.tar", [("a.wav", b"1"), ("b.wav", b"2"), ("a.wav", b"3")])
    empty = write_members(tmp_path / "empty.tar", [])
    bare = write_members(tmp_path / "bare.tar", [("README", b"1")])
    wrong = write_tar(tmp_path / "wrong.tar", [{"__key__": "a", "wav": b"1", "json": b"[1]"}])
    torn = write_tar(tmp_path / "torn.tar", [{"__key__": "b", "wav": b"1", "json": b"{"}])
    text = message(good, broken, twice, empty, bare, wrong, torn)
    assert "good.tar" not in text
    assert "broken.tar: damaged header at byte 1024: " in text
    assert "twice.tar: a: duplicate key at byte 0: " in text
    assert "empty.tar: no samples" in text
    assert "bare.tar: no samples, expected members KEY.SUFFIX" in text
    assert "wrong.tar: a: its .json is a list, expected an object; make the tar again" in text
    assert "torn.tar: b: Expecting property name" in text
