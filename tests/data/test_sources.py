"""What shards are made of: every layout, order, keys, and messages. No audio is read, so that there is none here."""

import csv
import io
import itertools
import json
import os
import random
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import webdataset

from speechssl.audio.reading import AUDIO_SUFFIXES
from speechssl.data import sources
from speechssl.data.sources import LOOKED_FOR, Found, Recording, find_recordings
from speechssl.errors import DataError

KEY = re.compile(r"[A-Za-z0-9_-]+")


def write(path: Path, content: str | bytes = b"audio") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def find(*where: Path | str) -> Found:
    found = find_recordings([str(item) for item in where])
    keys = [recording.key for recording in found.recordings]
    assert len(set(keys)) == len(keys)
    assert all(KEY.fullmatch(key) for key in keys)
    return found


def by_key(found: Found) -> dict[str, Recording]:
    return {recording.key: recording for recording in found.recordings}


def reasons(found: Found) -> list[tuple[str, str]]:
    return [(Path(item.path).name, item.reason) for item in found.rejected]


def message(*where: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        find(*where)
    return str(caught.value)


def write_tar(path: Path, samples: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path), encoder=False) as tar:
        for sample in samples:
            tar.write(sample)
    return path


def write_members(path: Path, members: list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def read_member(recording: Recording) -> bytes:
    assert recording.member is not None
    with open(recording.path, "rb") as file:  # noqa: PTH123
        file.seek(recording.member.offset)
        return file.read(recording.member.size)


# Folders, globs, single files


def test_folders_are_searched_to_the_bottom(tmp_path: Path) -> None:
    for i, suffix in enumerate(sorted(AUDIO_SUFFIXES)):
        write(tmp_path / "corpus" / f"level{i % 3}" / f"file{i}{suffix}")
    write(tmp_path / "corpus" / "a" / "b" / "c" / "LOUD.WAV")
    found = find(tmp_path / "corpus")
    assert len(found.recordings) == len(AUDIO_SUFFIXES) + 1
    recording = by_key(found)["a_b_c_LOUD"]
    assert recording == Recording("a_b_c_LOUD", str(tmp_path / "corpus/a/b/c/LOUD.WAV"), recording="a/b/c/LOUD")
    assert found.rejected == []
    assert found.passed_over == {}


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
    assert found.passed_over["hidden"] == hidden
    assert found.passed_over[".pdf"] == len(list(tmp_path.rglob("d.pdf")))
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
    assert found.passed_over == {".txt": 1, ".lab": 1}


def test_transcripts_that_are_not_utf8_are_all_named(tmp_path: Path) -> None:
    for stem in ("a", "b", "c"):
        write(tmp_path / f"{stem}.wav")
    write(tmp_path / "a.txt", "café".encode("latin-1"))
    write(tmp_path / "b.txt", b"\xff\xfeh\0i\0")
    text = message(tmp_path)
    assert "a.txt: is not UTF-8 at byte 3; convert it" in text
    assert "b.txt: is not UTF-8 at byte 0" in text


def test_globs_and_single_files_say_what_their_folder_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for speaker in ("s1", "s2"):
        for name in ("a.wav", "b.flac"):
            write(tmp_path / "data" / speaker / name)
        write(tmp_path / "data" / speaker / "a.txt", f"TEXT OF {speaker}")
    write(tmp_path / "data" / "notes.md")
    whole = find(tmp_path / "data").recordings
    assert [recording.key for recording in whole] == ["s1_a", "s1_b", "s2_a", "s2_b"]
    for pattern in ("data/*/*.*a*", "data/**/*.[wf]*", "data/**", "data/*"):
        assert find(tmp_path / pattern)[:2] == (whole, []), pattern
    monkeypatch.chdir(tmp_path / "data")
    for pattern in ("**", "../data/*/*", "*/*.wav", "./*/b.flac"):
        found = find(pattern)
        assert found.recordings == [recording for recording in whole if recording in found.recordings], pattern
        assert found.recordings
    assert find("*").passed_over == {"unusable match of a glob": 1}
    single = find("s1/a.wav").recordings
    assert single == [whole[0]._replace(key="a", recording="a")]


def test_names_with_the_characters_of_globs_are_names_first(tmp_path: Path) -> None:
    write(tmp_path / "take[1]*" / "a.wav")
    assert list(by_key(find(tmp_path / "take[1]*"))) == ["a"]
    assert list(by_key(find(tmp_path / "take[1]*" / "a.wav"))) == ["a"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "a.wav")
    write(tmp_path / "data" / "b.wav")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    found = find(tmp_path / "data")
    assert sorted(by_key(found)) == ["b", "more_a"]
    assert found.passed_over == {"link to a folder above": 1}
    assert reasons(found) == [("gone.wav", "no such file")]


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


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "open" / "a.wav")
    write(tmp_path / "closed" / "b.wav")
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry]:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(sources.os, "scandir", refuse)
    assert re.search(r"closed: cannot be listed \(Permission denied\); make it readable", message(tmp_path))


