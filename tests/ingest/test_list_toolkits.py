"""Lists of other toolkits: each is known by what is in it, and read with its right values."""

import gzip
import itertools
import json
from pathlib import Path

import pytest
from source_files import by_key, facts, find, kinds, message, reasons, write, write_audio, write_manifest

from speechssl.ingest.lists.formats import is_list
from speechssl.ingest.recordings import Recording

TWO = {"0": ("0.wav", "HELLO", "anna"), "1": ("1.wav", "GOOD BYE", "")}


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


def test_kaldi_ids_that_come_twice_are_named(tmp_path: Path) -> None:
    write_audio(tmp_path, "0.wav", "1.wav")
    found = find(write_kaldi(tmp_path, wav_scp="u0 0.wav\nu0 1.wav\nu1\n"))
    assert facts(found) == {"u0": ("0.wav", "", "")}
    assert reasons(found) == [("wav.scp:2", "wrong line"), ("wav.scp:3", "wrong line")]


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
