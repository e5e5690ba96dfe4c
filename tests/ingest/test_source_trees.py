"""Folders with lists, speakers, sidecars, odd names and the output in them: what is used, and what is named."""

import json
import os
from pathlib import Path

import pytest
from source_files import SAMPLES, by_key, find, ignored, message, reasons, write, write_tar

from speechssl.errors import DataError
from speechssl.ingest import file_kinds
from speechssl.ingest.recordings import Found, Recording
from speechssl.ingest.sources import find_recordings


def texts(found: Found) -> dict[str, str]:
    return {recording.key: recording.text for recording in found.recordings}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("transcribed.tsv", "path\tspeaker\ttext\nclips/0.wav\tanna\thello there\nclips/1.wav\tben\tgood bye\n"),
        ("metadata.csv", "file_name,speaker,transcription\nclips/0.wav,anna,hello there\nclips/1.wav,ben,good bye\n"),
        (
            "train_manifest.json",
            '{"audio_filepath": "clips/0.wav", "text": "hello there", "speaker": "anna"}\n'
            '{"audio_filepath": "clips/1.wav", "text": "good bye", "speaker": "ben"}\n',
        ),
    ],
)
@pytest.mark.parametrize("above", ["", "corpus/v1"])
def test_a_list_in_a_folder_says_what_its_files_hold(tmp_path: Path, name: str, content: str, above: str) -> None:
    for i in range(3):
        write(tmp_path / above / "clips" / f"{i}.wav")
    write(tmp_path / above / name, content)
    found = find(tmp_path)
    assert {Path(r.path).stem: (r.text, r.speaker) for r in found.recordings} == {
        "0": ("hello there", "anna"),
        "1": ("good bye", "ben"),
        "2": ("", ""),
    }
    assert (found.rejected, found.ignored, found.notes) == ([], [], [])
    assert find(tmp_path, tmp_path / above / name) == found


def test_lists_say_nothing_of_files_that_they_do_not_name_and_need_not_lie_above_them(tmp_path: Path) -> None:
    for name in ("audio/a.wav", "audio/b.wav", "audio/c.wav"):
        write(tmp_path / name)
    write(tmp_path / "audio/a.txt", "beside a")
    write(tmp_path / "audio/b.txt", "beside b")
    write(tmp_path / "audio/c.txt", "beside c")
    write(tmp_path / "lists/one.tsv", "path\tspeaker\ttext\n../audio/a.wav\tanna\t\n../audio/gone.wav\tanna\tx\n")
    write(tmp_path / "lists/two.jsonl", '{"path": "../audio/b.wav", "text": "listed b", "offset": 0, "end": 1}\n')
    found = find(tmp_path)
    assert {Path(r.path).stem: (r.text, r.speaker, r.stop_seconds) for r in found.recordings} == {
        "a": ("beside a", "anna", None),
        "b": ("listed b", "", 1.0),
        "c": ("beside c", "", None),
    }
    assert reasons(found) == [("gone.wav", "no such file")]
    assert [(Path(note.path).name, note.kind) for note in found.notes] == [("b.wav", "transcript beside it not used")]
    assert found.ignored == []


