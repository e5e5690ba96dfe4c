"""What shards are made of: globs, order, keys, what is not recognised, and damage of any kind."""

import itertools
import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
from source_files import (
    ROWS,
    SAMPLES,
    by_key,
    find,
    ignored,
    message,
    reasons,
    write,
    write_manifest,
    write_tar,
)

from speechssl.errors import DataError
from speechssl.ingest import folders, tars
from speechssl.ingest.lists import opening
from speechssl.ingest.recordings import key_of
from speechssl.ingest.sources import LOOKED_FOR


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
    assert ignored(find("*")) == {".md": 1}
    single = find("s1/a.wav").recordings
    assert single == [whole[0]._replace(key="a", recording="a")]


def test_names_with_the_characters_of_globs_are_names_first(tmp_path: Path) -> None:
    write(tmp_path / "take[1]*" / "a.wav")
    assert list(by_key(find(tmp_path / "take[1]*"))) == ["a"]
    assert list(by_key(find(tmp_path / "take[1]*" / "a.wav"))) == ["a"]


def test_files_that_cannot_be_read_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(5, "Input/output error")

    write(tmp_path / "a.wav")
    tar = write_tar(tmp_path / "s.tar", SAMPLES)
    listed = write(tmp_path / "list.tsv", "path\na.wav\n")
    write(tmp_path / "a.txt", "YES")
    for module in (tars, folders, opening):
        monkeypatch.setattr(module, "open", refuse, raising=False)
    text = message(tar, listed)
    assert all(f"{path}: cannot be read (Input/output error)" in text for path in (tar, listed))
    expected = [("a.wav", "unreadable transcript"), ("list.tsv", "unreadable file"), ("s.tar", "unreadable file")]
    assert reasons(find(tmp_path)) == [*expected[:2], ("s.tar", "tar among audio")]
    assert reasons(find(tmp_path / "*")) == [("a.txt", "unreadable file"), *expected]
    assert reasons(find(tmp_path / "a.wav")) == expected[:1]


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

    monkeypatch.setattr(folders.os, "scandir", Shuffled)
    for seed, order in enumerate(itertools.permutations(given)):
        draws = random.Random(seed)
        assert find(*order) == expected
    assert [recording.path for recording in expected.recordings] == sorted(r.path for r in expected.recordings)
    for i in range(60):
        write(tmp_path / "wrong" / str(i % 7) / f"{i}.wav")
        write(tmp_path / "wrong" / str(i % 7) / f"{i}.txt", b"\xff")
    wrong = [find(tmp_path / "wrong") for _ in range(5)]
    assert len(wrong[0].rejected) == 60
    assert all(found == wrong[0] for found in wrong)


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
    keys = {Path(r.path).name: r.key for r in found.recordings}
    assert {name: key for name, key in keys.items() if name.isascii()} == {
        "__.wav": "_",
        "-.wav": "-",
        "a  b.wav": "a_b",
    }
    assert re.fullmatch(r"cafe_[0-9a-f]{12}", keys["café.wav"])
    assert re.fullmatch(r"[0-9a-f]{12}", keys["мир.wav"])
    assert len(set(keys.values())) == 7
    write(tmp_path / "more" / "мир.wav")
    assert {Path(r.path).name: r.key for r in find(tmp_path).recordings if "more" not in r.path} == keys


def test_names_of_other_scripts_stay_apart_and_are_the_same_in_either_unicode_form(tmp_path: Path) -> None:
    assert key_of("日本") != key_of("中国")
    assert key_of("é") == key_of("e\u0301") != key_of("e")
    assert key_of("a/b c.d") == "a_b_c_d"
    assert key_of(os.fsdecode(b"caf\xe9")) != key_of(os.fsdecode(b"caf\xe8"))
    write(tmp_path / "one" / "é.wav")
    write(tmp_path / "two" / "e\u0301.wav")
    (one,), (two,) = find(tmp_path / "one").recordings, find(tmp_path / "two").recordings
    assert (one.key, one.recording) == (two.key, two.recording)
    rows = write(tmp_path / "list.tsv", "path\tid\none/é.wav\t日本\ntwo/e\u0301.wav\t中国\n")
    assert sorted(by_key(find(rows))) == sorted((key_of("日本"), key_of("中国")))
    tar = write_tar(tmp_path / "s.tar", [{"__key__": "日本", "wav": b"1"}, {"__key__": "中国", "wav": b"2"}])
    assert sorted(by_key(find(tar))) == sorted((key_of("日本"), key_of("中国")))


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
    assert reasons(found) == [("b.wav", "listed twice")]
    assert [(Path(note.path).name, note.kind, note.detail) for note in found.notes] == [
        ("b.wav", "two transcripts", "the list has 'NO', which is used; beside it lies 'OTHER'")
    ]


