"""Paths of lists that are nearly right: the file they mean is found and named, or the nearest one is offered."""

import itertools
import os
import unicodedata
from pathlib import Path

import pytest
from source_files import by_key, find, reasons, write, write_manifest

from speechssl.ingest.lists import paths as list_paths
from speechssl.ingest.recordings import Found


def listed(folder: Path, *paths: str) -> Found:
    return find(
        write_manifest(folder / "list.jsonl", [{"path": path, "text": f"row {i}"} for i, path in enumerate(paths)])
    )


def near(found: Found) -> list[tuple[str, str]]:
    """File and kind of each path that was nearly right."""
    return [
        (note.detail.rpartition(" is taken as ")[2], note.kind.removeprefix("path mended: ")) for note in found.notes
    ]


def test_one_file_that_is_nearly_so_called_is_used_and_named(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for path, kind in [
        ("clips\\0001.wav", "spelling"),
        (".\\clips\\0001.wav", "spelling"),
        (" clips/0001.wav", "spelling"),
        ('"clips/0001.wav"', "spelling"),
        ("clips/0001.WAV", "spelling"),
        ("clips/0001", "suffix"),
        ("clips/0001.mp3", "suffix"),
        ("clips/0001.flac ", "suffix"),
        ("file://{folder}/clips/0001.wav", "spelling"),
        ("file:{folder}/clips/%30001.wav", "spelling"),
        ("/home/anna/corpus/clips/0001.wav", "moved folder"),
        ("C:\\corpus\\clips\\0001.wav", "moved folder"),
        ("D:/corpus/clips/0001.wav", "moved folder"),
        ("downloads/corpus/clips/0001.wav", "moved folder"),
        ("/home/anna/0001.wav", "moved folder"),
    ]:
        folder = next(folders)
        folder.mkdir()
        write(folder / "corpus/clips/0001.wav")
        write(folder / "corpus/clips/0002.wav")
        found = listed(folder / "corpus", path.format(folder=folder / "corpus"))
        assert near(found) == [(str(folder / "corpus/clips/0001.wav"), kind)]
        assert found.notes[0].path == f"{folder}/corpus/list.jsonl:1"
        assert found.rejected == []
        (recording,) = found.recordings
        assert recording.text == "row 0"
        assert recording.key in ("clips_0001", "0001")


def test_unicode_forms(tmp_path: Path) -> None:
    for there, named in (("NFC", "NFD"), ("NFD", "NFC")):
        name = "çafé 각.wav"
        path = write(tmp_path / there / "clips" / unicodedata.normalize(there, name))
        for wanted in (name, name.upper()):
            found = listed(tmp_path / there, f"clips/{unicodedata.normalize(named, wanted)}")
            assert near(found) == [(str(path), "spelling")]


def test_files_above_the_list(tmp_path: Path) -> None:
    write(tmp_path / "corpus/audio/a.wav")
    found = listed(tmp_path / "corpus/lists/train", "audio/a.wav")
    assert near(found) == [(str(tmp_path / "corpus/audio/a.wav"), "folder above")]
    assert list(by_key(found)) == ["audio_a"]


def test_a_corpus_that_was_moved(tmp_path: Path) -> None:
    names = [f"s{i % 2}/{i}.wav" for i in range(6)]
    for name in names:
        write(tmp_path / "new/wav" / name)
    here = listed(tmp_path / "new", *(f"wav/{name}" for name in names))
    for below in ("new", "new/lists"):
        found = listed(tmp_path / below, *(f"/mnt/old/corpus/wav/{name}" for name in names))
        assert [(r.path, r.text) for r in found.recordings] == [(r.path, r.text) for r in here.recordings]
        assert len(found.notes) == 6
        assert found.rejected == []
    assert [r.key for r in listed(tmp_path / "new", *(f"/old/wav/{name}" for name in names)).recordings] == [
        r.key for r in here.recordings
    ]


def test_folders_that_are_gone_do_not_make_one_file_of_two(tmp_path: Path) -> None:
    write(tmp_path / "0001.wav")
    write(tmp_path / "0002.wav")
    found = listed(tmp_path, "/old/anna/0001.wav", "/old/ben/0001.wav", "/old/ben/0002.wav", "0002.wav")
    assert [(Path(r.path).name, r.text) for r in found.recordings] == [("0002.wav", "row 3")]
    assert reasons(found) == [("0001.wav", "no such file"), ("0001.wav", "no such file"), ("0002.wav", "no such file")]
    assert all("which other rows would mean too" in item.detail for item in found.rejected)


def test_what_may_be_either_of_two_is_neither(tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac", "b.wav", "B.wav", "c.txt", "d.wav", "d"):
        write(tmp_path / name)
    found = listed(tmp_path, "a", "a.mp3", "B.WAV", "c", "b.wav", "d")
    assert [Path(r.path).name for r in found.recordings] == ["b.wav", "d"]
    details = {item.path.rpartition("/")[2]: item.detail.partition("; ")[2] for item in found.rejected}
    assert details["a"] == details["a.mp3"] == f"it may be {tmp_path}/a.flac or {tmp_path}/a.wav"
    assert details["B.WAV"] == f"it may be {tmp_path}/B.wav or {tmp_path}/b.wav"
    assert set(details) == {"a", "a.mp3", "B.WAV", "c"}


def test_the_very_name_comes_first(tmp_path: Path) -> None:
    odd = ["a\\b.wav", " c.wav", "d%20e.wav", "F.WAV", "clips/g", "file:h.wav", "~", "~i.wav", "{x}/j.wav"]
    for name in [*odd, "a/b.wav", "c.wav", "d e.wav", "f.wav", "clips/g.wav", "h.wav", "j.wav"]:
        write(tmp_path / name)
    found = listed(tmp_path, *odd)
    assert {os.path.relpath(r.path, tmp_path) for r in found.recordings} == set(odd)
    assert found.notes == []


def test_the_nearest_name_is_offered(tmp_path: Path) -> None:
    for name in ("clips/0001.wav", "clips/0042.wav", "clips/zebra.wav", "takes/7.wav", "notes.md"):
        write(tmp_path / name)
    offered = {"clips/0001a.wav": "clips/0001.wav", "taks/9.wav": "takes", "clips/x0042.wav": "clips/0042.wav"}
    found = listed(tmp_path, *offered)
    assert {item.path: item.detail.partition("; ")[2] for item in found.rejected} == {
        str(tmp_path / path): f"{tmp_path / nearest} is there" for path, nearest in offered.items()
    }


def test_nothing_is_offered_where_nothing_is_like_it(tmp_path: Path) -> None:
    write(tmp_path / "zebra.wav")
    found = listed(tmp_path, "0001.wav", "/nowhere/at/all.wav", "../../../../../../../x.wav")
    assert len(found.rejected) == 3
    assert {item.reason for item in found.rejected} == {"no such file"}


def test_what_is_no_path_says_what_to_do(tmp_path: Path) -> None:
    advice = {
        "https://host/a.wav": "fetch it",
        "s3://bucket/a.wav": "fetch it",
        "flac -cds a.flac |": "give `flac -cds a.flac > FILE.wav`",
    }
    found = listed(tmp_path, *advice)
    assert [item.reason for item in found.rejected].count("address, not a file") == 2
    assert [item.reason for item in found.rejected].count("command, not a file") == 1
    assert all(advice[item.path] in item.detail for item in found.rejected)


def test_no_path_stops_a_corpus(tmp_path: Path) -> None:
    write(tmp_path / "clips/a.wav")
    odd = ["a\0b.wav", "x" * 5000, "clips/" * 900 + "a.wav", ".", "/", "..", "%00", "file://", "\\", "|"]
    found = listed(tmp_path, "clips/a.wav", *odd)
    assert [r.text for r in found.recordings] == ["row 0"]
    assert len(found.rejected) == len(odd)


def test_a_folder_is_listed_once_whatever_the_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(50):
        write(tmp_path / "clips" / f"{i:04d}.wav")
    paths = [f"clips/{i:04d}.WAV" for i in range(50)] + [f"clips/{i}.missing" for i in range(50)]
    manifest = write_manifest(tmp_path / "list.jsonl", [{"path": path} for path in paths])
    listdir, scanned = os.listdir, []

    def counted(path: str) -> object:
        scanned.append(str(path))
        return listdir(path)

    monkeypatch.setattr(list_paths.os, "listdir", counted)
    found = find(manifest)
    assert (len(found.recordings), len(found.rejected)) == (50, 50)
    assert scanned.count(str(tmp_path / "clips")) == 1 + 3  # for the nearest names of the first