def test_what_a_list_says_makes_an_unreadable_transcript_beside_it_harmless(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.wav")
        write(tmp_path / f"{name}.txt", b"caf\xe9")
    write(tmp_path / "list.tsv", "path\ttext\nb.wav\tCAFE\nc.wav\t\n")
    found = find(tmp_path)
    assert texts(found) == {"b": "CAFE"}
    assert reasons(found) == [("a.wav", "unreadable transcript"), ("c.wav", "unreadable transcript")]


def test_files_of_a_list_that_cannot_be_used_are_named_once(tmp_path: Path) -> None:
    write(tmp_path / "empty.wav", b"")
    write(tmp_path / "list.tsv", "path\ttext\nempty.wav\tYES\n")
    assert reasons(find(tmp_path)) == [("empty.wav", "empty file")]


def test_a_list_that_cannot_be_used_leaves_the_rest(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    write(tmp_path / "empty.tsv", "path\ttext\n")
    write(tmp_path / "other.tsv", "name\ttext\na.wav\tYES\n")
    found = find(tmp_path)
    assert texts(found) == {"a": ""}
    assert [(Path(item.path).name, item.reason, item.detail) for item in found.rejected] == [
        ("empty.tsv", "unusable list", "lists no recordings")
    ]
    assert ignored(found) == {".tsv, neither a list nor beside audio": 1}
    assert "lists no recordings" in message(tmp_path / "empty.tsv")


def test_a_list_that_may_not_be_read_is_left_out_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.wav")
    listed = write(tmp_path / "list.tsv", "path\ttext\na.wav\tYES\n")
    monkeypatch.setattr(file_kinds.os, "access", lambda path, mode: False)
    assert reasons(find(tmp_path)) == [("list.tsv", "unreadable file")]
    assert f"{listed}: cannot be read (Permission denied)" in message(listed)


def test_other_tables_of_common_voice_are_named_and_read_if_there_is_nothing_else(tmp_path: Path) -> None:
    for clip in ("c1", "c2", "c3"):
        write(tmp_path / "clips" / f"{clip}.mp3")
    header = "client_id\tpath\tsentence\n"
    write(tmp_path / "other.tsv", f"{header}x\tc1.mp3\tONE\n")
    write(tmp_path / "invalidated.tsv", f"{header}x\tc2.mp3\tTWO\n")
    write(tmp_path / "clip_durations.tsv", "clip\tduration\nc1.mp3\t1000\n")
    found = find(tmp_path)
    assert list(texts(found).values()) == ["ONE"]
    assert ignored(found) == {"table of Common Voice that is not read": 2}
    assert reasons(found) == [("c2.mp3", "not listed"), ("c3.mp3", "not listed")]
    write(tmp_path / "train.tsv", f"{header}x\tc3.mp3\tTHREE\n")
    assert list(texts(find(tmp_path)).values()) == ["THREE"]
    assert list(texts(find(tmp_path / "invalidated.tsv")).values()) == ["TWO"]


def test_speakers_of_libritts_mls_and_vctk_are_their_folders(tmp_path: Path) -> None:
    write(tmp_path / "LibriTTS/train-clean-100/84/121123/84_121123_000001_000000.wav")
    write(tmp_path / "LibriTTS/train-clean-100/84/121123/84_121123_000001_000000.normalized.txt", "mister x")
    write(tmp_path / "LibriTTS/train-clean-100/84/121123/84_121123_000001_000000.original.txt", "Mr. X")
    write(tmp_path / "mls/dev/audio/1/2/1_2_000000.flac")
    write(tmp_path / "vctk/wav48/p225/p225_001_mic1.flac")
    write(tmp_path / "plain/1/2/talk.wav")
    write(tmp_path / "plain/train/clean/train_clean_1.wav")
    found = find(tmp_path)
    assert {Path(r.path).stem: (r.text, r.speaker, r.split, r.recording) for r in found.recordings} == {
        "84_121123_000001_000000": ("mister x", "84", "train-clean-100", "84_121123"),
        "1_2_000000": ("", "1", "dev", "1_2"),
        "p225_001_mic1": ("", "p225", "", "vctk/wav48/p225/p225_001_mic1"),
        "talk": ("", "", "", "plain/1/2/talk"),
        "train_clean_1": ("", "", "", "plain/train/clean/train_clean_1"),
    }
    assert found.fields == {
        "text": {".normalized.txt beside the audio": 1},
        "speaker": {"folder names, as in LibriTTS": 2, "folder names, as in VCTK": 1},
    }
    assert ignored(found) == {"a second transcript": 1}


def test_json_beside_audio_says_what_that_of_tars_says(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    write(tmp_path / "a.json", '{"text": "yes", "speaker": "anna", "snr": 3}')
    write(tmp_path / "b.wav")
    write(tmp_path / "b.wav.json", '{"text": "no"}')
    write(tmp_path / "c.wav")
    write(tmp_path / "c.json", '[{"word": "no", "start": 1}]')
    write(tmp_path / "c.txt", "go")
    write(tmp_path / "d.wav")
    write(tmp_path / "d.json", '{"text": ')
    found = find(tmp_path)
    assert {r.key: (r.text, r.speaker) for r in found.recordings} == {
        "a": ("yes", "anna"),
        "b": ("no", ""),
        "c": ("go", ""),
    }
    assert reasons(found) == [("d.wav", "unreadable transcript")]
    assert [(Path(item.path).name, item.reason) for item in found.ignored] == [
        ("c.json", "JSON without names of fields")
    ]
    assert found.ignored_columns == {"snr": 1}
    assert found.fields["text"] == {".txt beside the audio": 1, "column text": 2}


def test_a_list_that_has_the_name_of_a_recording_is_a_list(tmp_path: Path) -> None:
    rows = [{"path": "train.wav", "text": "yes"}, {"path": "other.wav", "text": "no"}]
    write(tmp_path / "train.json", "".join(json.dumps(row) + "\n" for row in rows))
    write(tmp_path / "train.wav")
    write(tmp_path / "other.wav")
    assert texts(find(tmp_path)) == {"train": "yes", "other": "no"}


def test_texts_that_hold_times_are_no_transcripts_and_are_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d", "e"):
        write(tmp_path / f"{name}.wav")
    write(tmp_path / "a.lab", "0 3200000 sil\n3200000 4100000 hello\n")
    write(tmp_path / "b.txt", "1\n00:00:00,000 --> 00:00:02,000\nHello there.\n")
    write(tmp_path / "c.txt", "0.00\t0.31\tpau\n0.31\t0.52\thello\n")
    write(tmp_path / "c.lab", "the words")
    write(tmp_path / "d.srt", "1\n00:00:00,000 --> 00:00:02,000\nHello there.\n")
    write(tmp_path / "e.txt", "\n")
    found = find(tmp_path)
    assert texts(found) == {"a": "", "b": "", "c": "the words", "d": "", "e": ""}
    assert {Path(item.path).name: item.reason for item in found.ignored} == {
        "a.lab": "no transcript: labels with times",
        "b.txt": "no transcript: subtitles",
        "c.txt": "no transcript: labels with times",
        "d.srt": ".srt",
        "e.txt": "no words",
    }


def test_transcripts_are_found_whatever_the_case_or_number_of_their_suffixes(tmp_path: Path) -> None:
    names = [("talk.wav", "talk.TXT")]
    names += [("SX2.WAV.wav", "SX2.TXT"), ("x.wav", "x.wav.txt"), ("y.wav", "y.Normalized.TXT")]
    for i, (audio, transcript) in enumerate(names):
        write(tmp_path / audio)
        write(tmp_path / transcript, f"words {'abcd'[i]}")
    found = find(tmp_path)
    assert {r.text for r in found.recordings} == {f"words {letter}" for letter in "abcd"}
    assert found.ignored == []
    write(tmp_path / "É.wav")
    write(tmp_path / "é.txt", "words e")
    found = find(tmp_path)
    assert sum(bool(r.text) for r in found.recordings) == 4
    assert ignored(found) == {".txt, neither a list nor beside audio": 1}


def test_audio_is_known_by_suffix_or_content_in_folders_globs_and_by_name(tmp_path: Path) -> None:
    for suffix in ("aif", "W64", "caf", "oga", "wave", "webm"):
        write(tmp_path / f"{suffix}.{suffix}")
    write(tmp_path / "voice", b"fLaC1")
    write(tmp_path / "2024.05", b"OggS2")
    write(tmp_path / "2024.06", b"OggS3")
    write(tmp_path / "unknown.xyz", b"words")
    write(tmp_path / "code.ts", b"export const a = 1;\n" * 50)
    expected = ["2024_05", "2024_06", "W64", "aif", "caf", "oga", "voice", "wave", "webm"]
    for source in (tmp_path, tmp_path / "*"):
        found = find(source)
        assert sorted(by_key(found)) == expected
        assert ignored(found) == {".xyz": 1, ".ts": 1}
    assert list(by_key(find(tmp_path / "voice"))) == ["voice"]
    assert sorted(by_key(find(tmp_path / "*.W64", tmp_path / "2024*"))) == expected[:3]
    assert "unknown.xyz: neither audio, nor a list of it, nor a tar (.xyz)" in message(tmp_path / "unknown.xyz")


def test_links_in_circles_lose_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    (tmp_path / "round.wav").symlink_to("round.wav")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "a.txt").symlink_to("a.txt")
    found = find(tmp_path)
    assert reasons(found) == [("a.wav", "unreadable transcript"), ("round.wav", "unreadable file")]
    assert ignored(found) == {"cannot be opened": 1}


def test_pipes_are_named_and_not_opened(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    for name in ("a.txt", "list.tsv", "odd", "talk.wav"):
        os.mkfifo(tmp_path / name)
    found = find(tmp_path)
    assert texts(found) == {"a": ""}
    assert reasons(found) == [("talk.wav", "not a file")]
    assert ignored(found) == {"no file: a pipe or a device": 3}


def test_the_output_is_no_part_of_its_sources(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_tar(data / "a.tar", SAMPLES)
    output = data / "made" / "shards"
    sources = [str(data), str(data / "**/*.tar"), str(data / "*")]
    before = [find_recordings([source], output) for source in sources]
    assert [len(found.recordings) for found in before] == [4, 4, 4]
    write_tar(output / "train" / "shard-000000.tar", SAMPLES)
    write(output / "report.json", "{}")
    write(output / "rejected.tsv", "path\treason\tdetail\na.wav\tx\ty\n")
    (data / "again").symlink_to(output)
    assert [find_recordings([source], output) for source in sources] == before
    assert [find_recordings([source], data / "again") for source in sources] == before
    assert len(find(data).recordings) > 4
    for source in (
        output,
        output / "train",
        output / "train/shard-000000.tar",
        data / "again",
        output / "rejected.tsv",
    ):
        with pytest.raises(DataError) as caught:
            find_recordings([str(source)], output)
        assert str(caught.value) == f"{source}: is the output {output}, or lies in it; give another output"
    assert "a glob of which none of 0 matches can be used" in message_of(str(output / "*/*.tar"), output)


def message_of(source: str, output: Path) -> str:
    with pytest.raises(DataError) as caught:
        find_recordings([source], output)
    return str(caught.value)


def test_json_and_texts_beside_audio_are_not_looked_at_as_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []
    monkeypatch.setattr(file_kinds, "is_list", lambda path: looked_at.append(Path(path).name))
    for i in range(3):
        write(tmp_path / f"{i}.wav")
        write(tmp_path / f"{i}.json", '{"text": "yes"}')
        write(tmp_path / f"{i}.txt", "yes")
    write(tmp_path / "texts/0.txt", "yes")
    write(tmp_path / "image.npy")
    find(tmp_path)
    assert looked_at == ["0.txt"]


def test_a_file_that_was_met_keeps_what_its_list_does_not_say(tmp_path: Path) -> None:
    path = write(tmp_path / "corpus/1/2/1_2_3.wav")
    write(tmp_path / "corpus/list.tsv", "path\tid\ttext\n1/2/1_2_3.wav\tmine\tYES\n")
    assert find(tmp_path).recordings == [Recording("mine", str(path), "YES", "1", recording="1/2/1_2_3")]


def test_transcripts_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    vctk = tmp_path / "vctk"
    for name in ("p225_001_mic1", "p225_001_mic2", "p225_002_mic1", "p225_003_mic1"):
        write(vctk / "wav48" / "p225" / f"{name}.flac")
    write(vctk / "txt" / "p225" / "p225_001.txt", "Please call Stella.")
    write(vctk / "txt" / "p225" / "p225_003.txt", b"caf\xe9")
    write(vctk / "txt" / "p226" / "p226_001.txt", "Nobody.")
    other = tmp_path / "other"
    for name in ("a", "b", "c"):
        write(other / "train" / "audio" / f"{name}.wav")
        write(other / "train" / "Labels" / f"{name}.lab", f"says {name}" if name != "c" else "0 10 sil\n10 20 c\n")
    write(other / "train" / "audio" / "b.txt", "beside b")
    write(other / "notes" / "a.txt", "about a")
    found = find(tmp_path)
    assert {Path(r.path).stem: r.text for r in found.recordings} == {
        "p225_001_mic1": "Please call Stella.",
        "p225_001_mic2": "Please call Stella.",
        "p225_002_mic1": "",
        "a": "says a",
        "b": "beside b",
        "c": "",
    }
    assert reasons(found) == [("p225_003_mic1.flac", "unreadable transcript")]
    assert {Path(item.path).name: item.reason for item in found.ignored} == {
        "p226_001.txt": ".txt, neither a list nor beside audio",
        "a.txt": ".txt, neither a list nor beside audio",
        "b.lab": ".lab, not beside audio",
        "c.lab": "no transcript: labels with times",
    }
    assert found.fields["text"] == {
        ".lab in a folder of its own": 1,
        ".txt beside the audio": 1,
        ".txt in a folder of its own": 2,
    }
