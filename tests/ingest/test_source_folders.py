"""Folders, transcripts beside their audio, LibriSpeech and Common Voice: what is found, and messages."""

import json
import os
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_files import by_key, find, ignored, message, reasons, write

from speechssl.audio.formats import AUDIO_SUFFIXES
from speechssl.ingest import folders
from speechssl.ingest.recordings import Recording, Rejected


def test_folders_are_searched_to_the_bottom(tmp_path: Path) -> None:
    for i, suffix in enumerate(sorted(AUDIO_SUFFIXES)):
        write(tmp_path / "corpus" / f"level{i % 3}" / f"file{i}{suffix}")
    write(tmp_path / "corpus" / "a" / "b" / "c" / "LOUD.WAV")
    found = find(tmp_path / "corpus")
    assert len(found.recordings) == len(AUDIO_SUFFIXES) + 1
    recording = by_key(found)["a_b_c_LOUD"]
    assert recording == Recording("a_b_c_LOUD", str(tmp_path / "corpus/a/b/c/LOUD.WAV"), recording="a/b/c/LOUD")
    assert found.rejected == []
    assert found.ignored == []


def test_a_tree_against_a_slow_oracle(tmp_path: Path) -> None:
    draws = random.Random(0)
    names = ["a.wav", "a.txt", "b.FLAC", "b.lab", ".c.wav", "._a.wav", "d.pdf", "e.mp3", "e.transcript", "f"]
    for _ in range(150):
        folder = tmp_path.joinpath(*draws.choices(["x", "y", "z w"], k=draws.randint(0, 4)))
        write(folder / draws.choice(names), draws.choice(["", "one  two\n", "three"]))
    expected, empty, hidden = {}, [], 0
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name.startswith("."):
            hidden += 1
        elif path.suffix.lower() in {".wav", ".flac", ".mp3"}:
            beside = [path.with_suffix(suffix) for suffix in (".txt", ".lab", ".transcript")]
            texts = [" ".join(other.read_text().split()) for other in beside if other.exists()]
            if path.stat().st_size:
                expected[str(path)] = texts[0] if texts else ""
            else:
                empty.append(str(path))
    found = find(tmp_path)
    assert {recording.path: recording.text for recording in found.recordings} == expected
    assert [recording.path for recording in found.recordings] == sorted(expected)
    assert [(item.path, item.reason) for item in found.rejected] == [(path, "empty file") for path in sorted(empty)]
    assert ignored(found)["hidden"] == hidden
    assert ignored(found)[".pdf"] == len(list(tmp_path.rglob("d.pdf")))
    assert min(len(expected), len(empty), hidden) > 3


def test_transcripts_lie_beside_their_audio(tmp_path: Path) -> None:
    for stem in ("a", "b", "c", "d"):
        write(tmp_path / f"{stem}.wav")
    write(tmp_path / "a.txt", "\ufeffOne two\nthree\r\n")
    write(tmp_path / "a.lab", "0 10 sil")
    write(tmp_path / "b.LAB", "four")
    write(tmp_path / "c.transcript", "fünf")
    write(tmp_path / "README.txt", "no transcript")
    write(tmp_path / "a.mp3")
    found = find(tmp_path)
    texts = {Path(recording.path).name: recording.text for recording in found.recordings}
    assert texts == {
        "a.mp3": "One two three",
        "a.wav": "One two three",
        "b.wav": "four",
        "c.wav": "fünf",
        "d.wav": "",
    }
    assert [(Path(item.path).name, item.reason) for item in found.ignored] == [
        ("README.txt", ".txt, neither a list nor beside audio"),
        ("a.lab", "a second transcript"),
    ]
    assert found.fields == {
        "text": {".lab beside the audio": 1, ".transcript beside the audio": 1, ".txt beside the audio": 2}
    }


def test_recordings_whose_transcripts_cannot_be_read_are_left_out_by_name(tmp_path: Path) -> None:
    for stem in ("a", "b", "c", "d", "e"):
        write(tmp_path / f"{stem}.wav")
    write(tmp_path / "a.txt", "café".encode("latin-1"))
    write(tmp_path / "b.txt", "привет".encode("utf-16"))
    write(tmp_path / "c.txt", "hi".encode("utf-16-le"))
    (tmp_path / "d.txt").symlink_to(tmp_path / "nowhere.txt")
    found = find(tmp_path)
    assert {key: recording.text for key, recording in by_key(found).items()} == {"b": "привет", "e": ""}
    assert reasons(found) == [(f"{stem}.wav", "unreadable transcript") for stem in ("a", "c", "d")]
    details = [item.detail for item in found.rejected]
    assert details[0] == "its .txt is not UTF-8 at byte 3; convert it, for instance with iconv"
    assert details[1].startswith("its .txt holds the character '\\x00' (UTF-16 without a mark, or no text at all)")
    assert details[2] == f"{tmp_path}/d.txt cannot be read (No such file or directory)"
    assert found.ignored == []


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "a.wav")
    write(tmp_path / "data" / "b.wav")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    found = find(tmp_path / "data")
    assert sorted(by_key(found)) == ["b", "more_a"]
    assert [(item.path, item.reason) for item in found.ignored] == [
        (str(tmp_path / "data/more/back"), "link to a folder above")
    ]
    assert reasons(found) == [("gone.wav", "no such file")]


