"""Rows of lists: columns too few and too many, quotes, times, channels, and what all rows of a list tell together."""

import csv
import gzip
import io
import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest
from source_files import find, message, reasons, write, write_audio, write_manifest

from speechssl.ingest.recordings import Found


def texts(found: Found) -> dict[str, str]:
    return {Path(r.path).name: r.text for r in found.recordings}


def notes(found: Found) -> list[tuple[str, str]]:
    return [(note.kind, note.detail) for note in found.notes]


def lines_left_out(found: Found) -> list[int]:
    assert {item.reason for item in found.rejected} <= {"wrong line"}
    return sorted(int(item.path.rpartition(":")[2]) for item in found.rejected)


def test_rows_of_another_width_are_named(tmp_path: Path) -> None:
    write_audio(tmp_path, "a.wav", "b.wav", "c.wav")
    for name, delimiter in (("n.tsv", "\t"), ("n.csv", ",")):
        rows = [["path", "text", "speaker"], ["a.wav", "x"], ["b.wav", "y", "ben", "", " "], ["c.wav", "z", "ben", "3"]]
        found = find(write(tmp_path / name, "\n".join(delimiter.join(row) for row in rows)))
        assert texts(found) == {"b.wav": "y"}
        assert [item.detail for item in found.rejected] == [
            f"{count} columns, expected 3 (path, text, speaker)" for count in (2, 4)
        ]


def test_a_delimiter_where_it_cannot_be_told_is_a_wrong_row(tmp_path: Path) -> None:
    write_audio(tmp_path, "a.wav", "b.wav")
    found = find(write(tmp_path / "m.csv", "path,text,speaker\na.wav,hello, there,anna\nb.wav,bye,ben\n"))
    assert texts(found) == {"b.wav": "bye"}
    assert lines_left_out(found) == [2]


def test_quotes_hold_delimiters_together(tmp_path: Path) -> None:
    write_audio(tmp_path, "a.wav", "b.wav", "c.wav")
    rows = [
        ("path", "text", "speaker"),
        ("a.wav", 'say "hi", you', "x"),
        ("b.wav", "one, two", ""),
        ("c.wav", "", ""),
    ]
    for delimiter, quoting in ((",", csv.QUOTE_MINIMAL), (";", csv.QUOTE_ALL), ("|", csv.QUOTE_ALL)):
        file = io.StringIO()
        csv.writer(file, delimiter=delimiter, quoting=quoting).writerows(rows)
        found = find(write(tmp_path / "m.csv", file.getvalue()))
        assert texts(found) == {"a.wav": 'say "hi", you', "b.wav": "one, two", "c.wav": ""}
        assert (found.rejected, found.notes) == ([], [])


@pytest.mark.parametrize(
    "open_row",
    [
        'x.wav,"never closed',
        'x.wav,"closed" too early',
    ],
)
@pytest.mark.parametrize("following", ["plain", '"quoted"', '"quo,ted"', '"dou""ble"'])
def test_a_quote_that_is_not_closed_takes_in_no_other_row(tmp_path: Path, open_row: str, following: str) -> None:
    names = [f"{i}.wav" for i in range(150)]
    write_audio(tmp_path, "x.wav", *names)
    rows = ["path,text", *(f"{name},{following}" for name in names[:5]), open_row]
    rows += [f"{name},{following if i % 40 == 39 else 'plain'}" for i, name in enumerate(names[5:])]
    found = find(write(tmp_path / "m.csv", "\n".join(rows) + "\n"))
    assert set(texts(found)) == set(names)
    assert [item[:2] for item in found.rejected] == [(f"{tmp_path}/m.csv:7", "wrong line")]
    assert set(texts(found).values()) == {next(iter(csv.reader([following])))[0], "plain"}


def test_a_text_of_several_lines_is_named(tmp_path: Path) -> None:
    write_audio(tmp_path, "a.wav", "b.wav")
    found = find(write(tmp_path / "m.csv", 'path,text,speaker\na.wav,"two\nlines",anna\nb.wav,bye,ben\n'))
    assert texts(found) == {"b.wav": "bye"}
    assert lines_left_out(found) == [2, 3]


def test_quotes_of_a_tsv_are_characters(tmp_path: Path) -> None:
    write_audio(tmp_path, "a.wav", "b.wav")
    found = find(write(tmp_path / "m.tsv", 'path\ttext\na.wav\t"A\nb.wav\tsay "B"\n'))
    assert texts(found) == {"a.wav": '"A', "b.wav": 'say "B"'}


def test_many_open_quotes_take_no_time(tmp_path: Path) -> None:
    write_audio(tmp_path, "a.wav")
    path = write(tmp_path / "m.csv", "path,text\n" + 'a.wav,"open\n' * 3000)
    begin = time.process_time()
    found = find(path)
    assert time.process_time() - begin < 5
    assert len(found.rejected) + len(found.recordings) == 3000


def times(found: Found) -> list[tuple]:
    return [(r.start_seconds, r.stop_seconds, r.stated_seconds) for r in found.recordings]


