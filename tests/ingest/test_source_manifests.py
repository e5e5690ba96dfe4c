"""Manifests: fields, paths, segments, ids, and messages for wrong lines."""

import itertools
import json
import re
from pathlib import Path

import pytest
from source_files import ROWS, by_key, find, message, reasons, write, write_manifest

from speechssl.ingest.recordings import Recording


def test_manifests_of_all_kinds(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for suffix in ["tsv", "csv", "jsonl", "json"]:
        folder = next(folders)
        folder.mkdir()
        for row in ROWS:
            write(folder / row["path"])
        found = find(write_manifest(folder / f"list.{suffix}", ROWS))
        assert by_key(found) == {
            "a": Recording("a", str(folder / "a.wav"), 'SAY "HI", YES', "s1", "en", "train", "a"),
            "sub_b": Recording("sub_b", str(folder / "sub/b.wav"), "", "", "", "", "sub/b"),
            "c": Recording("c", str(folder / "c.opus"), "ÄÖ", "s2", "de", "dev", "c"),
        }


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


def test_ids_that_clash_name_both_lines_and_lists_may_count_from_0_each(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav", "d.wav"):
        write(tmp_path / name)
    one = write(tmp_path / "one.tsv", "path\tid\na.wav\tx\nb.wav\ty\nc.wav\ty\n")
    two = write(tmp_path / "two.jsonl", '{"path": "d.wav", "id": "x"}\n{"path": "b.wav", "id": "y", "text": "YES"}\n')
    found = find(one, two)
    assert {key: (Path(r.path).name, r.text) for key, r in by_key(found).items()} == {
        "x": ("a.wav", ""),
        "y": ("b.wav", "YES"),
        "d": ("d.wav", ""),
    }
    assert [tuple(item[:3]) for item in found.rejected] == [
        (f"{one}:4", "wrong line", "the id 'y' is that of another row"),
    ]
    assert ("ids that are not unique", str(two)) in {(note.kind, note.path) for note in found.notes}


def test_ids_that_differ_stay_apart_though_keys_have_few_characters(tmp_path: Path) -> None:
    ids = ["y.1", "y_1", "привет", "мир", "caf\u00e9", "cafe"]
    rows = [{"path": write(tmp_path / f"{i}.wav").name, "id": own_id} for i, own_id in enumerate(ids)]
    found = find(write_manifest(tmp_path / "list.jsonl", rows))
    keys = sorted(recording.key for recording in found.recordings)
    assert len(keys) == len(ids)
    plain = sorted(re.sub("_?([0-9a-f]{8}|[0-9a-f]{12})$", "", key) for key in keys)
    assert plain == ["", "", "1", "cafe", "cafe", "y_1"]
    assert {"cafe", "y_1"} < set(keys)
    same = [{"path": "0.wav", "id": "caf\u00e9"}, {"path": "1.wav", "id": "cafe\u0301"}]
    assert reasons(find(write_manifest(tmp_path / "same.jsonl", same))) == [("same.jsonl:2", "wrong line")]


def test_an_id_of_a_whole_recording_does_for_its_segments(tmp_path: Path) -> None:
    write(tmp_path / "talk.wav")
    manifest = write(tmp_path / "l.csv", "path,id,start,end\ntalk.wav,t,0,1\ntalk.wav,t,1,2\ntalk.wav,t,2,3\n")
    found = find(manifest)
    assert [r.key for r in found.recordings] == ["t", "t-00001000-00002000", "t-00002000-00003000"]
    assert [note.kind for note in found.notes] == ["ids that are not unique"]


def test_a_manifest_that_is_given_twice_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    manifest = write(tmp_path / "list.tsv", "path\tid\na.wav\tx\n")
    found = find(manifest, tmp_path / "*.tsv")
    assert list(by_key(found)) == ["x"]
    assert found.rejected == []


def test_what_is_no_list_is_an_error(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for name, content, expected in [
        ("l.tsv", "", r"l\.tsv: lists no recordings"),
        ("l.tsv", "name\ttext\na.wav\tYES\n", r"the header is 'name text', expected columns .* one of path, audio,"),
        ("l.csv", "path,text,text\na.wav,A,B\n", r"columns of different names"),
        ("l.csv", "path\n", r"l\.csv: lists no recordings"),
        ("l.jsonl", "\n", r"l\.jsonl: lists no recordings"),
        ("l.jsonl", '{"text": "A"}', r"l\.jsonl: no path in its fields text; expected one in path, audio"),
        ("l.json", '{"model": {"dim": 512}, "path_of_life": 3}', r"l\.json: no path in its fields model, path_of_life"),
        ("l.csv", b"\0\1\2\3" * 99, r"l\.csv: is not a list"),
    ]:
        folder = next(folders)
        folder.mkdir()
        text = message(write(folder / name, content))
        assert re.search(expected, text)
        assert "A source is" not in text


def test_wrong_rows_are_left_out_with_their_line(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for name, content, expected in [
        ("l.tsv", "path\tspeaker\ttext\nx.wav\tS\tA\n\n\tS\tA", {4: "no path in its fields path, "}),
        ("l.tsv", "path\ttext\tspeaker\na.wav\tA\tB\tC\n", {2: r"4 columns, expected 3 \(path, text, speaker\)"}),
        ("l.csv", 'path,text\na.wav,"A"A\nb.wav,B\n', {2: "cannot be split into columns .*; close each quote"}),
        ("l.csv", "path,text\n,A\n", {2: "no path in its fields path, text; expected one in path, audio,"}),
        ("l.tsv", b"path\ttext\na.wav\tcaf\xe9\n", {2: r"text 'caf\\udce9' is not UTF-8; convert"}),
        ("l.tsv", b"path\ttext\ncaf\xe9.wav\tA\n", {2: r"path 'caf\\udce9\.wav' is not UTF-8; convert"}),
        ("l.jsonl", '{"path": "a.wav", "text": "\\ud800"}', {1: r"text '\\ud800' is not UTF-8"}),
        (
            "l.jsonl",
            '{"path": "a.wav"}\n{"path"\n[1]\n"x"\n',
            {2: "is not JSON .*", 3: "is a JSON list, expected", 4: "is a JSON str"},
        ),
        ("l.jsonl", '{"path": "a.wav"}\n' + "[" * 100_000, {2: "is not JSON"}),
        ("l.jsonl", '{"path": "a.wav", "sentence": ["A"]}', {1: "sentence is a list, expected text"}),
        ("l.jsonl", '{"path": {"bytes": "A"}}', {1: "no path in path; audio in a list is not read"}),
        ("l.jsonl", '{"path": ["a.wav", "b.wav"]}', {1: "path is a list, expected the path of one file"}),
        ("l.jsonl", '{"path": "a.wav", "offset": -1}', {1: "offset is -1, expected seconds, a number from 0"}),
        ("l.jsonl", '{"path": "a.wav", "end": 1' + "0" * 400 + "}", {1: "end is 10+, expected seconds"}),
        ("l.tsv", "path\tstart_ms\na.wav\tsoon\n", {2: "start_ms is 'soon', expected milliseconds"}),
        ("l.tsv", "path\tstart\tend\na.wav\t5\t5\n", {2: "a segment from 5 to 5 s, expected an end after"}),
        (
            "l.tsv",
            "path\tstart_sample\tend_sample\na.wav\t0\t9\n",
            {2: "start_sample is '0', which is not in seconds"},
        ),
        (
            "l.tsv",
            "path\tstart_frame\tsr\na.wav\t5\t16000\n",
            {2: "start_frame is '5', which is not in seconds"},
        ),
        ("l.csv", "path,channel\na.wav,0\nb.wav,third\n", {3: "channel is 'third', expected a channel: a number from"}),
        (
            "l.csv",
            "path,text\na.wav,a.txt\n",
            {2: r"text is the name of a file, a\.txt; the list"},
        ),
    ]:
        folder = next(folders)
        folder.mkdir()
        for audio in ("a.wav", "b.wav", "c.wav", "x.wav", "a.txt"):
            write(folder / audio)
        manifest = write(folder / name, content)
        found = find(manifest)
        assert [(item.path, item.reason) for item in found.rejected] == [
            (f"{manifest}:{line}", "wrong line") for line in expected
        ]
        for item, detail in zip(found.rejected, expected.values(), strict=True):
            assert re.search(detail, item.detail), item.detail
            item.detail.encode()


def test_one_wrong_row_does_not_stop_a_corpus(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    lines = ["path\tstart\tend", *(f"a.wav\t{'x' if i % 2 else i}\t{i + 1}" for i in range(100))]
    found = find(write(tmp_path / "list.tsv", "\n".join(lines)))
    assert len(found.recordings) == len(found.rejected) == 50
    assert [item.path.rpartition(":")[2] for item in found.rejected[:3]] == ["101", "11", "13"]