def test_a_video_beside_its_sound_is_ignored_by_name(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.WAV", "b.mkv", "c.mp3", "c.flac"):
        write(tmp_path / name)
    found = find(tmp_path)
    assert [Path(recording.path).name for recording in found.recordings] == ["a.WAV", "b.mkv", "c.flac", "c.mp3"]
    assert ignored(found) == {"video beside its audio": 1}
    by_glob = find(tmp_path / "*")
    assert (by_glob.recordings, by_glob.ignored) == (found.recordings, found.ignored)
    assert len(find(tmp_path / "*.mp4").recordings) == 1
    for order in ((tmp_path / "*", tmp_path / "a.mp4"), (tmp_path / "a.mp4", tmp_path / "*"), (tmp_path / "a.mp4",)):
        named = find(*order)
        assert "a.mp4" in {Path(recording.path).name for recording in named.recordings}
        assert named.ignored == []


def test_what_is_not_a_file_is_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    write(tmp_path / "a.wav")
    write(tmp_path / "folder.wav" / "b.wav")
    found = find(tmp_path)
    assert sorted(by_key(found)) == ["a", "folder_wav_b"]
    assert reasons(found) == [("pipe.wav", "not a file")]


def test_names_that_are_not_utf8_are_rejected_in_words_that_can_be_written(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    (tmp_path / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"audio")
    found = find(tmp_path)
    assert list(by_key(found)) == ["a"]
    assert reasons(found) == [("caf\\udce9.wav", "name is not UTF-8")]
    json.dumps(found.rejected, ensure_ascii=False).encode()


def test_a_folder_that_cannot_be_listed_is_left_out_by_name_unless_it_is_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "open" / "a.wav")
    write(tmp_path / "closed" / "b.wav")
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry]:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", refuse)
    found = find(tmp_path)
    assert list(by_key(found)) == ["open_a"]
    detail = "Permission denied; make it readable, or leave it out"
    assert found.rejected == [Rejected(str(tmp_path / "closed"), "unreadable folder", detail)]
    assert find(tmp_path / "*") == found
    assert f"{tmp_path}/closed: a folder without audio, lists of it, or tars; it holds 1 unreadable folder" in message(
        tmp_path / "closed"
    )