def test_times(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for suffix in ["csv", "jsonl"]:
        for row, expected in [
            ({}, (None, None, None)),
            ({"duration": 3.5}, (None, None, 3.5)),
            ({"seconds": "3.5"}, (None, None, 3.5)),
            ({"duration_ms": 3500}, (None, None, 3.5)),
            ({"duration": "nan"}, (None, None, None)),
            ({"offset": 0}, (None, None, None)),
            ({"offset": 0, "duration": 2}, (0.0, 2.0, 2.0)),
            ({"start": 1, "duration": 2}, (1.0, 3.0, 2.0)),
            ({"start_time": "1", "end_time": "2.5"}, (1.0, 2.5, None)),
            ({"start_ms": 1000, "end_ms": 2500}, (1.0, 2.5, None)),
            ({"begin_ms": 1000, "length_ms": 1500}, (1.0, 2.5, 1.5)),
            ({"start (s)": 1, "end (s)": 2.5, "duration (s)": 1.5}, (1.0, 2.5, 1.5)),
            ({"end": 2}, (0.0, 2.0, None)),
            ({"end": 5, "duration": 2}, (3.0, 5.0, 2.0)),
            ({"start": 70}, (70.0, None, None)),
            ({"start": None, "end": None}, (None, None, None)),
            ({"start": "", "end": "", "duration": 4}, (None, None, 4.0)),
            ({"onset": 1, "offset": 3}, (1.0, 3.0, None)),
        ]:
            folder = next(folders)
            folder.mkdir()
            write_audio(folder, "a.wav")
            values = {"path": "a.wav", **row}
            if suffix == "csv":
                values = {name: "" if value is None else value for name, value in values.items()}
            found = find(write_manifest(folder / f"m.{suffix}", [values]))
            assert times(found) == [expected]
            assert [kind for kind, _ in notes(found)] == ["missing values"] * ("nan" in row.values())
            used = {name for places in found.fields.values() for name in places}
            present = {f"column {name}" for name, value in values.items() if value not in ("", None, "nan")}
            assert used == present


def test_times_that_make_no_sense(tmp_path: Path) -> None:
    write_audio(tmp_path, "a.wav")
    wrong: list[dict[str, Any]] = [
        *({"start": 2, "end": 1}, {"start": 2, "end": 2}, {"start": -1, "end": 2}, {"start": float("nan"), "end": 2}),
        *({"start": 1, "end": float("nan")}, {"start": 1, "duration": 0}, {"start": 1, "duration": -1}, {"end": 0}),
        *({"end": "inf"}, {"start": "one", "end": 2}, {"start": [1], "end": 2}, {"start": True, "end": 2}),
        *({"start_ms": 2000, "end_ms": 1000}, {"start_sample": 1, "end_sample": 2}, {"start_frame": 1, "end": 2}),
    ]
    rows = [{"path": "a.wav", "text": "x", **row} for row in wrong]
    found = find(write_manifest(tmp_path / "m.jsonl", [*rows, {"path": "a.wav"}]))
    assert lines_left_out(found) == list(range(1, len(wrong) + 1))
    assert len(found.recordings) == 1


def channels(found: Found) -> dict[str, int | None]:
    return {r.key: r.channel for r in found.recordings}


def test_two_channels_of_one_file_are_two_recordings(tmp_path: Path) -> None:
    write_audio(tmp_path, "call.wav")
    rows = [{"path": "call.wav", "channel": channel, "text": f"channel {channel}"} for channel in ("A", "B")]
    found = find(write_manifest(tmp_path / "m.csv", rows))
    assert channels(found) == {"call-ch0": 0, "call-ch1": 1}
    assert [r.text for r in found.recordings] == ["channel A", "channel B"]
    assert {r.recording for r in found.recordings} == {"call"}
    clashing = write_manifest(tmp_path / "n.csv", [{**row, "path": f"./{row['path']}"} for row in rows])
    assert reasons(find(tmp_path / "m.csv", clashing)) == [("call.wav", "listed twice")] * 2


def test_where_channels_begin(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for given, expected in [
        ([0, 1], [0, 1]),
        ([1, 1], [1, 1]),
        ([2, 3], [2, 3]),
        ([0, 1, 2], [0, 1, 2]),
        (["left", "right"], [0, 1]),
        (["mono", "A"], [None, 0]),
    ]:
        folder = next(folders)
        folder.mkdir()
        names = [f"{i}.wav" for i in range(len(given))]
        write_audio(folder, *names)
        rows = [{"path": name, "side": channel} for name, channel in zip(names, given, strict=True)]
        found = find(write_manifest(folder / "m.csv", rows))
        assert [r.channel for r in found.recordings] == expected
        assert [r.key for r in found.recordings] == [
            f"{i}" if channel is None else f"{i}-ch{channel}" for i, channel in enumerate(expected)
        ]


def test_channels_that_begin_at_1_and_names_of_broadcasters_are_refused(tmp_path: Path) -> None:
    write_audio(tmp_path, "a.wav", "b.wav")
    counted = write(tmp_path / "m.csv", "path,channel,text\na.wav,1,hello\nb.wav,2,bye\n")
    assert message(counted) == f"{counted}: its channels are 1, 2; count them from 0"
    found = find(write(tmp_path / "n.csv", "path,channel,text\na.wav,NPR,hello\nb.wav,0,bye\n"))
    assert texts(found) == {"b.wav": "bye"}
    assert found.rejected[0].detail.startswith("channel is 'NPR', expected a channel")


def test_missing_values_in_words(tmp_path: Path) -> None:
    names = [f"{i}.wav" for i in range(5)]
    write_audio(tmp_path, *names)
    values = ["nan", "NaN", "N/A", "hello there", "nan nan"]
    rows = [{"path": name, "speaker": value, "text": value} for name, value in zip(names, values, strict=True)]
    found = find(write_manifest(tmp_path / "m.csv", rows))
    assert [r.speaker for r in found.recordings] == ["", "", "", *values[3:]]
    assert [r.text for r in found.recordings] == ["nan", "NaN", "", *values[3:]]
    assert found.fields == {"path": {"column path": 5}, "speaker": {"column speaker": 2}, "text": {"column text": 4}}
    assert {detail for kind, detail in notes(found) if kind == "missing values"} == {
        *(f"speaker: {value!r} in 1 rows is taken as none" for value in values[:3]),
        "text: 'N/A' in 1 rows is taken as none",
    }


def test_the_words_of_a_small_vocabulary_stay(tmp_path: Path) -> None:
    digits = ["null", "eins", "zwei", "drei", "vier"]
    names = [f"{i}.wav" for i in range(20)]
    write_audio(tmp_path, *names)
    rows = [{"path": name, "text": digits[i % 5]} for i, name in enumerate(names)]
    found = find(write_manifest(tmp_path / "m.tsv", rows))
    assert [r.text for r in found.recordings].count("null") == 4
    assert notes(found) == [
        ("missing value or word", "text: 'null' in 4 rows is taken as a word; leave it empty where there is none")
    ]


def test_a_path_that_is_missing_is_a_wrong_row(tmp_path: Path) -> None:
    write_audio(tmp_path, "a.wav", "null")
    lines = ['{"path": NaN}', '{"path": null}', '{"path": ""}', '{"path": "None"}', '{"text": "x"}', '{"path": "null"}']
    found = find(write(tmp_path / "m.jsonl", "\n".join([*lines, '{"path": "a.wav"}'])))
    assert [Path(r.path).name for r in found.recordings] == ["a.wav", "null"]
    assert lines_left_out(found) == [1, 2, 3, 4, 5]


def test_voices_that_look_the_same_are_one(tmp_path: Path) -> None:
    names = [f"{i}.wav" for i in range(6)]
    write_audio(tmp_path, *names)
    speakers: list[Any] = [7, "7", 7.0, " 7", "7\u200b", "8"]
    rows = [{"path": name, "speaker": speaker} for name, speaker in zip(names, speakers, strict=True)]
    found = find(write_manifest(tmp_path / "m.jsonl", rows))
    assert [r.speaker for r in found.recordings] == ["7"] * 5 + ["8"]


def test_columns_that_are_ignored_are_counted_and_those_like_transcripts_named(tmp_path: Path) -> None:
    write_audio(tmp_path, "a.wav", "b.wav")
    rows = [
        {"path": "a.wav", "tgt_text": "hello there", "gender": "f", "label": 3},
        {"path": "b.wav", "tgt_text": "good bye", "gender": "", "label": 4},
    ]
    found = find(write_manifest(tmp_path / "m.jsonl", rows))
    assert found.ignored_columns == {"tgt_text": 2, "label": 2, "gender": 1}
    assert notes(found) == [
        ("no transcript column", "no column is known as the transcript, but tgt_text has words; if so, name it text")
    ]
    known = find(write_manifest(tmp_path / "m.jsonl", [{**row, "text": "x"} for row in rows]))
    assert known.notes == []
    assert known.ignored_columns == {"tgt_text": 2, "label": 2, "gender": 1}


def test_only_rows_that_are_recordings_are_counted(tmp_path: Path) -> None:
    write_audio(tmp_path, "a.wav")
    content = "path,text,mood\na.wav,x,good\nmissing.wav,y,bad\na.wav,z,bad,\n,w,bad\n"
    found = find(write(tmp_path / "m.csv", content))
    assert found.fields["path"] == {"column path": 2}  # of which one is listed twice
    assert found.ignored_columns == {"mood": 2}


def test_rows_of_a_compressed_list_up_to_its_damage(tmp_path: Path) -> None:
    names = [f"{i:05d}.wav" for i in range(4)]
    write_audio(tmp_path, *names)
    lines = "".join(json.dumps({"path": names[i % 4], "start": i, "end": i + 1, "x": i**7}) + "\n" for i in range(9000))
    data = gzip.compress(lines.encode())
    found = find(write(tmp_path / "m.jsonl.gz", data[: len(data) * 3 // 4]))
    assert 1000 < len(found.recordings) < 9000
    assert len(found.rejected) in (1, 2)
    assert any("the file cannot be read from here on" in item.detail for item in found.rejected)
