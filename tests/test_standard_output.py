"""Standard output that is not UTF-8, full, or closed."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write_corpus

from speechssl.outputs import Lines, escape_what_does_not_fit

TALK = """
import sys, types
from speechssl import cli
from speechssl.outputs import Lines
def run(config):
    lines = Lines(sys.stdout, are_json={are_json})
    for line in {lines!a}:
        lines.write(line)
sys.modules[cli.VERBS["transcribe"].module] = types.SimpleNamespace(run=run)
cli.command()
"""


BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def talk(
    lines: list[str], encoding: str, *, are_json: bool = False, redirection: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """Write lines to standard output as transcribe does."""
    command = [sys.executable, "-c", TALK.format(lines=lines, are_json=are_json), "transcribe", "run", "a.wav"]
    shell = ["sh", "-c", f'"$@" {redirection}', "sh", *command]
    environment = {**BUFFERED, "PYTHONIOENCODING": encoding}
    return subprocess.run(shell, capture_output=True, env=environment, timeout=60, check=False)


@pytest.mark.parametrize(
    ("encoding", "expected", "warns"),
    [
        ("utf-8", "a\tDÉJÀ ’Ω\nb\tÜ\n".encode(), False),
        ("latin-1", "a\tDÉJÀ \\u2019\\u03a9\nb\tÜ\n".encode("latin-1"), True),
        ("ascii", b"a\tD\\xc9J\\xc0 \\u2019\\u03a9\nb\t\\xdc\n", True),
    ],
)
def test_standard_output_of_any_encoding_takes_every_letter(encoding: str, expected: bytes, warns: bool) -> None:
    done = talk(["a\tDÉJÀ ’Ω", "b\tÜ"], encoding)
    assert (done.returncode, done.stdout) == (0, expected)
    warning = b"speechssl: warning: the encoding of standard output"
    assert done.stderr.count(warning) == warns == len(done.stderr.splitlines())


def test_names_that_are_no_text_go_through_as_they_are() -> None:
    name = os.fsdecode(b"na\xefve.wav")
    done = talk([f"{name}\tÉ"], "utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"na\xefve.wav\t" + "É\n".encode(), b"")
    done = talk([json.dumps({"path": name, "text": "É"}, ensure_ascii=False)], "utf-8", are_json=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode()) == {"path": name, "text": "É"}


def test_json_stays_json_in_any_encoding() -> None:
    content = {"text": "DÉJÀ ’Ω"}
    for encoding in ("ascii", "latin-1", "utf-8"):
        done = talk([json.dumps(content, ensure_ascii=False)], encoding, are_json=True)
        assert done.returncode == 0
        assert json.loads(done.stdout.decode(encoding)) == content


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["talk", "help"])
def test_a_full_disk_behind_standard_output_is_one_line(command: str) -> None:
    if command == "talk":
        done = talk(["a\tb"], "utf-8", redirection=">/dev/full")
    else:
        argv = f"{sys.executable} -m speechssl verify --help >/dev/full"
        done = subprocess.run(argv, shell=True, capture_output=True, env=BUFFERED, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        "speechssl: error: the disk is full; free some space and give the same command again"
    ]


def test_a_closed_standard_output_is_told_before_any_work(tmp_path: Path) -> None:
    write_corpus(tmp_path, [8000])
    argv = f"{sys.executable} -m speechssl transcribe gone {tmp_path} >&-"
    done = subprocess.run(argv, shell=True, capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.decode()) == (
        2,
        "speechssl: error: standard output is closed; give a file for the transcripts with --output\n",
    )


def test_a_stream_without_an_encoding_is_left_alone() -> None:
    escape_what_does_not_fit(None)
    stream = io.StringIO()
    escape_what_does_not_fit(stream)
    Lines(stream, are_json=False).write("É")
    assert stream.getvalue() == "É\n"
