"""``speechssl score``: from files to figures."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from speechssl import cli
from speechssl.config import ScoreConfig
from speechssl.verbs import score

NUM = 48


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """References with speakers and noise, and the outputs of two systems, each with three seeds."""
    draws = np.random.default_rng(1)
    names = [f"u{i:02d}" for i in range(NUM)]
    texts = {name: " ".join(draws.choice(["ONE", "TWO", "SIX"], draws.integers(1, 9))) for name in names}
    rows = [f"{name}\t{texts[name]}\ts{i % 12}\t{'car' if i % 3 else 'none'}" for i, name in enumerate(names)]
    (tmp_path / "ref.tsv").write_text("\n".join(["id\ttext\tspeaker\tnoise", *rows]) + "\n")
    for system, share in (("a", 0.3), ("b", 0.15)):
        for seed in range(3):
            said = {
                name: " ".join("TEN" if draws.random() < share else word for word in text.split())
                for name, text in texts.items()
            }
            (tmp_path / f"{system}{seed}.trn").write_text("".join(f"{said[name]} ({name})\n" for name in said))
    return tmp_path


def walk(value: object) -> list[float]:
    """Every number of a JSON value."""
    if isinstance(value, dict):
        return [number for inner in value.values() for number in walk(inner)]
    if isinstance(value, list):
        return [number for inner in value for number in walk(inner)]
    return [value] if isinstance(value, float) else []


def test_one_system_is_scored_broken_down_and_written(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["score", str(files / "ref.tsv"), str(files / "a0.trn"), "--output", str(files / "out")]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    for expected in ("48 utterances", "95% interval over 12 speakers", "by length", "by speaker", "by noise", "TEN"):
        assert expected in printed
    content = json.loads((files / "out" / "score.json").read_text())
    [system] = content["systems"]
    assert content["comparison"] is None
    assert set(system["breakdown"]) == {"length", "speaker", "noise"}
    assert all(map(math.isfinite, walk(content)))
    lines = [json.loads(line) for line in (files / "out" / "utterances.jsonl").read_text().splitlines()]
    assert sum(line["substitutions"] for line in lines) == system["outputs"][0]["substitutions"]
    assert lines[0].keys() > {"id", "reference", "hypothesis", "speaker", "noise"}
    assert not (files / "out" / "other_utterances.jsonl").exists()
    # The lines can be scored again, and the folder be written again.
    [again] = score.run(ScoreConfig(files / "out" / "utterances.jsonl", output=files / "out"))
    assert again.outputs[0].rates.wer == system["outputs"][0]["wer"]
    assert [item.column for item in again.details.breakdowns] == ["length", "speaker", "noise"]


def test_two_systems_are_compared_in_pairs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = files / "out"
    arguments = ["score", *(str(files / name) for name in ("ref.tsv", "a0.trn", "b0.trn")), "--output", str(output)]
    assert cli.main(arguments) == 0
    comparison = json.loads((output / "score.json").read_text())["comparison"]
    found = comparison["paired_bootstrap"]
    assert found["difference"] < found["high"] < 0
    assert found["p_value"] < 0.05
    assert comparison["matched_pairs"]["p_value"] < 0.05
    assert (output / "other_utterances.jsonl").exists()
    printed = capsys.readouterr().out
    assert "paired bootstrap: WER -" in printed
    assert "matched pairs (MAPSSWE): " in printed


def test_seeds_of_two_systems_are_compared_over_speakers_and_seeds(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    systems = [[files / f"{name}{seed}.trn" for seed in range(3)] for name in "ab"]
    score.run(ScoreConfig(files / "ref.tsv", *systems, output=files / "out"))
    comparison = json.loads((files / "out" / "score.json").read_text())["comparison"]
    assert comparison["relative_reduction"]["covers_seeds"]
    assert 0 < comparison["relative_reduction"]["low"] < comparison["relative_reduction"]["reduction"]
    assert comparison["relative_reduction"]["p_value"] < 0.05
    assert comparison["paired_bootstrap"] is comparison["matched_pairs"] is None
    assert "over 12 speakers and seeds, p " in capsys.readouterr().out


def test_upper_and_lower_case_are_named_and_one_key_mends_it(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lower = files / "lower.trn"
    texts = (files / "a0.trn").read_text().splitlines()
    lower.write_text("".join(f"{line.partition(' (')[0].lower()} ({line.partition(' (')[2]}\n" for line in texts))
    [raw] = score.run(ScoreConfig(files / "ref.tsv", [lower]))
    assert raw.outputs[0].rates.wer == 1.0
    printed = capsys.readouterr().out
    assert (
        "vanish if differences of case are ignored: the references are upper case and the outputs lower case" in printed
    )
    [mended] = score.run(ScoreConfig(files / "ref.tsv", [lower], case="upper"))
    [right] = score.run(ScoreConfig(files / "ref.tsv", [files / "a0.trn"]))
    assert mended.outputs[0].rates == right.outputs[0].rates


def test_a_file_of_others_is_not_replaced(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "score.json").write_text('{"mine": 1}')
    assert cli.main(["score", str(files / "ref.tsv"), str(files / "a0.trn"), "--output", str(files)]) == 2
    assert "score.json is something that this command did not write" in capsys.readouterr().err
    assert json.loads((files / "score.json").read_text()) == {"mine": 1}


def test_a_score_does_not_mix_with_an_evaluation(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "evaluated").mkdir()
    (files / "evaluated" / "metrics.json").write_text('{"wer": 0.1, "cer": 0.1}')
    assert cli.main(["score", str(files / "ref.tsv"), str(files / "a0.trn"), "--output", str(files / "evaluated")]) == 2
    assert "evaluated, which holds an evaluation; choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ref.tsv", "missing.trn"], "missing.trn: cannot be read (No such file or directory)"),
        (["ref.tsv"], "ref.tsv: has one text for both sides (text), expected references and outputs; give the outputs"),
        (["ref.tsv", "a0.trn", "--by", "nois"], "no utterance has nois to break down by"),
        (["ref.tsv", "a0.trn", "--speakers", "a0.trn"], "expected an utterance id and its speaker"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], expected: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = [str(files / name) if "." in name else name for name in arguments]
    assert cli.main(["score", *shown]) == 2
    error = capsys.readouterr().err
    assert error.startswith("speechssl: error: ")
    assert expected in error
    assert error.count("\n") == 1
