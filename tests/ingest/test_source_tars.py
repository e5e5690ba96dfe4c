"""Webdataset tars as sources: samples, descriptions, and what is damaged."""

import random
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from source_files import SAMPLES, by_key, find, ignored, message, read_member, reasons, write, write_members, write_tar

from speechssl.shards.members import transcript_of
from speechssl.shards.transcripts import TRANSCRIPT_SUFFIXES
from speechssl.shards.webdataset_alone import is_reserved, split_name


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
    assert ignored(found) == {".index": 1}
    by_glob = find(tmp_path / "set/*/*.tar", tars[0])
    assert (by_glob.recordings, by_glob.rejected, by_glob.ignored) == (expected, [], [])
    assert find(tmp_path / "set/*").recordings == expected
    assert all(re.fullmatch(r"(utt_one|two|three|four)_[0-9a-f]{8}", r.key) for r in expected)


def test_a_tar_among_audio_is_named_and_read_if_it_is_a_source(tmp_path: Path) -> None:
    write_tar(tmp_path / "corpus.tar", SAMPLES)
    write(tmp_path / "corpus/a.wav")
    found = find(tmp_path)
    assert list(by_key(found)) == ["corpus_a"]
    assert reasons(found) == [("corpus.tar", "tar among audio")]
    assert "give it as a source of its own" in found.rejected[0].detail
    assert len(find(tmp_path / "corpus.tar", tmp_path / "corpus").recordings) == 5


def test_archives_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    for name in ("set.tar.gz", "set.tgz", "set.tar.zst", "set.zip", "b.wav.gz"):
        write(tmp_path / name)
    assert ignored(find(tmp_path)) == {
        "archive .gz, to be unpacked": 2,
        "archive .tgz, to be unpacked": 1,
        "archive .zst, to be unpacked": 1,
        "archive .zip, to be unpacked": 1,
    }
    assert f"{tmp_path}/set.zip: neither audio, nor a list of it, nor a tar (archive .zip" in message(
        tmp_path / "set.zip"
    )


def test_shards_of_this_package_among_audio_are_named(tmp_path: Path, shards: Path) -> None:
    shutil.copytree(shards, tmp_path / "made")
    write(tmp_path / "a.wav")
    found = find(tmp_path)
    assert list(by_key(found)) == ["a"]
    assert ignored(found)["shard of speechssl among audio"] == len(list(shards.glob("*.tar")))
    assert found.rejected == []


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
    names = ["a.wav", "b.json", "c.wav", "c.flac", "d.1.wav", "d.2.wav", "d.json", "README", "._a.wav", "e.wav", "f.py"]
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
    assert [(item.path.removeprefix(f"{tar}: "), item.reason) for item in found.ignored] == [
        ("._a.wav", "hidden tar member"),
        ("README", "tar member without KEY.SUFFIX"),
        ("d.json", "tar member .json"),
        ("f.py", "tar member .py"),
    ]


def test_members_of_one_name_are_named_whatever_their_suffix(tmp_path: Path) -> None:
    audio = b"RIFF\0\0\0\0WAVEfmt "
    for i, name in enumerate(("x.dat", "x")):
        tar = write_members(tmp_path / f"{i}.tar", [("a.wav", audio), (name, audio), (name, audio + b"2")])
        found = find(tar)
        assert list(by_key(found)) == ["a"]
        assert [(item.path, item.reason) for item in found.rejected] == [(f"{tar}: x", "duplicate key")]