def test_a_folder_of_empty_files_is_recognised_and_rejected(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", b"")
    assert find(tmp_path).recordings == []
    assert reasons(find(tmp_path)) == [("a.wav", "empty file")]


def write_librispeech(root: Path) -> Path:
    for subset, speaker, chapter in (("dev-clean", 84, 121123), ("dev-clean", 84, 7), ("train-clean-100", 19, 198)):
        folder = root / subset / str(speaker) / str(chapter)
        for i in range(2):
            write(folder / f"{speaker}-{chapter}-{i:04d}.flac")
        lines = [f"{speaker}-{chapter}-{i:04d} TEXT {chapter} {i}\n" for i in range(2)]
        write(folder / f"{speaker}-{chapter}.trans.txt", "".join(lines))
    write(root / "README.TXT", "about")
    return root


def test_librispeech(tmp_path: Path) -> None:
    root = write_librispeech(tmp_path / "LibriSpeech")
    found = find(root)
    assert len(found.recordings) == 6
    path = str(root / "dev-clean/84/121123/84-121123-0001.flac")
    assert by_key(found)["84-121123-0001"] == Recording(
        "84-121123-0001", path, "TEXT 121123 1", "84", "", "dev-clean", "84-121123"
    )
    assert {recording.split for recording in found.recordings} == {"dev-clean", "train-clean-100"}
    assert ignored(found) == {".txt, neither a list nor beside audio": 1}
    assert found.fields == {
        "text": {"LibriSpeech's .trans.txt": 6},
        "speaker": {"file names, as in LibriSpeech": 6},
    }
    assert find(root / "dev-clean").recordings == [r for r in found.recordings if r.split == "dev-clean"]
    assert find(root / "dev-clean/84/7").recordings == [r for r in found.recordings if r.recording == "84-7"]
    assert find(root / "*/*/*/*.flac").recordings == found.recordings
    assert find(path).recordings == [by_key(found)["84-121123-0001"]]


def test_librispeech_elsewhere_has_no_split(tmp_path: Path) -> None:
    root = write_librispeech(tmp_path / "LibriSpeech")
    shutil.move(root / "dev-clean/84", tmp_path / "training")
    shutil.move(tmp_path / "training", tmp_path / "mine" / "84")
    assert {(r.speaker, r.split) for r in find(tmp_path / "mine").recordings} == {("84", "")}


def test_librispeech_in_one_folder(tmp_path: Path) -> None:
    root = write_librispeech(tmp_path / "LibriSpeech")
    flat = tmp_path / "dev-clean"
    flat.mkdir()
    for path in root.rglob("*-*.*"):
        if path.is_file():
            shutil.move(path, flat)
    found = find(flat)
    expected = {
        f"{name}-{i:04d}": f"TEXT {name.split('-')[1]} {i}" for name in ("84-121123", "84-7", "19-198") for i in (0, 1)
    }
    assert {key: recording.text for key, recording in by_key(found).items()} == expected
    assert {(r.speaker, r.split) for r in found.recordings} == {("84", "dev-clean"), ("19", "dev-clean")}
    assert (found.rejected, found.ignored) == ([], [])


def test_librispeech_that_is_not_whole(tmp_path: Path) -> None:
    root = write_librispeech(tmp_path / "LibriSpeech")
    folder = root / "dev-clean/84/7"
    (folder / "84-7-0000.flac").unlink()
    write(folder / "84-7-0009.flac")
    write(folder / "84-7-0001.flac", b"")
    found = find(root)
    assert by_key(found)["84-7-0009"].text == ""
    assert by_key(found)["84-7-0009"].speaker == "84"
    assert [(Path(note.path).name, note.kind) for note in found.notes] == [("84-7-0009.flac", "no transcript")]
    assert reasons(found) == [("84-7-0000.flac", "no such file"), ("84-7-0001.flac", "empty file")]
    assert found.rejected[0].detail == f"its transcript is in {folder / '84-7.trans.txt'}"
    assert find(folder / "84-7-0009.flac").rejected == []
    write(folder / "84-7.trans.txt", "84-7-0001 A\n\n84-8-0001 B\n84-7-0001 C\n")
    lines = [item for item in find(root).rejected if item.reason == "wrong line"]
    assert [(Path(item.path).name, item.detail) for item in lines] == [
        ("84-7.trans.txt:3", "begins with '84-8-0001', expected 84-7-NUMBER, each once"),
        ("84-7.trans.txt:4", "begins with '84-7-0001', expected 84-7-NUMBER, each once"),
    ]
    write(folder / "84-7.trans.txt", "84-7-0009 Ä".encode("latin-1"))
    found = find(folder)
    assert found.recordings == []
    assert reasons(found) == [(f"84-7-000{i}.flac", "unreadable transcript") for i in (1, 9)]
    assert found.rejected[0].detail.startswith(f"{folder}/84-7.trans.txt is not UTF-8 at byte 10")


CLIENT = "f" * 128


def write_common_voice(root: Path, tables: dict[str, list[str]]) -> Path:
    for name, clips in tables.items():
        rows = [f'{CLIENT[:-1]}{i % 2}\t{clip}.mp3\tSay "{clip}\t2\t0\t\teo' for i, clip in enumerate(clips)]
        header = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tlocale"
        write(root / f"{name}.tsv", "\n".join([header, *rows]) + "\n")
        for clip in clips:
            write(root / "clips" / f"{clip}.mp3")
    return root


def test_common_voice(tmp_path: Path) -> None:
    tables = {"train": ["c1", "c2"], "dev": ["c3"], "test": ["c4"], "validated": ["c1", "c2", "c3", "c4", "c5"]}
    root = write_common_voice(tmp_path / "cv/eo", {**tables, "invalidated": ["c6"]})
    found = find(root)
    assert {r.key: (r.split, r.text) for r in found.recordings} == {
        "c1": ("train", 'Say "c1'),
        "c2": ("train", 'Say "c2'),
        "c3": ("dev", 'Say "c3'),
        "c4": ("test", 'Say "c4'),
    }
    speakers = {r.key: r.speaker for r in found.recordings}
    assert speakers["c1"] == speakers["c3"] == speakers["c4"] != speakers["c2"]
    assert all(re.fullmatch(r"[0-9a-f]{16}", speaker) for speaker in speakers.values())
    assert {r.language for r in found.recordings} == {"eo"}
    assert by_key(found)["c1"].path == str(root / "clips/c1.mp3")
    assert {(Path(item.path).name, item.reason) for item in found.ignored} == {
        ("validated.tsv", "table of Common Voice that is not read"),
        ("invalidated.tsv", "table of Common Voice that is not read"),
    }
    assert reasons(found) == [("c5.mp3", "not listed"), ("c6.mp3", "not listed")]
    assert find(tmp_path / "cv") == found
    assert find(root / "train.tsv").recordings == [r for r in found.recordings if r.split == "train"]


def test_common_voice_with_parts_or_all_that_was_validated(tmp_path: Path) -> None:
    root = write_common_voice(tmp_path / "a", {"dev": ["c3"], "validated": ["c1", "c3"]})
    assert [(r.key, r.split) for r in find(root).recordings] == [("c3", "dev")]
    root = write_common_voice(tmp_path / "b", {"validated": ["c1", "c3"], "other": ["c9"]})
    assert [(r.key, r.split) for r in find(root).recordings] == [("c1", "validated"), ("c3", "validated")]