def test_files_that_cannot_be_read_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(5, "Input/output error")

    write(tmp_path / "a.wav")
    paths = [write(tmp_path / "a.txt", "YES"), write(tmp_path / "s.tar"), write(tmp_path / "list.tsv", "path\na.wav\n")]
    monkeypatch.setattr(sources, "scan_tar", refuse)
    monkeypatch.setattr(sources, "open", refuse, raising=False)
    text = message(tmp_path / "a.wav", *paths[1:])
    assert all(f"{path}: cannot be read (Input/output error)" in text for path in paths)


# Order and keys


def test_neither_the_order_of_the_file_system_nor_of_the_sources_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b/x.wav", "a/x.wav", "a/x.flac", "a.wav", "a-b/y.wav", "Z.wav"):
        write(tmp_path / "data" / name)
    write(tmp_path / "data/a/x.txt", "lower")
    write(tmp_path / "data/a/x.TXT", "upper")
    tar = write_tar(tmp_path / "s.tar", [{"__key__": "a", "wav": b"1"}, {"__key__": "Z", "wav": b"2"}])
    manifest = write(tmp_path / "data/list.tsv", "path\ttext\nb/x.wav\tGO\na.wav\tSTOP\n")
    given = [tmp_path / "data", tar, manifest, tmp_path / "data/*/*.wav"]
    expected = find(*given)
    scandir = os.scandir

    class Shuffled:
        def __init__(self, path: str) -> None:
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: draws.random())

        def __enter__(self) -> list[os.DirEntry]:
            return self.entries

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(sources.os, "scandir", Shuffled)
    for seed, order in enumerate(itertools.permutations(given)):
        draws = random.Random(seed)
        assert find(*order) == expected
    assert [recording.path for recording in expected.recordings] == sorted(r.path for r in expected.recordings)
    for i in range(60):
        write(tmp_path / "wrong" / str(i % 7) / f"{i}.wav")
        write(tmp_path / "wrong" / str(i % 7) / f"{i}.txt", b"\xff")
    assert len({message(tmp_path / "wrong") for _ in range(5)}) == 1


def test_keys_do_not_depend_on_where_the_corpus_lies(tmp_path: Path) -> None:
    for name in ("a.b/c.wav", "a_b/c.wav", "ö.wav", "ä.wav", "x.wav", "x.mp3", "ordinary.wav"):
        write(tmp_path / "here" / name)
    write_tar(tmp_path / "here" / "tars" / "s.tar", [{"__key__": "ordinary", "wav": b"1"}])
    shutil.copytree(tmp_path / "here", tmp_path / "some where.else" / "there")

    def keys(folder: Path) -> list[str]:
        return [recording.key for recording in find(folder, folder / "tars/s.tar").recordings]

    assert keys(tmp_path / "here") == keys(tmp_path / "some where.else" / "there")


def test_keys_that_clash_get_a_hash_of_their_path(tmp_path: Path) -> None:
    for name in ("a.b.wav", "a_b.wav", "a_b.flac", "c.wav"):
        write(tmp_path / name)
    found = find(tmp_path)
    for recording in found.recordings:
        name = Path(recording.path).name
        assert re.fullmatch("c" if name == "c.wav" else r"a_b_[0-9a-f]{8}", recording.key), name
    before = {recording.path: recording.key for recording in found.recordings}
    write(tmp_path / "another.wav")
    after = {recording.path: recording.key for recording in find(tmp_path).recordings}
    assert before.items() <= after.items()


