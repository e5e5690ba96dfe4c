"""Manifests: fields, paths, segments, ids, and messages for wrong lines."""

import json
import re
from pathlib import Path

import pytest
from source_files import ROWS, by_key, find, message, reasons, write, write_manifest

from speechssl.data.recordings import Recording


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
    assert reasons(found) == []


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
