"""What is said of a set of shards: the same each time, on a page, with every count behind it."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from accounts import rows_of
from conftest import write_corpus
from rich.console import Console

from speechssl.config import ShardConfig
from speechssl.data.corpus import read_corpus
from speechssl.errors import DataError
from speechssl.ingest.recordings import Found, Ignored, Note, Rejected
from speechssl.ingest.sources import find_recordings
from speechssl.report.ingest import IngestReport, Named, read_named, read_report, save_report
from speechssl.report.ingest_summary import duration, say, summary
from speechssl.verbs import shard as ingest

ODD = "/a  b/\ttab\nline\r\u2028\x1c.wav"
NOTES = [Note(ODD, "wrong length", "in its\nheader"), *(Note(f"/{i}", "other", "x " * 300) for i in range(5))]
IGNORED = [*(Ignored(f"/{i}.pdf", ".pdf") for i in range(2)), Ignored(ODD, ".txt")]


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "━" not in line]


def with_more(*_: object) -> Found:
    """Sources in which something is noticed, ignored and left out besides."""
    found = find_recordings([str(with_more.source)])  # type: ignore[attr-defined]
    rejected = [*found.rejected, Rejected(ODD, "no such file", "a\tb")]
    return found._replace(rejected=rejected, notes=NOTES, ignored=IGNORED)


def test_three_files_are_three_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_corpus(tmp_path / "audio", [16000, 8000, 8000])
    ingest.run(ShardConfig([str(manifest)], tmp_path / "out"))
    assert printed(capsys) == [
        f"{tmp_path / 'out'}: 3 recordings found, all used: 3 utterances, 2.0 seconds, 3 speakers, in 1 shard",
        "  with a transcript: 3 of 3, from column text",
        "  with a speaker: 3 of 3, from column speaker",
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "report.json", "report.png", "shard-000000.tar", "shard-000000.tar.index",
    ]  # fmt: skip


def test_all_is_said_again_of_a_set_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000, 5000, 400])
    manifest.write_text(
        "path\tsentence\taccent\nu000.wav\tYES\tscots\nu001.wav\t\twelsh\nu002.wav\tNO\t\nmissing.wav\tNO\t\n"
    )
    monkeypatch.setattr(with_more, "source", manifest, raising=False)
    monkeypatch.setattr(ingest, "find_recordings", with_more)
    monkeypatch.setattr("accounts.find_recordings", with_more)
    monkeypatch.setattr("accounts.check_set", lambda _: None)  # the odd path has no place in a line
    config = ShardConfig([str(manifest)], tmp_path / "out", min_seconds=0.1)
    ingest.run(config)
    first = printed(capsys)
    ingest.run(config)
    note, *again = printed(capsys)
    assert note == f"{tmp_path / 'out'}: already made from these sources with these options"
    assert again == first
    audio = tmp_path / "audio"
    odd = r"/a  b/\ttab\nline\r" + "\u2028\x1c.wav"
    long = " ".join(["x"] * 98) + " ..."
    text = "\n".join(first)
    assert text == "\n".join(
        [
            f"{tmp_path / 'out'}: 5 recordings found, 2 used, 3 left out: 2 utterances, 0.6 seconds, in 1 shard",
            "  with a transcript: 1 of 2, from column sentence",
            "  with a speaker: none",
            "  left out, no such file: 2",
            f"    {odd}: a b",
            f"    {audio}/missing.wav: named in {manifest}:5",
            "  left out, too short: 1",
            f"    {audio}/u002.wav: 0.03 s, min_seconds is 0.1",
            "  used, with a note, other: 5",
            *(f"    /{i}: {long}" for i in range(3)),
            "  used, with a note, wrong length: 1",
            f"    {odd}: in its header",
            "  columns that were not used: accent (2)",
            "  files that were not used: .pdf (2), .txt (1)",
            f"  each by name in {tmp_path / 'out'}: rejected.tsv (3), notes.tsv (6), ignored.tsv (3)",
        ]
    ).replace("\u2028", "\n").replace("\x1c", "\n")  # as splitlines has split them
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["num_rejected"] == {"no such file": 2, "too short": 1}
    assert (report["notes"], report["ignored"]) == ({"other": 5, "wrong length": 1}, {".pdf": 2, ".txt": 1})
    assert report["fields"]["text"] == {"column sentence": 2}  # of the files that are there
    assert report["ignored_columns"] == {"accent": 2}
    assert rows_of(tmp_path / "out" / "ignored.tsv")[1] == ["/1.pdf", ".pdf"]


def a_report(**values: Any) -> IngestReport:
    return IngestReport("", 16000, **values)


def test_a_corpus_of_a_million_is_a_page(tmp_path: Path) -> None:
    rejected = [Rejected(f"/corpus/{i:06d}.wav", f"reason {i % 7}", "of a few words") for i in range(100_000)]
    notes = [Note(f"/corpus/{i:06d}.wav", f"kind {i % 5}", "") for i in range(100_000)]
    report = a_report(
        num_found=1_000_000,
        num_used=900_000,
        num_rejected={f"reason {i}": 100_000 // 7 for i in range(7)},
        notes={f"kind {i}": 20_000 for i in range(5)},
        ignored={f".{i}": 1000 - i for i in range(300)},
        ignored_columns={f"column {i}": 10 for i in range(200)},
        fields={"text": {f"column {i}": 1 for i in range(30)}},
        num_with_text=5,
        num_samples=2_000_000,
        hours=12_345.6,
        num_speakers=4000,
        shards=["x"] * 800,
    )
    lines = summary(tmp_path, report, Named(rejected, notes, []))
    assert len(lines) < 60
    assert max(map(len, lines)) < 250
    assert lines[0].endswith(
        "1,000,000 recordings found, 900,000 used, 100,000 left out: 2,000,000 utterances, 12,345.6 hours, "
        "4,000 speakers, in 800 shards"
    )
    assert lines[1] == "  with a transcript: 5 of 900,000, from column 0, column 1, column 2 and 27 more places"
    assert sum("reason 3" in line for line in lines) == 1
    assert any(".11 (989), and 288 more in report.json" in line for line in lines)


def test_lines_continue_below_their_beginning_on_a_narrow_terminal() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=30)
    path = "/a/path/that/is/longer/than/the/terminal.wav"
    say(terminal, ["short", f"    {path}: what is the matter with it"])
    lines = terminal.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines == ["short", f"    {path}:", "      what is the matter with", "      it"]
    file = Console(file=io.StringIO(), width=30)
    say(file, [f"    {path}: what is the matter with it"])
    assert file.file.getvalue() == f"    {path}: what is the matter with it\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("hours", "words"), [(0.001, "3.6 seconds"), (0.5, "30.0 minutes"), (1, "1.0 hours"), (2345, "2,345.0 hours")]
)
def test_lengths_are_in_the_unit_that_suits_them(hours: float, words: str) -> None:
    assert duration(hours) == words


def test_tables_of_an_earlier_try_do_not_stay(tmp_path: Path) -> None:
    rejected, note, ignored = Rejected("/a", "why", "so"), Note("/b", "what", ""), Ignored("/c", ".pdf")
    save_report(tmp_path, a_report(), Named([rejected], [note], [ignored]))
    assert read_named(tmp_path) == ([rejected], [note], [ignored])
    save_report(tmp_path, a_report(), Named([], [], []))
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    assert read_named(tmp_path) == ([], [], [])


def test_a_set_of_another_version_is_named_and_can_still_be_trained_on(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000])
    config = ShardConfig([str(manifest)], tmp_path / "out")
    ingest.run(config)
    path = tmp_path / "out" / "report.json"
    content = json.loads(path.read_text())
    old = {name: content[name] for name in ("fingerprint", "sample_rate", "num_samples", "hours", "shards")}
    for other in (old | {"passed_over": {".pdf": 1}}, content | {"version": 99, "of_tomorrow": 1}):
        path.write_text(json.dumps(other))
        report = read_report(tmp_path / "out")
        assert report is not None
        assert report.num_samples == 1
        with pytest.raises(DataError, match="made by another version of speechssl, which reads sources in other ways"):
            ingest.run(config)
        assert len(read_corpus([str(tmp_path / "out")])) == 1
    for wrong in ("", "[]", "{}", "3", '{"shards": []}'):
        path.write_text(wrong)
        with pytest.raises(DataError, match=r"report\.json: is not a report of shards"):
            read_report(tmp_path / "out")