def test_names_in_any_script_get_keys(tmp_path: Path) -> None:
    for name in ("привет.wav", "мир.wav", "你好/世界.wav", "café.wav", "__.wav", "-.wav", "a  b.wav"):
        write(tmp_path / name)
    found = find(tmp_path)
    assert {Path(r.path).name: r.key for r in found.recordings if r.key in ("caf", "-", "a_b")} == {
        "café.wav": "caf",
        "-.wav": "-",
        "a  b.wav": "a_b",
    }
    assert len(found.recordings) == 7


def test_a_hash_that_is_taken_is_made_longer(tmp_path: Path) -> None:
    write(tmp_path / "a.b.wav")
    write(tmp_path / "a_b.wav")
    taken = by_key(find(tmp_path))
    for key in taken:
        write(tmp_path / f"{key}.wav")
    longer = {recording.path: recording.key for recording in find(tmp_path).recordings}
    for key, recording in taken.items():
        assert re.fullmatch(key + "[0-9a-f]{8}", longer[recording.path])
        assert longer[str(tmp_path / f"{key}.wav")] == key


def test_a_file_that_is_listed_twice_is_one_recording(tmp_path: Path) -> None:
    write(tmp_path / "audio/a.wav")
    write(tmp_path / "audio/b.wav")
    write(tmp_path / "audio/b.txt", "OTHER")
    write(tmp_path / "list.tsv", "path\ttext\naudio/a.wav\tYES\naudio/b.wav\tNO\naudio/../audio/b.wav\tNO\n")
    found = find(tmp_path / "audio", tmp_path / "list.tsv", tmp_path / "audio/*.wav")
    assert [recording.text for recording in found.recordings] == ["YES", "NO"]
    assert reasons(found) == [
        ("a.wav", "listed twice"),
        ("a.wav", "listed twice"),
        ("b.wav", "listed twice"),
        ("b.wav", "listed twice, with another transcript"),
        ("b.wav", "listed twice, with another transcript"),
    ]
    assert found.rejected[-1].detail == "kept as 'audio_b', 'NO'"


# Manifests

ROWS = [
    {"path": "a.wav", "text": 'SAY "HI", YES', "speaker": "s1", "language": "en", "split": "train"},
    {"path": "sub/b.wav", "text": "", "speaker": "", "language": "", "split": ""},
    {"path": "c.opus", "text": "ÄÖ", "speaker": "s2", "language": "de", "split": "dev"},
]


