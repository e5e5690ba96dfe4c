"""Tables and JSON of any kind: delimiters, encodings, headers, compression; and what is no list, or a damaged one."""

import gzip
import itertools
import json
from pathlib import Path

import pytest
from source_files import facts, find, message, reasons, write, write_audio

from speechssl.ingest.lists.formats import is_list

TWO = {"0": ("0.wav", "HELLO", "anna"), "1": ("1.wav", "GOOD BYE", "")}


def test_any_delimiter_whatever_the_suffix(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for delimiter in ["\t", ",", ";", "|"]:
        for suffix in [".tsv", ".csv", ".txt", ".psv"]:
            folder = next(folders)
            folder.mkdir()
            write_audio(folder, "0.wav", "1.wav")
            rows = [("Path", "age", "Speaker", "Text"), ("0.wav", "30", "anna", "HELLO"), ("1.wav", "", "", "GOOD BYE")]
            path = write(folder / f"list{suffix}", "\r\n".join(delimiter.join(row) for row in rows))
            assert is_list(str(path))
            found = find(path)
            assert facts(found) == TWO
            assert found.fields == {
                "path": {"column Path": 2},
                "speaker": {"column Speaker": 1},
                "text": {"column Text": 2},
            }
            assert found.ignored_columns == {"age": 1}


def test_encodings(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for name in ["list.tsv", "list.jsonl", "list.json"]:
        for encoding in ["utf-8", "utf-8-sig", "utf-16", "utf-32"]:
            folder = next(folders)
            folder.mkdir()
            write_audio(folder, "ä.wav")
            content = {
                "list.tsv": "path\ttext\nä.wav\tdöner 你好\n",
                "list.jsonl": '{"path": "ä.wav", "text": "döner 你好"}\n',
                "list.json": '[\n {"path": "ä.wav", "text": "döner 你好"}\n]\n',
            }[name]
            path = write(folder / name, content.encode(encoding))
            assert is_list(str(path))
            assert [recording.text for recording in find(path).recordings] == ["döner 你好"]


def test_headers_of_pandas(tmp_path: Path) -> None:
    write_audio(tmp_path, "0.wav", "1.wav")
    pandas = find(write(tmp_path / "pandas.csv", ",path,speaker,text\n0,0.wav,anna,HELLO\n1,1.wav,,GOOD BYE\n"))
    assert facts(pandas) == TWO
    assert pandas.ignored_columns == {"column 1": 2}
    quoted = write(tmp_path / "quoted.tsv", '"path"\t"speaker"\t"text"\n"0.wav"\t"anna"\t"HELLO"\n1.wav\t\tGOOD BYE')
    assert facts(find(quoted)) == TWO


def test_spaces_after_commas(tmp_path: Path) -> None:
    write_audio(tmp_path, "0.wav", "1.wav")
    path = write(tmp_path / "l.csv", 'speaker, path, text\nanna, 0.wav, HELLO\n, 1.wav, "GOOD BYE"\n')
    assert facts(find(path)) == TWO
    assert find(path).notes == []


def test_json_arrays(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for indent in [None, 1]:
        folder = next(folders)
        folder.mkdir()
        write_audio(folder, "a/0.wav", "a/1.wav")
        rows = [
            {"path": "a/0.wav", "text": "HELLO", "speaker": "anna", "mood": "good"},
            {"path": "a/1.wav", "text": "GOOD BYE", "speaker": None},
        ]
        expected = {f"a_{key}": value for key, value in TWO.items()}
        path = write(folder / "l.json", json.dumps(rows, indent=indent))
        assert is_list(str(path))
        assert facts(find(path)) == expected
        assert find(path).ignored_columns == {"mood": 1}
    path = write(folder / "l.json", json.dumps({"version": 2, "data": []}))
    assert "no path in its fields version, data" in message(path)
    path = write(folder / "l.json", json.dumps({"version": 2, "data": []}, indent=1))
    assert "an object without objects by their ids; write an array of objects" in message(path)


def test_json_that_is_no_list_but_names_audio_is_refused_by_name(tmp_path: Path) -> None:
    write_audio(tmp_path, "0.wav", "1.wav")
    rows = [{"path": f"{i}.wav", "text": "HELLO"} for i in range(2)]
    inside = {"version": 2, "utts": rows}
    a_line_each = '{"utts": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]}"
    several_lines = "\n".join(json.dumps(row, indent=1) for row in rows)
    for content in (json.dumps(inside), json.dumps(inside, indent=1), a_line_each, several_lines):
        path = write(tmp_path / "l.json", content)
        assert "write one object a line" in message(path)
        assert reasons(find(tmp_path)) == [("l.json", "unusable list")]
    other = {"steps": [{"path": "x.py"}], "models": [{"name": "a"}]}
    write(tmp_path / "l.json", json.dumps(other, indent=1))
    assert reasons(find(tmp_path)) == []


def test_json_that_is_cut_off_or_goes_on_is_refused(tmp_path: Path) -> None:
    write_audio(tmp_path, "0.wav", "1.wav")
    whole = json.dumps([{"path": "0.wav"}, {"path": "1.wav"}], indent=1)
    keyed = json.dumps({"u0": {"path": "0.wav"}, "u1": {"path": "1.wav"}}, indent=1)
    for content in (whole[:-1], whole[: whole.index("1.wav")], whole + whole, keyed[:-1], keyed + "\n[1]"):
        path = write(tmp_path / "l.json", content)
        assert f"{path}: is damaged or cut off" in message(path)
        found = find(tmp_path)
        assert reasons(found) == [("l.json", "unusable list")]
        assert [recording.text for recording in found.recordings] == ["", ""]


def test_compressed_lists(tmp_path: Path) -> None:
    write_audio(tmp_path, "0.wav", "1.wav")
    rows = b"path\tspeaker\ttext\n0.wav\tanna\tHELLO\n1.wav\t\tGOOD BYE\n"
    path = write(tmp_path / "list.tsv.gz", gzip.compress(rows))
    assert is_list(str(path))
    assert facts(find(path)) == TWO
    assert facts(find(tmp_path)) == TWO
    assert "is damaged or cut off" in message(write(tmp_path / "cut.tsv.gz", gzip.compress(rows)[:-20]))


def test_what_is_no_list(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for name, content in [
        ("README.txt", "AUDIO\n\nThe audio is in clips/a.wav, its text in text.\n"),
        ("README.txt", "path\n====\nSee a.wav\n"),
        ("a.txt", "HELLO THERE\n"),
        ("a.txt", "path text\n"),
        ("notes.txt", ""),
        (
            "config.json",
            '{"architectures": ["Wav2Vec2ForCTC"], "vocab_size": 32, "audio": {"dim": 3}, "file": "model.bin"}',
        ),
        ("vocab.json", '{"A": 0, "B": 1, "path": 2}'),
        (
            "tokenizer.json",
            '{"version": "1.0", "added_tokens": [{"id": 0, "content": "<pad>"}], "model": {"vocab": {"a": 1}}}',
        ),
        ("report.json", '{"fingerprint": "x", "shards": ["shard-000000.tar"], "parts": {}}'),
        ("package.json", '{"name": "x", "path": "src/x.js"}'),
        ("broken.json", '{"path": "a.wa'),
        ("numbers.json", "[1, 2, 3]"),
        ("log.jsonl", '{"update": 1, "loss": 4.6}\n{"update": 2, "loss": 4.5}\n'),
        ("hypotheses.jsonl", '{"id": "u0", "reference": "A", "hypothesis": "A", "confidence": 0.9, "speaker": null}\n'),
        ("transcribed.jsonl", '{"path": "a.wav", "text": "A", "seconds": 1.0, "confidence": 0.9}\n'),
        ("rejected.tsv", "path\treason\tdetail\na.wav\tsilent\tall its samples are 0\n"),
        ("notes.tsv", "path\tkind\tdetail\na.wav\tcase\tA.WAV\n"),
        ("ignored.tsv", "path\treason\na.wav\t.wav\n"),
        ("speakers.tsv", "READER\tGENDER\tSUBSET\tNAME\n14\tF\ttrain-clean-360\tKristin\n"),
        ("vectors.csv", "0.1,0.2,0.3\n0.4,0.5,0.6\n"),
        ("names.csv", "file,label\nmodel.bin,3\n"),
        ("lexicon.txt", "HELLO\tHH AH L OW\nBYE\tB AY\n"),
        ("dict.ltr.txt", "| 94802\nE 51860\n"),
        ("data.tsv", b"\x00\x01" * 500),
        ("image.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
        ("a.wav.json", '{"sample_rate": 16000, "text": "hello"}'),
        ("a.lab", "path\ttext\na.wav\tA\n"),
        ("run.sh", "path,text\na.wav,A\n"),
    ]:
        folder = next(folders)
        folder.mkdir()
        write(folder / "a.wav")
        assert not is_list(str(write(folder / name, content)))


def test_a_list_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder.tsv").mkdir()
    for name in ("absent.tsv", "folder.tsv"):
        with pytest.raises(OSError, match=name):
            is_list(str(tmp_path / name))


def test_tables_of_other_formats_are_to_be_converted(tmp_path: Path) -> None:
    for name in ("train.parquet", "train.arrow", "train.xlsx", "cuts.yaml"):
        assert not is_list(str(write(tmp_path / name, b"PAR1\0\1")))
        assert "write other tables as CSV" in message(tmp_path / name)


def test_lists_that_are_wrong_as_a_whole_or_in_each_row_are_named_in_a_folder_too(tmp_path: Path) -> None:
    write_audio(tmp_path, "0.wav", "1.wav")
    cut = {"u0": {"wav": {"file": "0.wav", "start": 0, "stop": 800}, "words": "HELLO"}}
    write(tmp_path / "cut.json", json.dumps(cut))
    write(tmp_path / "held.jsonl", '{"audio": {"bytes": "UklG", "path": null}, "text": "HELLO"}\n')
    write(tmp_path / "twice.csv", "path,text,text\n0.wav,HELLO,hello\n")
    write(tmp_path / "twice.jsonl", '{"path": "0.wav", "text": "HELLO", "text": "hello"}\n{"path": "1.wav"}\n')
    write(tmp_path / "tarred.json", '{"audio_filepath": "in_a_tar.wav", "text": "HELLO", "shard_id": 3}\n')
    found = find(tmp_path)
    assert [recording.text for recording in found.recordings] == ["", ""]
    assert reasons(found) == [
        ("cut.json:entry 1", "wrong line"),
        ("held.jsonl:1", "wrong line"),
        ("in_a_tar.wav", "no such file"),
        ("twice.csv", "unusable list"),
        ("twice.jsonl:1", "wrong line"),
    ]
    assert "unpack the tars" in found.rejected[2].detail
    assert "the key 'text' is there twice" in found.rejected[4].detail


def test_files_without_suffix_and_lines_that_end_as_on_old_macs(tmp_path: Path) -> None:
    write_audio(tmp_path, "wavs/0.wav", "wavs/1.wav")
    write(tmp_path / "list.csv", "file,speaker,text\r0,anna,HELLO\r1,,GOOD BYE\r")
    assert facts(find(tmp_path)) == TWO
