"""Lists as corpora come with them: each is known by what is in it, and read with its right values."""

from pathlib import Path

from source_files import facts, find, kinds, message, reasons, write, write_audio

from speechssl.ingest.lists.formats import is_list


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