def test_of_what_two_lists_say_of_a_file_the_transcript_is_kept(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.wav")
    texts = write(tmp_path / "texts.tsv", "path\ttext\na.wav\tYES\nb.wav\tNO\nc.wav\tGO\n")
    voices = write(tmp_path / "voices.tsv", "path\tspeaker\ttext\na.wav\tanna\t\nb.wav\tben\tKNOW\nc.wav\tcy\tGO\n")
    for order in ((texts, voices), (voices, texts), (tmp_path,)):
        found = find(*order)
        assert {r.key: (r.text, r.speaker) for r in found.recordings} == {
            "a": ("YES", "anna"),
            "b": ("KNOW", "ben"),
            "c": ("GO", "cy"),
        }
        assert [(Path(item.path).name, *item[1:3]) for item in found.rejected] == [
            ("b.wav", "listed twice, with another transcript", "kept as 'b', 'KNOW'; not its text 'NO'"),
            ("c.wav", "listed twice", "kept as 'c', 'GO'"),
        ]


def test_what_two_lists_say_of_a_file_is_put_together(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    write(tmp_path / "a.txt", "BESIDE")
    ids = write(tmp_path / "ids.csv", "id,path\nu1,a.wav\n")
    texts = write(tmp_path / "texts.csv", "path,text\na.wav,LISTED\n")
    voices = write(tmp_path / "voices.csv", "path,speaker,split\na.wav,anna,train\n")
    for order in ((ids, texts, voices), (voices, texts, ids), (tmp_path,)):
        found = find(*order)
        assert [(r.key, r.text, r.speaker, r.split) for r in found.recordings] == [("u1", "LISTED", "anna", "train")]
        assert found.rejected == []
    others = write(tmp_path / "others.csv", "path,speaker,language\na.wav,ben,en\n")
    found = find(ids, voices, others)
    assert [(r.speaker, r.language) for r in found.recordings] == [("anna", "en")]
    assert [item[1:3] for item in found.rejected] == [("listed twice", "kept as 'u1', ''; not its speaker 'ben'")]


def test_ids_of_one_file_with_two_transcripts_are_noted(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    found = find(write(tmp_path / "l.csv", "id,path,text\nu1,a.wav,YES\nu2,a.wav,NO\n"))
    assert [(r.key, r.text) for r in found.recordings] == [("u1", "YES"), ("u2", "NO")]
    detail = "lists have 'YES' as 'u1' and 'NO' as 'u2'; all are used"
    assert [(note.kind, note.detail) for note in found.notes] == [("two transcripts", detail)]


def test_sources_that_are_not_recognised_are_all_named_with_what_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path / "a.wav")
    write(tmp_path / "pictures/a.png")
    write(tmp_path / "pictures/.hidden")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "notes.docx")
    write(tmp_path / "set.tar.gz")
    write(tmp_path / "My Corpus/Train/a.wav")
    given = ["a.wav", "nowhere", "pictures", "empty", "notes.docx", "set.tar.gz", "*.flac", "*.docx"]
    given += ["Picture", "My Corpus/train"]
    lines = message(*(tmp_path / name for name in given)).splitlines()
    for line, expected in zip(
        lines,
        [
            "/nowhere: not found",
            "/pictures: a folder without audio, lists of it, or tars; it holds 1 .png, 1 hidden",
            "/empty: a folder without audio, lists of it, or tars; it holds no files at all",
            "/notes.docx: neither audio, nor a list of it, nor a tar (.docx)",
            "/set.tar.gz: neither audio, nor a list of it, nor a tar (archive .gz, to be unpacked)",
            "/*.flac: a glob of which none of 0 matches can be used",
            f"/*.docx: a glob of which none of 1 matches can be used, the first: {tmp_path}/notes.docx: neither audio",
            f"/Picture: not found; is it {tmp_path}/pictures?",
            f"/My Corpus/train: not found; is it {tmp_path}/My Corpus/Train?",
            LOOKED_FOR,
        ],
        strict=True,
    ):
        assert line.startswith(expected if expected is LOOKED_FOR else f"{tmp_path}{expected}")
    assert all(suffix in LOOKED_FOR for suffix in (".tsv", ".csv", ".jsonl", ".tar", "clips/"))


def test_no_sources_are_an_error() -> None:
    assert message().splitlines() == ["no sources were given", LOOKED_FOR]


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
    errors, rejected = [], 0
    for _ in range(100):
        path = write((folder if kind.endswith(".txt") else tmp_path) / kind, mutated(data, draws))
        try:
            found = find(folder if kind.endswith(".txt") else path)
            json.dumps(found, ensure_ascii=False).encode()
            rejected += bool(found.rejected)
        except DataError as error:
            errors.append(str(error))
            str(error).encode()
    assert len(errors) + rejected > 5
    assert len(errors) < 100
    assert all(error.startswith(str(path)) for error in errors)
