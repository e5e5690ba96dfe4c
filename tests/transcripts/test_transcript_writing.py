"""Where transcripts go, and what they may replace."""

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from speechssl.config import ScoreConfig, TranscribeConfig
from speechssl.errors import ConfigError
from speechssl.transcripts.transcript import TimedWord, Transcript
from speechssl.transcripts.writing import LEDGER, check_lines, file_names, format_of, opened_writer, plan_output
from speechssl.verbs import score


def transcript(path: Path, text: str = "WORD") -> Transcript:
    return Transcript(path, text, (TimedWord(text, 0.0, 1.0, 0.5),), 0.5, 2.0)


def write(config: TranscribeConfig, paths: list[Path], text: str = "WORD") -> None:
    plan = plan_output(config, paths)
    with opened_writer(plan) as writer:
        for path in paths:
            writer.write(transcript(path, text))


@pytest.mark.parametrize(
    ("output", "asked", "expected"),
    [
        (None, "auto", "text"),
        ("a.SRT", "auto", "srt"),
        ("a.TextGrid", "auto", "textgrid"),
        ("a.jsonl", "auto", "jsonl"),
        ("a.tsv", "auto", "text"),
        ("a.out", "text", "text"),
        ("a.srt", "ctm", "ctm"),
    ],
)
def test_a_suffix_says_the_format(output: str | None, asked: str, expected: str) -> None:
    path = None if output is None else Path(output)
    assert format_of(TranscribeConfig(Path("run"), [], path, asked)) == expected  # type: ignore[arg-type]


def test_files_mirror_the_recordings_and_never_collide(tmp_path: Path) -> None:
    names = ["a/talk.wav", "a/talk.mp3", "a/talk.mp3.wav", "b/talk.wav", "b/Talk.mp3", "b/line\nfeed.wav", "b/x.y.wav"]
    found = file_names([tmp_path / name for name in names], ".srt")
    assert found == [
        "a/talk.wav.srt",
        "a/talk.mp3.srt",
        "a/talk.mp3_2.srt",
        "b/talk.wav.srt",
        "b/Talk.mp3.srt",
        "b/line\nfeed.srt",
        "b/x.y.srt",
    ]
    assert file_names([Path("-")], ".vtt") == ["standard_input.vtt"]


def test_a_folder_takes_a_file_for_each_and_replaces_its_own(tmp_path: Path) -> None:
    paths = [tmp_path / "in" / name for name in ("a.wav", "b.wav")]
    config = TranscribeConfig(Path("run"), paths, tmp_path / "out", "srt")
    write(config, paths)
    write(config, paths, "OTHER")
    assert (tmp_path / "out" / "a.srt").read_text().endswith("\nOTHER\n")
    lines = [json.loads(line) for line in (tmp_path / "out" / LEDGER).read_text().splitlines()]
    assert [(line["file"], line["text"]) for line in lines] == [
        *(("a.srt", "WORD"), ("b.srt", "WORD"), ("a.srt", "OTHER"), ("b.srt", "OTHER")),
    ]
    with (tmp_path / "out" / LEDGER).open("a") as ledger:
        ledger.write('{"file": "b.s')  # of a run that was killed
    write(config, paths)
    corrected = tmp_path / "out" / "b.srt"
    corrected.write_text(corrected.read_text().replace("WORD", "WORLD"))
    with pytest.raises(ConfigError, match=r"b\.srt would be replaced, .* or which was changed since"):
        write(config, paths)
    assert "WORLD" in corrected.read_text()


def test_one_file_takes_one_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    config = TranscribeConfig(Path("run"), paths, None, "vtt")
    with pytest.raises(ConfigError, match="vtt is a file for each of 2 recordings; give a folder with --output"):
        write(config, paths)
    write(config, paths[:1])
    assert capsys.readouterr().out.startswith("WEBVTT\n\n00:00:00.000 --> ")
    write(replace(config, output=tmp_path / "a.vtt"), paths[:1])
    with pytest.raises(ConfigError, match="which is there already; give another file, or move it away"):
        write(replace(config, output=tmp_path / "a.vtt"), paths[:1])
    with pytest.raises(ConfigError, match=r"b.vtt, a file, and vtt is a file for each of 2 recordings; give a folder"):
        write(replace(config, output=tmp_path / "b.vtt"), paths)
    with pytest.raises(ConfigError, match=r"a.json, expected .jsonl"):
        write(replace(config, output=tmp_path / "a.json", format="auto"), paths)
    with pytest.raises(ConfigError, match=r"a.strt, and .strt names no format, expected one of .txt, .tsv, .jsonl"):
        write(replace(config, output=tmp_path / "a.strt", format="auto"), paths)
    assert not (tmp_path / "a.strt").exists()


def test_lines_know_names_that_needed_escapes(tmp_path: Path) -> None:
    paths = [tmp_path / "a\nb.wav"]
    for kind in ("text", "jsonl", "text"):
        config = TranscribeConfig(Path("run"), paths, tmp_path / "out", kind)  # type: ignore[arg-type]
        write(config, paths)
        check_lines(tmp_path / "out", paths)
    assert len((tmp_path / "out").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/84-1.flac", "b/84-2.flac"], ["84-1", "84-2"]),
        (["a/talk.wav", "b/talk.wav"], ["a/talk", "b/talk"]),
        (["in/talk.wav", "in/talk.flac", "in/talk_1.wav"], ["talk.wav", "talk.flac", "talk_1.wav"]),
        (["a b.wav", "a_b.wav", "a%20b.wav", "a\u3000b\n.wav"], ["a%20b", "a_b", "a%2520b", "a%E3%80%80b%0A"]),
        ([";;x.wav", "日本.wav", "中国.wav", "-"], ["%3B;x", "日本", "中国", "standard_input"]),
    ],
)
def test_each_word_of_a_ctm_is_traced_to_its_file(
    paths: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write(TranscribeConfig(Path("run"), [], None, "ctm"), list(map(Path, paths)))
    names = [line.split() for line in capsys.readouterr().out.split("\n") if line]
    assert [(name, len(fields)) for name, *fields in names] == [(name, 5) for name in expected]
    for name, path in zip(expected, paths, strict=True):
        assert path == "-" or unquote(name) in path


def test_a_ctm_is_scored_against_references_of_the_same_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / name for name in ("x/a b.wav", "x/a_b.wav", "y/a b.wav")]
    rows = "".join(f"{path}\tWORD\n" for path in paths)
    (tmp_path / "list.tsv").write_text(f"path\ttext\n{rows}", encoding="utf-8")
    write(TranscribeConfig(Path("run"), paths, tmp_path / "out.ctm"), paths)
    [system] = score.run(ScoreConfig(tmp_path / "list.tsv", [tmp_path / "out.ctm"], bootstrap_samples=10))
    assert (system.outputs[0].rates.num_utterances, system.outputs[0].rates.wer) == (3, 0.0)
