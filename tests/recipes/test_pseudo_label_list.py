"""The list of pseudo-labels: who is transcribed, what is kept, and what is said of it."""

import csv
import importlib.util
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from speechssl.recogniser import Transcript

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "pseudo_labels.py"
SAID = {
    "a": ("ONE", 0.95),
    "b": ("TWO", 0.90),
    "c": ("", 0.99),
    "d": ("FOUR", 0.50),
    "e": ("FIVE", 0.8),
    "f": ("X", 0.6),
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script with a recogniser that says what it is told to."""
    specification = importlib.util.spec_from_file_location("pseudo_labels_script", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)

    def transcribe(recogniser: Any, rows: list[dict[str, str]]) -> list[Transcript]:
        said = [SAID[Path(row["path"]).stem] for row in rows]
        return [Transcript(None, text, (), confidence, 30.0) for text, confidence in said]

    monkeypatch.setattr(module, "transcribe", transcribe)
    checkpoint = SimpleNamespace(path=Path("run"))
    monkeypatch.setattr(module, "load_recogniser", lambda run: SimpleNamespace(checkpoint=checkpoint))
    return module


@pytest.fixture
def lists(tmp_path: Path) -> list[str]:
    """Untranscribed, held-out and transcribed recordings: of the first, b has a transcript."""
    folder = tmp_path / "lists"
    folder.mkdir()
    texts = {"e": "FIVE", "f": "SIX"}
    for name, members in (("untranscribed", "abcd"), ("dev", "ef"), ("train", "b")):
        rows = "".join(f"{m}\taudio/{m}.wav\t{texts.get(m, '')}\ts{m}\n" for m in members)
        (folder / f"{name}.tsv").write_text(f"id\tpath\ttext\tspeaker\n{rows}")
    return [str(folder / f"{name}.tsv") for name in ("untranscribed", "dev", "train")]


def main(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["pseudo_labels.py", "run", *arguments])
    return int(script.main())


def test_sure_transcripts_of_what_has_none_are_listed(
    script: ModuleType, lists: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """On dev e is right at 0.8 and f wrong at 0.6. a is surer, b has a transcript, c is empty, d is not sure."""
    assert main(script, monkeypatch, *lists, str(tmp_path / "out"), "--max-wer", "0.1") == 0
    with (tmp_path / "out" / "pseudo_labels.tsv").open(newline="") as lines:
        [row] = csv.DictReader(lines, delimiter="\t")
    assert row["path"] == str(tmp_path / "lists" / "audio" / "a.wav"), "readable from where the list is now"
    assert (row["id"], row["text"], row["speaker"], row["confidence"]) == ("a", "ONE", "sa", "0.9500")
    said = json.loads((tmp_path / "out" / "pseudo_labels.json").read_text())
    assert (said["confidence"], said["dev_wer"], said["dev_kept"]) == (0.8, 0.0, 0.5)
    assert (said["untranscribed"], said["kept"], said["kept_minutes"]) == (3, 1, 0.5)
    assert "1 of 3 transcripts are kept" in capsys.readouterr().out
    assert main(script, monkeypatch, *lists, str(tmp_path / "out")) == 0
    assert "done already" in capsys.readouterr().out
    assert main(script, monkeypatch, *lists, str(tmp_path / "out"), "--max-wer", "0.3") == 2
    assert "made with --max-wer 0.1, not 0.3; choose another folder" in capsys.readouterr().err


def test_nothing_is_listed_where_nothing_is_sure(
    script: ModuleType, lists: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(SAID, "e", ("NINE", 0.8))
    assert main(script, monkeypatch, *lists, str(tmp_path / "out")) == 0
    assert not (tmp_path / "out" / "pseudo_labels.tsv").exists()
    assert json.loads((tmp_path / "out" / "pseudo_labels.json").read_text())["kept"] == 0
    assert "not even the surest have at most 10% wrong words" in capsys.readouterr().out


def test_a_list_without_paths_is_named(
    script: ModuleType, lists: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    Path(lists[1]).write_text("file\ttext\na\tb\n")
    assert main(script, monkeypatch, *lists, str(tmp_path / "out")) == 2
    assert f"{lists[1]}: no column path" in capsys.readouterr().err