def test_transcripts_in_tars_have_the_names_they_have_in_folders(tmp_path: Path) -> None:
    suffixes = (*TRANSCRIPT_SUFFIXES, "wav.txt", "wav.normalized.txt", "TXT", "Lab")
    members = [(f"u{i}.{name}", b"") for i, suffix in enumerate(suffixes) for name in ("wav", suffix)]
    texts = {name: (b"audio" if name.endswith("wav") else f"words {name[1]}".encode()) for name, _ in members}
    tar = write_members(tmp_path / "s.tar", list(texts.items()))
    for name, content in texts.items():
        write(tmp_path / "folder" / name, content)
    expected = {f"u{i}": f"words {str(i)[0]}" for i in range(len(suffixes))}
    for source in (tar, tmp_path / "folder"):
        found = find(source)
        assert {key: recording.text for key, recording in by_key(found).items()} == expected
        assert (found.rejected, found.ignored) == ([], [])
    assert transcript_of({"normalized.txt": b"one", "wav.txt": b"two"}, {}, name="s.tar: u") == "one"


def test_speakers_and_languages_may_be_members_of_their_own(tmp_path: Path) -> None:
    members = [("a.wav", b"1"), ("a.speaker", b"anna\n"), ("a.lang", b"de"), ("a.txt", b"ja"), ("a.cls", b"3")]
    found = find(write_members(tmp_path / "s.tar", members))
    assert by_key(found)["a"][2:5] == ("ja", "anna", "de")
    assert ignored(found) == {"tar member .cls": 1}


def test_links_are_named(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "b.txt", "c.wav", "c.png"):
        write(tmp_path / "x" / name, name)
    (tmp_path / "x/a.txt").hardlink_to(tmp_path / "x/b.txt")
    (tmp_path / "x/c.png").unlink()
    (tmp_path / "x/c.png").symlink_to("b.wav")
    (tmp_path / "x/d.flac").symlink_to("b.wav")
    (tmp_path / "x/e").mkdir()
    tar = tmp_path / "s.tar"
    with tarfile.open(tar, "w") as file:
        for name in ("b.wav", "b.txt", "a.wav", "a.txt", "c.wav", "c.png", "d.flac", "e"):
            file.add(tmp_path / "x" / name, name)
    found = find(tar)
    assert {r.key: r.text for r in found.recordings} == {"b": "b.txt", "c": ""}
    assert reasons(found) == [("s.tar: a", "link in a tar"), ("s.tar: d", "link in a tar")]
    assert found.rejected[0].detail.startswith("a.txt is a link; make the tar again with what it leads to")
    assert ignored(found) == {"tar member that is no file": 1}


def test_audio_members_without_a_known_suffix_are_known_by_content(tmp_path: Path) -> None:
    members = [("a.audio", b"fLaC123"), ("a.txt", b"yes"), ("b", b"OggS456"), ("b.txt", b"no"), ("c.bin", b"fLa")]
    found = find(write_members(tmp_path / "s.tar", members))
    assert {r.key: (r.text, read_member(r)) for r in found.recordings} == {
        "a": ("yes", b"fLaC123"),
        "b": ("no", b"OggS456"),
    }
    assert ignored(found) == {"tar member .bin": 1}


def test_odd_samples_do_not_stop_a_sound_tar(tmp_path: Path) -> None:
    members = {
        "good.wav": b"1", "good.txt": b"yes", "list.wav": b"2", "list.json": b"[1]", "torn.wav": b"3",
        "torn.json": b"{",
        "latin.wav": b"4", "latin.txt": b"caf\xe9", "odd.wav": b"5", "odd.json": b'{"speaker": ["a"]}',
        "twice.wav": b"6", "timed.wav": b"7", "timed.lab": b"0 200 sil\n200 900 a\n",
    }  # fmt: skip
    tar = write_members(tmp_path / "s.tar", [*members.items(), ("twice.wav", b"8")])
    found = find(tar)
    assert {key: recording.text for key, recording in by_key(found).items()} == {"good": "yes", "list": "", "timed": ""}
    assert [(item.path.removeprefix(f"{tar}: "), item.reason) for item in found.rejected] == [
        ("latin", "unreadable transcript"),
        ("odd", "unreadable transcript"),
        ("torn", "unreadable transcript"),
        ("twice", "duplicate key"),
    ]
    assert ignored(found) == {"JSON without names of fields": 1, "no transcript: labels with times": 1}


