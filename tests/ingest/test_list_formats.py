"""Lists of other toolkits and corpora: each is known by what is in it, and read with its right values."""

import gzip
import itertools
import json
from pathlib import Path

import pytest
from source_files import by_key, find, message, reasons, write, write_manifest

from speechssl.ingest.lists.formats import is_list
from speechssl.ingest.recordings import Found, Recording


def facts(found: Found) -> dict[str, tuple]:
    """File, text and speaker by key."""
    return {r.key: (Path(r.path).name, r.text, r.speaker) for r in found.recordings}


def write_audio(folder: Path, *names: str) -> None:
    for name in names:
        write(folder / name)


def kinds(found: Found) -> list[str]:
    return [note.kind for note in found.notes]


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


def test_speechbrain(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for root in ["", "{data_root}/", "$data_root/", "${data_root}/"]:
        folder = next(folders)
        folder.mkdir()
        write_audio(folder, "a/0.wav", "a/1.wav")
        rows = {
            "u0": {"wav": f"{root}a/0.wav", "length": 1.5, "words": "HELLO", "spk_id": "anna", "phn": "h e"},
            "u1": {"wav": f"{root}a/1.wav", "length": 2, "words": "GOOD BYE"},
        }
        path = write(folder / "train.json", json.dumps(rows, indent=2))
        found = find(path)
        assert facts(found) == {"u0": TWO["0"], "u1": TWO["1"]}
        assert [recording.stated_seconds for recording in found.recordings] == [1.5, 2.0]
        assert found.ignored_columns == {"phn": 1}
        assert found.notes == []
        table = write(
            folder / "train.csv",
            f"ID,duration,wav,spk_id,wrd\nu0,1.5,{root}a/0.wav,anna,HELLO\nu1,2,{root}a/1.wav,,GOOD BYE\n",
        )
        assert find(table).recordings == found.recordings
        broken = {**rows, "u2": "a/0.wav", "u3": {"wav": {"file": "a/0.wav", "start": 0, "stop": 800}}}
        left_out = find(write(folder / "broken.json", json.dumps(broken))).rejected
        assert [item.detail.partition(";")[0] for item in left_out] == [
            "is a JSON str, expected an object",
            "wav has a start and stop in samples",
        ]


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


def test_nemo(tmp_path: Path) -> None:
    write_audio(tmp_path, "call.wav", "0.wav")
    rows = [
        {"audio_filepath": "call.wav", "channel": 0, "offset": 0, "duration": 2, "text": "ANNA", "speaker": "anna"},
        {"audio_filepath": "call.wav", "channel": 1, "offset": 0, "duration": 2, "text": "BEN", "speaker": "ben"},
        {"audio_filepath": "0.wav", "duration": 3.25, "text": "HELLO", "lang": "en", "pred_text": "HALLO"},
    ]
    path = write_manifest(tmp_path / "train_manifest.json", rows)
    assert is_list(str(path))
    found = find(path)
    assert by_key(found) == {
        "0": Recording("0", str(tmp_path / "0.wav"), "HELLO", "", "en", recording="0", stated_seconds=3.25),
        **{
            key: Recording(
                key, str(tmp_path / "call.wav"), text, text.lower(), "", "", "call", 0.0, 2.0, None, channel, 2.0
            )
            for key, text, channel in (
                ("call-00000000-00002000-ch0", "ANNA", 0),
                ("call-00000000-00002000-ch1", "BEN", 1),
            )
        },
    }
    assert found.ignored_columns == {"pred_text": 1}


def test_hugging_face(tmp_path: Path) -> None:
    write_audio(tmp_path / "data", "0.wav", "1.wav")
    csv = write(
        tmp_path / "metadata.csv", "file_name,transcription,speaker\ndata/0.wav,HELLO,anna\ndata/1.wav,GOOD BYE,\n"
    )
    rows = [
        {"audio": {"path": "data/0.wav", "bytes": None}, "sentence": "HELLO", "speaker_id": "anna"},
        {"audio": {"path": "data/1.wav", "bytes": None}, "sentence": "GOOD BYE", "speaker_id": None},
    ]
    jsonl = write_manifest(tmp_path / "metadata.jsonl", rows)
    for path in (csv, jsonl):
        assert is_list(str(path))
        assert facts(find(path)) == {f"data_{key}": value for key, value in TWO.items()}


def test_ljspeech(tmp_path: Path) -> None:
    write_audio(tmp_path, "wavs/LJ-0.wav", "wavs/LJ-1.wav")
    rows = [["LJ-0", 'Dr. Hello, 1st "there', "Doctor Hello, first there"], ["LJ-1", "Good bye.", "Good bye."]]
    for width in (2, 3):
        path = write(tmp_path / "metadata.csv", "\n".join("|".join(row[:width]) for row in rows) + "\nLJ-2\n")
        found = find(path)
        texts = [row[width - 1] for row in rows]
        assert facts(found) == {"LJ-0": ("LJ-0.wav", texts[0], ""), "LJ-1": ("LJ-1.wav", "Good bye.", "")}
        assert reasons(found) == [("metadata.csv:3", "wrong line")]
        assert found.ignored_columns == ({"column 2": 2} if width == 3 else {})
        assert found.fields["text"] == {f"column {width}": 2}


def test_lists_of_vits_and_openslr(tmp_path: Path) -> None:
    write_audio(tmp_path, "wavs/a.wav")
    for row, speaker in (
        ("DUMMY/wavs/a.wav|Hello there.\n", ""),
        ("wavs/a.wav|88|Hello there.\n", "88"),
        ("wavs/a.wav\tHello there.\n", ""),
    ):
        assert facts(find(write(tmp_path / "filelist.txt", row))) == {"wavs_a": ("a.wav", "Hello there.", speaker)}
    index = write(tmp_path / "line_index.tsv", "a\tHello there.\n")
    assert facts(find(index)) == {"a": ("a.wav", "Hello there.", "")}
    unclear = write(tmp_path / "filelist.txt", "wavs/a.wav|happy|Hello there.\n")
    assert not is_list(str(unclear))
    assert "the header is 'wavs/a.wav happy Hello there.', expected columns of different names" in message(unclear)


def test_multilingual_librispeech(tmp_path: Path) -> None:
    write_audio(tmp_path / "train/audio", "1/2/1_2_000000.flac", "10/20/10_20_000001.opus")
    rows = "1_2_000000\thello there\n10_20_000001\tgood bye\n1_2_000009\tlost\nrubbish\n"
    path = write(tmp_path / "train/transcripts.txt", rows)
    assert is_list(str(path))
    found = find(path)
    assert facts(found) == {
        "1_2_000000": ("1_2_000000.flac", "hello there", "1"),
        "10_20_000001": ("10_20_000001.opus", "good bye", "10"),
    }
    assert {recording.recording for recording in found.recordings} == {"1_2", "10_20"}
    segments = write(tmp_path / "train/segments.txt", "1_2_000000\thttp://host/book.mp3\t401.76\t417.57\n")
    assert not is_list(str(segments))
    assert reasons(found) == [("1_2_000009.flac", "no such file"), ("transcripts.txt:4", "wrong line")]
    assert found.fields["text"] == {"transcripts.txt's text": 2}


def test_fairseq(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())
    for suffix in [".wrd", ".ltr"]:
        folder = next(folders)
        folder.mkdir()
        write_audio(folder / "corpus", "a/0.wav", "a/1.wav")
        path = write(folder / "lists/train.tsv", f"{folder}/corpus\na/0.wav\t32000\na/1.wav\t16000\n")
        words = {".wrd": "HELLO\nGOOD BYE\n", ".ltr": "H E L L O |\nG O O D | B Y E |\n"}[suffix]
        text = write(folder / f"lists/train{suffix}", words)
        write(folder / "lists/train.phn", "h e\ng u\n")
        assert is_list(str(path))
        found = find(path)
        assert [(r.key, r.text, r.stated_frames) for r in found.recordings] == [
            ("a_0", "HELLO", 32000),
            ("a_1", "GOOD BYE", 16000),
        ]
        assert found.fields["text"] == {f"fairseq's train{suffix}": 2}
        text.write_text(words + "MORE\n")
        found = find(path)
        assert found.recordings == []
        assert {item.detail.partition(",")[0] for item in found.rejected} == {f"train{suffix} has 3 lines for 2 files"}
        text.unlink()
        assert [r.text for r in find(path).recordings] == ["", ""]


def test_fairseq_whose_root_was_moved(tmp_path: Path) -> None:
    write_audio(tmp_path / "corpus", "a/0.wav")
    path = write(tmp_path / "corpus/train.tsv", "/home/somebody/corpus\na/0.wav\t32000\n")
    found = find(path)
    assert [(r.key, r.path) for r in found.recordings] == [("a_0", str(tmp_path / "corpus/a/0.wav"))]
    assert kinds(found) == ["path mended: moved folder"]


def write_kaldi(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        write(folder / name.replace("_scp", ".scp"), content)
    return folder / "wav.scp"


def test_kaldi(tmp_path: Path) -> None:
    write_audio(tmp_path / "a", "0.wav", "1.wav")
    path = write_kaldi(
        tmp_path / "data/train",
        wav_scp=f"u0 {tmp_path}/a/0.wav\nu1\t{tmp_path}/a/1.wav\nu2 sph2pipe -f wav {tmp_path}/a/2.sph |\n",
        text="u0 HELLO\nu1  GOOD  BYE\nu9 LOST\n",
        utt2spk="u0 anna\n",
        utt2lang="u0 en\n",
    )
    assert is_list(str(path))
    found = find(path)
    assert facts(found) == {"u0": TWO["0"], "u1": ("1.wav", "GOOD  BYE", "")}
    assert [recording.language for recording in found.recordings] == ["en", ""]
    assert found.fields["text"] == {"Kaldi's text": 2}
    assert found.fields["speaker"] == {"Kaldi's utt2spk": 1}
    assert sorted((item.path, item.reason) for item in found.rejected) == [
        (f"{path.parent}/text:3", "wrong line"),
        (f"sph2pipe -f wav {tmp_path}/a/2.sph |", "command, not a file"),
    ]
    assert any(f"give `sph2pipe -f wav {tmp_path}/a/2.sph > FILE.wav`" in item.detail for item in found.rejected)


def test_kaldi_segments_and_channels(tmp_path: Path) -> None:
    write_audio(tmp_path, "call.wav", "spare.wav")
    path = write_kaldi(
        tmp_path,
        wav_scp="call-A call.wav\ncall-B call.wav\nspare spare.wav\n",
        segments="s0 call-A 0.5 1.5\ns1 call-B 0.5 1.5\ns2 call-A 2 -1\ns3 nowhere 0 1\n",
        reco2file_and_channel="call-A call A\ncall-B call B\n",
        text="s0 HELLO\ns1 GOOD BYE\n",
    )
    found = find(path)
    assert [(r.key, r.text, r.start_seconds, r.stop_seconds, r.channel) for r in found.recordings] == [
        ("s0", "HELLO", 0.5, 1.5, 0),
        ("s1", "GOOD BYE", 0.5, 1.5, 1),
        ("s2", "", 2.0, None, 0),
    ]
    assert sorted((item.path, item.reason) for item in found.rejected) == [
        (f"{tmp_path}/segments:4", "wrong line"),
        (f"{path}:3", "in no segment"),
    ]


def test_kaldi_features_are_no_audio(tmp_path: Path) -> None:
    path = write(tmp_path / "feats.scp", "u0 raw_mfcc.1.ark:12\n")
    assert not is_list(str(path))


def recording_of(name: str, *channels: int, seconds: float = 10.0) -> dict:
    sources = [{"type": "file", "channels": list(channels) or [0], "source": name}]
    rate = {"sampling_rate": 16000, "num_samples": int(seconds * 16000), "duration": seconds}
    return {"id": Path(name).stem, "sources": sources, **rate}


def cut_of(recording: dict, start: float, seconds: float, *supervisions: dict, channel: int | list = 0) -> dict:
    times = {"start": start, "duration": seconds, "channel": channel}
    return {
        "id": f"cut-{start:g}",
        **times,
        "supervisions": list(supervisions),
        "recording": recording,
        "type": "MonoCut",
    }


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_lhotse_cuts(tmp_path: Path, name: str) -> None:
    write_audio(tmp_path, "a.wav", "call.wav")
    a, call = recording_of("a.wav"), recording_of("call.wav", 0, 1)
    whole = {
        "id": "s",
        "recording_id": "a",
        "start": 0,
        "duration": 10,
        "text": "ALL",
        "speaker": "anna",
        "language": "en",
    }
    parts = [{"id": f"p{i}", "start": i, "duration": 0.5, "text": f"PART {i}", "gender": "f"} for i in (1, 2)]
    mixed = {"id": "m", "type": "MixedCut", "tracks": [{"cut": cut_of(a, 0, 1)}]}
    cuts = [
        cut_of(a, 0, 10, whole),
        cut_of(a, 4, 5, *parts),
        cut_of(a, 9, 1),
        cut_of(call, 1.5, 2, {"start": 0, "duration": 2, "text": "BEN"}, channel=1),
        mixed,
    ]
    lines = "".join(json.dumps(cut) + "\n" for cut in cuts).encode()
    path = write(tmp_path / name, gzip.compress(lines) if name.endswith(".gz") else lines)
    assert is_list(str(path))
    found = find(path)
    assert {r.key: (r.text, r.start_seconds, r.stop_seconds, r.channel) for r in found.recordings} == {
        "cut-0": ("ALL", None, None, None),
        "p1": ("PART 1", 5.0, 5.5, None),
        "p2": ("PART 2", 6.0, 6.5, None),
        "cut-9": ("", 9.0, 10.0, None),
        "cut-1_5": ("BEN", 1.5, 3.5, 1),
    }
    first = by_key(found)["cut-0"]
    assert (first.speaker, first.language, first.recording) == ("anna", "en", "a")
    assert (first.stated_seconds, first.stated_frames) == (10.0, 160000)
    assert [(item.path, item.reason) for item in found.rejected] == [(f"{path}:5", "wrong line")]
    assert "CutSet.from_file(" in found.rejected[0].detail
    assert found.ignored_columns == {"gender": 2}


def test_lhotse_recordings_and_supervisions_are_to_be_joined(tmp_path: Path) -> None:
    write_audio(tmp_path, "a.wav", "b.wav")
    write_manifest(tmp_path / "recordings.jsonl", [recording_of("a.wav"), recording_of("b.wav")])
    rows = [{"id": "s0", "recording_id": "a", "start": 1, "duration": 2, "text": "HELLO", "channel": 0}]
    write_manifest(tmp_path / "supervisions.jsonl", rows)
    for kind in ("recordings", "supervisions"):
        assert f"lhotse's manifest of {kind} alone; join it" in message(tmp_path / f"{kind}.jsonl")
    assert reasons(find(tmp_path)) == [(f"{kind}.jsonl", "unusable list") for kind in ("recordings", "supervisions")]


def test_lhotse_audio_that_is_no_file_is_named(tmp_path: Path) -> None:
    kinds_of_source = {"command": "sox a.mp3 -", "url": "https://host/a.wav", "memory": "AAAA"}
    cuts = []
    for kind, source in kinds_of_source.items():
        recording = recording_of(source)
        recording["sources"][0]["type"] = kind
        cuts.append(cut_of(recording, len(cuts), 1))
    found = find(write_manifest(tmp_path / "cuts.jsonl", cuts))
    assert {item.reason for item in found.rejected} == {"command, not a file", "address, not a file", "wrong line"}


def test_lhotse_values_of_a_wrong_type_are_named(tmp_path: Path) -> None:
    write_audio(tmp_path, "a.wav")
    sources: list[dict] = [{"channels": None}, {"channels": 0}, {"channels": [{}]}, {"source": 5}]
    cuts = []
    for wrong in sources:
        recording = recording_of("a.wav")
        recording["sources"][0].update(wrong)
        cuts.append(cut_of(recording, len(cuts), 1))
    wrong_cuts: list[dict] = [{"supervisions": {"text": "A"}}, {"supervisions": ["A"]}, {"channel": {"a": 1}}]
    wrong_cuts += [{"channel": [[0]]}, {"start": 10**400}]
    stereo = recording_of("a.wav", 0, 1)
    cuts += [{**cut_of(stereo, len(cuts), 1), **wrong} for wrong in wrong_cuts]
    frames: list[object] = ["1600", 1.5, True, -1]
    cuts += [cut_of({**recording_of("a.wav"), "num_samples": value}, 0, 10) for value in frames]
    cuts += [{**cut_of(recording_of("a.wav"), 1, 2), "id": "good"}]
    found = find(write_manifest(tmp_path / "cuts.jsonl", cuts))
    assert list(by_key(found)) == ["good"]
    assert [item.reason for item in found.rejected] == ["wrong line"] * (len(cuts) - 1)


def test_compressed_lists(tmp_path: Path) -> None:
    write_audio(tmp_path, "0.wav", "1.wav")
    rows = b"path\tspeaker\ttext\n0.wav\tanna\tHELLO\n1.wav\t\tGOOD BYE\n"
    path = write(tmp_path / "list.tsv.gz", gzip.compress(rows))
    assert is_list(str(path))
    assert facts(find(path)) == TWO
    assert facts(find(tmp_path)) == TWO
    assert "is damaged or cut off" in message(write(tmp_path / "cut.tsv.gz", gzip.compress(rows)[:-20]))


def test_tables_of_common_voice(tmp_path: Path) -> None:
    header = "client_id\tpath\tsentence\tup_votes\tlocale\n"
    for name in ("train", "other", "invalidated"):
        write(tmp_path / "clips" / f"{name}.mp3")
        write(tmp_path / f"{name}.tsv", f"{header}{name * 20}\t{name}.mp3\tHELLO\t2\teo\n")
    write(tmp_path / "clip_durations.tsv", "clip\tduration[ms]\ntrain.mp3\t3000\n")
    write(tmp_path / "reported.tsv", "sentence_id\tsentence\tlocale\treason\nx\tHELLO\teo\toffensive\n")
    names = ("train", "other", "invalidated", "clip_durations", "reported")
    known = {name: is_list(str(tmp_path / f"{name}.tsv")) for name in names}
    assert [name for name in names if known[name]] == ["train", "other"]
    for name in ("other", "invalidated"):
        found = find(tmp_path / f"{name}.tsv")
        assert [(r.text, r.split) for r in found.recordings] == [("HELLO", name)]
        assert kinds(found) == (["invalidated recordings"] if name == "invalidated" else [])


def test_tables_whose_ids_are_files(tmp_path: Path) -> None:
    write_audio(tmp_path, "audio/u0.ogg", "audio/u1.ogg")
    content = "id\traw_text\tnormalized_text\tspeaker_id\nu0\tHello.\thello\t7\nu1\tBye.\tbye\t\nu2\tLost.\tlost\t\n"
    path = write(tmp_path / "asr_train.tsv", content)
    assert is_list(str(path))
    found = find(path)
    assert facts(found) == {"u0": ("u0.ogg", "hello", "7"), "u1": ("u1.ogg", "bye", "")}
    assert reasons(found) == [("u2", "no such file")]
    assert not is_list(str(write(tmp_path / "speakers.tsv", "id\tname\ttext\nx\tAnna\tfemale voice\n")))


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


def test_kaldi_ids_that_come_twice_are_named(tmp_path: Path) -> None:
    write_audio(tmp_path, "0.wav", "1.wav")
    found = find(write_kaldi(tmp_path, wav_scp="u0 0.wav\nu0 1.wav\nu1\n"))
    assert facts(found) == {"u0": ("0.wav", "", "")}
    assert reasons(found) == [("wav.scp:2", "wrong line"), ("wav.scp:3", "wrong line")]


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
