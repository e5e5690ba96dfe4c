"""What cannot become a folder of shards is refused before any work, with the usual cause."""

import os
from pathlib import Path

import pytest
from conftest import write_corpus

from speechssl import cli
from speechssl.config import ShardConfig
from speechssl.errors import ConfigError
from speechssl.ingest.set_folder import check_output
from speechssl.verbs import shard as ingest

FORGOTTEN = "the folder for the shards comes last, after the sources: speechssl shard SOURCE ... OUTPUT"


def refusal(output: Path, *sources: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        check_output(output, [str(source) for source in sources])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_forgotten_output_is_one_line_and_touches_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "audio", [4000, 5000])
    monkeypatch.setattr(ingest, "find_recordings", lambda *_: pytest.fail("looked at the sources"))
    files = sorted((tmp_path / "audio").glob("*.wav"))
    before = files[-1].read_bytes()
    assert cli.main(["shard", *map(str, files)]) == 2  # as `speechssl shard *.wav`
    assert (
        capsys.readouterr().err == f"speechssl: error: output: {files[-1]} is a file, expected a folder; {FORGOTTEN}\n"
    )
    assert files[-1].read_bytes() == before


def test_a_folder_of_recordings_is_no_output(tmp_path: Path) -> None:
    for name in ("a", "b/deep/down"):  # as `speechssl shard */`: the last would be left out without a word
        write_corpus(tmp_path / name, [4000])
    assert refusal(tmp_path / "b", tmp_path / "a") == (
        f"output: {tmp_path / 'b'} holds recordings (deep/down/u000.wav); {FORGOTTEN}"
    )
    assert "is one of the sources" in refusal(tmp_path / "a", tmp_path / "b", tmp_path / "b" / ".." / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert "is one of the sources" in refusal(tmp_path / "link", tmp_path / "a")
    assert "is one of the sources" in refusal(tmp_path / "new", tmp_path / "new")


def test_a_place_that_cannot_be_a_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    assert "is a file, expected a folder" in refusal(tmp_path / "broken")
    below = tmp_path / "file" / "a" / "b"
    assert refusal(below) == f"output: {below} cannot be made, {tmp_path / 'file'} is a file; choose another folder"
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and access(path, mode))
    assert refusal(tmp_path / "new" / "set").startswith(f"output: {tmp_path} may not be written to; choose another")


def test_any_other_place_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_corpus(tmp_path / "audio", [4000, 5000])
    check_output(tmp_path / "new" / "below", [str(source)])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "README.txt").write_text("what will be here")
    check_output(tmp_path / "notes", [str(source)])
    check_output(tmp_path / "audio" / "shards", [str(source), str(tmp_path / "audio")])
    ingest.run(ShardConfig([str(source)], tmp_path / "set", format="wav"))
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    ingest.run(ShardConfig([str(source)], tmp_path / "set", format="wav"))  # a finished set needs no writing