def test_one_damaged_tar_of_many_is_left_out_with_its_samples(tmp_path: Path) -> None:
    whole = write_members(tmp_path / "set/a.tar", [("a.wav", b"1"), ("a.txt", b"yes")])
    cut = write(
        tmp_path / "set/b.tar", write_members(tmp_path / "b.tar", [(f"{i}.wav", b"2") for i in "bcd"]).read_bytes()
    )
    cut.write_bytes(cut.read_bytes()[: 4 * 512 + 100])
    for source in (tmp_path / "set", tmp_path / "set/*.tar"):
        found = find(source)
        assert [(r.key, r.path) for r in found.recordings] == [("a", str(whole))]
        assert reasons(found) == [
            ("b.tar", "damaged tar"),
            ("b.tar: b", "in a damaged tar"),
            ("b.tar: c", "in a damaged tar"),
        ]
        assert found.rejected[0].detail.startswith("truncated inside a header at byte 2048: the last 100 bytes")
    assert "b.tar: truncated inside a header at byte 2048" in message(cut)


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
    empty = write_members(tmp_path / "empty.tar", [])
    bare = write_members(tmp_path / "bare.tar", [("README", b"1")])
    text = message(good, broken, empty, bare)
    assert "good.tar" not in text
    assert "broken.tar: damaged header at byte 0: " in text
    assert "empty.tar: no samples" in text
    assert "bare.tar: no samples, expected members KEY.SUFFIX" in text


@pytest.mark.parametrize("seed", range(8))
def test_samples_are_those_of_webdatasets_reader(tmp_path: Path, seed: int) -> None:
    import webdataset

    draws = random.Random(seed)
    stems = [f"{folder}{stem}" for folder in ("", "./", "x/", "x.y/", "ä/") for stem in ("a", "b c", "d-1", "é")]
    members = []
    for stem in draws.sample(stems, k=12):
        suffixes = draws.sample(
            ["txt", "JSON", "png", "cls", "normalized.txt", "wav.txt", "x.y"], k=draws.randint(0, 3)
        )
        for suffix in draws.sample([draws.choice(["wav", "FLAC", "mp3"]), *suffixes], k=len(suffixes) + 1):
            content = b"{}" if suffix == "JSON" else f"{stem} {suffix}".encode()
            members.append((f"{stem}.{suffix}", content))
        members += draws.sample([("README", b"1"), ("__meta__/x.wav", b"2")], k=1)
    tar = write_members(tmp_path / "s.tar", members)
    theirs = {
        sample["__key__"]: next(value for name, value in sample.items() if name in ("wav", "flac", "mp3"))
        for sample in webdataset.WebDataset(str(tar), shardshuffle=False, empty_check=False)
    }
    found = find(tar)
    ours = {r.member.name.rpartition(".")[0]: read_member(r) for r in found.recordings if r.member}
    assert ours == theirs
    assert found.rejected == []


def test_names_are_split_by_webdatasets_own_function_without_pytorch() -> None:
    from webdataset.tariterators import base_plus_ext

    for name in ("a.b.c", "x.y/a.TXT", "./a.wav", "a", ".a.wav", "x/.a", "a.b/c", "a\nb.wav", "é.wav", "a..b", "/a.b"):
        key, suffix = base_plus_ext(name)
        assert split_name(name) == (key, (suffix or "").lower())
    assert is_reserved("x/._a.wav")
    assert is_reserved("__meta__/a.wav")
    assert not is_reserved("x/__a__.wav")
    code = """
import sys
from speechssl.shards.webdataset_alone import split_name
assert split_name("a.b.C") == ("a", "b.c")
assert "torch" not in sys.modules
import webdataset
assert webdataset.WebDataset
"""
    subprocess.run([sys.executable, "-c", code], check=True)