def write_manifest(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(rows[0])
    if path.suffix == ".tsv":
        lines = ["\t".join(names), *("\t".join(str(row[name]) for name in names) for row in rows)]
        return write(path, "\n".join(lines) + "\n")
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        return path
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl", "json"])
def test_manifests_of_all_kinds(tmp_path: Path, suffix: str) -> None:
    for row in ROWS:
        write(tmp_path / row["path"])
    found = find(write_manifest(tmp_path / f"list.{suffix}", ROWS))
    assert by_key(found) == {
        "a": Recording("a", str(tmp_path / "a.wav"), 'SAY "HI", YES', "s1", "en", "train", "a"),
        "sub_b": Recording("sub_b", str(tmp_path / "sub/b.wav"), "", "", "", "", "sub/b"),
        "c": Recording("c", str(tmp_path / "c.opus"), "ÄÖ", "s2", "de", "dev", "c"),
    }


@pytest.mark.parametrize(
    "names",
    [
        ("audio_filepath", "text", "speaker", "lang"),
        ("file_name", "transcription", "speaker_id", "language"),
        ("Path", "Sentence", "Speaker", "Locale"),
        ("wav", "transcript", "speaker", "language"),
        ("file", "text", "speaker", "language"),
    ],
)
@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_fields_go_by_their_usual_names(tmp_path: Path, names: tuple[str, ...], suffix: str) -> None:
    write(tmp_path / "a.wav")
    manifest = write_manifest(
        tmp_path / f"list.{suffix}", [dict(zip(names, ("a.wav", "YES", "17", "en"), strict=True))]
    )
    assert find(manifest).recordings == [
        Recording("a", str(tmp_path / "a.wav"), "YES", "17", "en", recording="a"),
    ]


def test_audio_columns_of_hugging_face_and_numbers_as_names(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    line = {"audio": {"path": "a.wav", "bytes": None}, "text": None, "speaker_id": 1089, "id": 7}
    assert find(write(tmp_path / "list.jsonl", json.dumps(line))).recordings == [
        Recording("7", str(tmp_path / "a.wav"), "", "1089", recording="a"),
    ]


def test_paths_are_relative_to_the_manifest_or_its_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "lists/a.wav")
    write(tmp_path / "lists/clips/b.wav")
    write(tmp_path / "audio/c.wav")
    write(tmp_path / "far/d.wav")
    rows = [
        "path",
        "a.wav",
        "b.wav",
        "../audio/c.wav",
        str(tmp_path / "far/d.wav"),
        str(tmp_path / "lists/clips/b.wav"),
    ]
    write(tmp_path / "lists/list.csv", "\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path / "lists")
    found = find("list.csv")
    assert sorted(Path(recording.path).relative_to(tmp_path).as_posix() for recording in found.recordings) == [
        "audio/c.wav",
        "far/d.wav",
        "lists/a.wav",
        "lists/clips/b.wav",
    ]
    assert reasons(found) == [("b.wav", "listed twice")]


def test_absolute_paths_below_the_manifest_give_the_keys_of_relative_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "sub/a.wav")
    (recording,) = find(write(tmp_path / "list.tsv", f"path\n{path}\n")).recordings
    assert recording == Recording("sub_a", str(path), recording="sub/a")


def test_what_a_parent_folder_is_the_file_system_says(tmp_path: Path) -> None:
    write(tmp_path / "real/audio/a.wav")
    write(tmp_path / "real/lists/list.tsv", "path\n../audio/a.wav\n")
    (tmp_path / "link").symlink_to(tmp_path / "real/lists")
    assert [r.path for r in find(tmp_path / "link/list.tsv").recordings] == [str(tmp_path / "real/audio/a.wav")]


def test_segments(tmp_path: Path) -> None:
    write(tmp_path / "talk.wav")
    rows = [
        {"start": 60, "duration": 1.5, "end": ""},
        {"start": "3.25", "duration": "", "end": "7"},
        {"start": "", "duration": "", "end": 2},
        {"start": 70, "duration": "", "end": ""},
        {"start": "", "duration": 99, "end": ""},
        {"start": 0, "duration": "", "end": ""},
    ]
    for suffix in ("tsv", "jsonl"):
        manifest = write_manifest(tmp_path / f"list.{suffix}", [{"path": "talk.wav", **row} for row in rows])
        found = find(manifest)
        assert [(r.key, r.start_seconds, r.stop_seconds) for r in found.recordings] == [
            ("talk-00000000-00002000", 0.0, 2.0),
            ("talk", None, None),
            ("talk-00003250-00007000", 3.25, 7.0),
            ("talk-00060000-00061500", 60.0, 61.5),
            ("talk-00070000", 70.0, None),
        ]
        assert {recording.recording for recording in found.recordings} == {"talk"}
        assert reasons(found) == [("talk.wav", "listed twice")]
    for line in ('{"path": "talk.wav", "offset": 0}', '{"path": "talk.wav", "duration": 99}'):
        assert list(by_key(find(write(tmp_path / "whole.jsonl", line)))) == ["talk"]


def test_files_of_manifests_that_cannot_be_used_are_rejected_with_their_line(tmp_path: Path) -> None:
    write(tmp_path / "empty.wav", b"")
    write(tmp_path / "a.wav")
    (tmp_path / "folder").mkdir()
    manifest = write(tmp_path / "list.tsv", "path\na.wav\n\nempty.wav\nmissing.wav\nfolder\n")
    found = find(manifest)
    assert list(by_key(found)) == ["a"]
    assert reasons(found) == [("empty.wav", "empty file"), ("folder", "not a file"), ("missing.wav", "no such file")]
    assert [item.detail for item in found.rejected] == [f"named in {manifest}:{line}" for line in (4, 6, 5)]


def test_ids_are_kept_and_other_keys_give_way(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        write(tmp_path / name)
    manifest = write_manifest(
        tmp_path / "list.tsv", [{"path": "c.wav", "id": "the.third"}, {"path": "a.wav", "id": "b"}]
    )
    found = find(tmp_path, manifest)
    keys = {Path(recording.path).name: recording.key for recording in found.recordings}
    assert list(keys) == ["a.wav", "b.wav", "c.wav"]
    assert keys["a.wav"] == "b"
    assert re.fullmatch(r"b_[0-9a-f]{8}", keys["b.wav"])
    assert keys["c.wav"] == "the_third"
    assert reasons(found) == [("a.wav", "listed twice"), ("c.wav", "listed twice")]


def test_ids_that_clash_name_both_lines(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        write(tmp_path / name)
    one = write(tmp_path / "one.tsv", "path\tid\na.wav\tx\nb.wav\ty.1\nc.wav\ty_1\n")
    two = write(tmp_path / "two.jsonl", '{"path": "a.wav", "id": "x"}\n')
    text = message(one, two)
    assert f"{one}:4: the id 'y_1' gives the key 'y_1', which is that of {one}:3; ids must differ" in text
    assert f"{two}:1: the id 'x' gives the key 'x', which is that of {one}:2" in text


def test_a_manifest_that_is_given_twice_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    manifest = write(tmp_path / "list.tsv", "path\tid\na.wav\tx\n")
    found = find(manifest, tmp_path / "*.tsv")
    assert list(by_key(found)) == ["x"]
    assert found.rejected == []


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("l.tsv", "", r"l\.tsv: the header is 'nothing', expected tab-separated columns .* path, audio"),
        ("l.tsv", "name\ttext\na.wav\tYES\n", r"the header is 'name text', expected tab-separated"),
        ("l.tsv", "path,text\na.wav,YES\n", r"the header is 'path,text', expected tab-separated"),
        ("l.csv", "path\ttext\na.wav\tYES\n", r"expected comma-separated"),
        ("l.csv", "path,text,text\na.wav,A,B\n", r"columns of different names"),
        ("l.csv", "path\n", r"l\.csv: lists no recordings"),
        ("l.jsonl", "\n", r"l\.jsonl: lists no recordings"),
        (
            "l.tsv",
            "path\ttext\na.wav\n\na.wav\tA\tB\n",
            r"(?s)l\.tsv:2: 1 columns, expected 2 \(path, .*l\.tsv:4: 3 co",
        ),
        ("l.tsv", 'path\ttext\na.wav\t"A\nb.wav\n', r"l\.tsv:3: 1 columns"),
        ("l.csv", 'path,text\na.wav,A\nb.wav,"B\nc.wav,C\n', r"l\.csv:3: cannot be split .*unexpected end.*quotes"),
        ("l.csv", 'path,text\na.wav,"A"A\nb.wav\n', r"(?s)l\.csv:2: cannot be split.*l\.csv:3: 1 columns"),
        ("l.csv", 'path,text\na.wav,"A\nB"\nb.wav\n', r"l\.csv:4: 1 columns"),
        ("l.csv", "path,text\n,A\n", r"l\.csv:2: no path in its fields path, text; expected one in path, audio,"),
        ("l.tsv", b"path\ttext\na.wav\tcaf\xe9\n", r"l\.tsv:2: text 'caf\\udce9' is not UTF-8"),
        ("l.jsonl", '{"path": "a.wav", "text": "\\ud800"}', r"l\.jsonl:1: text '\\ud800' is not UTF-8"),
        (
            "l.jsonl",
            '{"path": "a.wav"}\n{"path"\n[1]\n"x"\n',
            r"(?s):2: is not JSON.*:3: is a JSON list.*:4: is a JSON s",
        ),
        ("l.jsonl", "[" * 100_000, r"l\.jsonl:1: is not JSON"),
        ("l.jsonl", '{"text": "A"}', r"l\.jsonl:1: no path in its fields text"),
        ("l.jsonl", '{"path": "a.wav", "sentence": ["A"]}', r"l\.jsonl:1: sentence is a list, expected text"),
        ("l.jsonl", '{"path": {"bytes": null}}', r"l\.jsonl:1: no path"),
        ("l.jsonl", '{"path": "a.wav", "offset": -1}', r"l\.jsonl:1: offset is -1, expected seconds, a number from 0"),
        ("l.jsonl", '{"path": "a.wav", "offset": NaN}', r"offset is nan, expected seconds"),
        ("l.jsonl", '{"path": "a.wav", "end": 1' + "0" * 400 + "}", r"end is 10+, expected seconds"),
        ("l.tsv", "path\tstart\na.wav\tsoon\n", r"l\.tsv:2: start is 'soon', expected seconds"),
        ("l.tsv", "path\tstart\tend\na.wav\t5\t5\n", r"l\.tsv:2: a segment from 5 to 5 s, expected an end after"),
    ],
)
def test_wrong_manifests_say_where(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    for audio in ("a.wav", "b.wav", "c.wav"):
        write(tmp_path / audio)
    text = message(write(tmp_path / name, content))
    assert re.search(expected, text)
    assert "A source is" not in text
    text.encode()


def test_all_wrong_lines_are_counted_and_the_first_shown(tmp_path: Path) -> None:
    lines = ["path\tstart", *(f"a.wav\t{'x' if i % 2 else i}" for i in range(100))]
    write(tmp_path / "a.wav")
    text = message(write(tmp_path / "list.tsv", "\n".join(lines)), tmp_path / "nowhere")
    assert text.count("expected seconds") == 20
    assert "list.tsv:3: start is 'x'" in text
    assert "and 31 more" in text


# Corpora


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
    assert found.passed_over == {".txt": 1}
    assert find(root / "dev-clean").recordings == [r for r in found.recordings if r.split == "dev-clean"]
    assert find(root / "dev-clean/84/7").recordings == [r for r in found.recordings if r.recording == "84-7"]
    assert find(root / "*/*/*/*.flac").recordings == found.recordings
    assert find(path).recordings == [by_key(found)["84-121123-0001"]]


def test_librispeech_elsewhere_has_no_split(tmp_path: Path) -> None:
    root = write_librispeech(tmp_path / "LibriSpeech")
    shutil.move(root / "dev-clean/84", tmp_path / "training")
    shutil.move(tmp_path / "training", tmp_path / "mine" / "84")
    assert {(r.speaker, r.split) for r in find(tmp_path / "mine").recordings} == {("84", "")}


def test_librispeech_that_is_not_whole(tmp_path: Path) -> None:
    root = write_librispeech(tmp_path / "LibriSpeech")
    folder = root / "dev-clean/84/7"
    (folder / "84-7-0000.flac").unlink()
    write(folder / "84-7-0009.flac")
    write(folder / "84-7-0001.flac", b"")
    found = find(root)
    assert by_key(found)["84-7-0009"].text == ""
    assert by_key(found)["84-7-0009"].speaker == "84"
    assert reasons(found) == [("84-7-0000.flac", "no such file"), ("84-7-0001.flac", "empty file")]
    assert found.rejected[0].detail == f"its transcript is in {folder / '84-7.trans.txt'}"
    assert find(folder / "84-7-0009.flac").rejected == []
    write(folder / "84-7.trans.txt", "84-7-0001 A\n\n84-8-0001 B\n84-7-0001 C\n")
    text = message(root)
    assert "84-7.trans.txt:3: begins with '84-8-0001', expected 84-7-NUMBER, each once" in text
    assert "84-7.trans.txt:4: begins with '84-7-0001'" in text


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
    assert found.passed_over == {".tsv": 2}
    assert found.rejected == []
    assert find(tmp_path / "cv") == found
    assert find(root / "train.tsv").recordings == [r for r in found.recordings if r.split == "train"]


def test_common_voice_with_parts_or_all_that_was_validated(tmp_path: Path) -> None:
    root = write_common_voice(tmp_path / "a", {"dev": ["c3"], "validated": ["c1", "c3"]})
    assert [(r.key, r.split) for r in find(root).recordings] == [("c3", "dev")]
    root = write_common_voice(tmp_path / "b", {"validated": ["c1", "c3"], "other": ["c9"]})
    assert [(r.key, r.split) for r in find(root).recordings] == [("c1", "validated"), ("c3", "validated")]


# Tars

SAMPLES = [
    {
        "__key__": "utt/one",
        "flac": b"first",
        "json": b'{"text": "YES", "speaker": "s1", "language": "en", "split": "dev", "source": "talk.mp3", "end": 0}',
    },
    {"__key__": "two", "wav": b"the second", "txt": "nö\n".encode()},
    {"__key__": "three", "mp3": b"third", "json": b'{"transcription": "", "source": "radio"}', "txt": b"GO"},
    {"__key__": "four", "m4a": b"4th"},
]


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
    assert find(tmp_path / "set/*/*.tar", tars[0]) == Found(expected, [], {})
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


# What is not recognised


def test_sources_that_are_not_recognised_are_all_named_with_what_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    write(tmp_path / "pictures/a.png")
    write(tmp_path / "pictures/.hidden")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "notes.docx")
    write(tmp_path / "set.tar.gz")
    given = ["a.wav", "nowhere", "pictures", "empty", "notes.docx", "set.tar.gz", "*.flac", "*.docx"]
    lines = message(*(tmp_path / name for name in given)).splitlines()
    for line, expected in zip(
        lines,
        [
            "/nowhere: not found",
            "/pictures: a folder without audio, Common Voice tables or tars; it holds 1 .png, 1 hidden",
            "/empty: a folder without audio, Common Voice tables or tars; it holds no files at all",
            "/notes.docx: a file with the suffix '.docx'",
            "/set.tar.gz: a compressed tar; unpack it, or decompress it to a .tar",
            "/*.flac: a glob that matches nothing",
            f"/*.docx: none of its 1 matches is usable, the first for one: {tmp_path}/notes.docx: a file with the",
        ],
        strict=False,
    ):
        assert line.startswith(f"{tmp_path}{expected}")
    assert lines[-1] == LOOKED_FOR
    assert len(lines) == 8
    assert all(suffix in LOOKED_FOR for suffix in (*AUDIO_SUFFIXES, ".tsv", ".csv", ".jsonl", ".tar", "clips/"))


def test_no_sources_are_an_error() -> None:
    assert message().splitlines() == ["no sources were given", LOOKED_FOR]


def test_a_folder_of_empty_files_is_recognised_and_rejected(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", b"")
    assert find(tmp_path).recordings == []
    assert reasons(find(tmp_path)) == [("a.wav", "empty file")]


def mutated(data: bytes, draws: random.Random) -> bytes:
    content, place, length = bytearray(data), draws.randrange(len(data)), draws.randint(1, 40)
    match draws.randrange(5):
        case 0:
            content[place] ^= 1 << draws.randrange(8)
        case 1:
            del content[place : place + length]
        case 2:
            content[place:place] = draws.randbytes(length)
        case 3:
            del content[place:]
        case _:
            content[place:place] = content[place : place + 512]
    return bytes(content)


@pytest.mark.parametrize("kind", ["list.tsv", "list.csv", "list.jsonl", "s.tar", "1-2.trans.txt"])
def test_damage_of_any_kind_is_a_named_error_or_a_list_that_can_be_written(tmp_path: Path, kind: str) -> None:
    for row in ROWS:
        write(tmp_path / row["path"])
    folder = tmp_path / "1" / "2"
    write(folder / "1-2-0000.flac")
    rows = [{**row, "start": i, "end": i + 1.5, "id": f"id{i}"} for i, row in enumerate(ROWS)]
    data = {
        ".tar": write_tar(tmp_path / "s.tar", SAMPLES).read_bytes(),
        ".txt": "1-2-0000 EIN WÖRTCHEN\n1-2-0001 TWO\n".encode(),
    }.get(Path(kind).suffix) or write_manifest(tmp_path / kind, rows).read_bytes()
    draws = random.Random(kind)
    errors = []
    for _ in range(100):
        path = write((folder if kind.endswith(".txt") else tmp_path) / kind, mutated(data, draws))
        try:
            found = find(folder if kind.endswith(".txt") else path)
            json.dumps(found, ensure_ascii=False).encode()
        except DataError as error:
            errors.append(str(error))
            str(error).encode()
    assert 5 < len(errors) < 100
    assert all(error.startswith(str(path)) for error in errors)
