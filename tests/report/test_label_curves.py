"""Curves over minutes of labels, from the files of evaluations."""

import json
from pathlib import Path

import pytest
from made_evaluations import NUM, evaluated

from speechssl.config import ReportConfig
from speechssl.errors import DataError
from speechssl.report.curves import make_curves, plain_point, saved_sentences
from speechssl.report.results import collect, compare
from speechssl.report.tables import sentence
from speechssl.verbs.report import run

WRONG = {"scratch": {2: 36, 5: 30, 10: 20}, "contrastive": {2: 30, 5: 25, 10: 12}, "masked_prediction": {2: 38, 5: 20}}


def experiment(folder: Path) -> Path:
    for arm, amounts in WRONG.items():
        for minutes, num_wrong in amounts.items():
            evaluated(folder, arm, minutes, num_wrong)
    return folder


def test_scratch_without_a_transformer_is_an_arm_of_its_own(tmp_path: Path) -> None:
    for arm, num_wrong in {"scratch": 20, "log_mel": 16}.items():
        evaluated(tmp_path, arm, 10, num_wrong)
    found = collect(tmp_path, "demo").evaluated
    [comparison] = compare(found)
    assert comparison.rates == {"scratch": 0.25, "log_mel": 0.2}
    assert "leaving the transformer out changes the WER by -20%" in sentence(comparison)


def test_every_pretext_task_is_an_arm_and_compared_with_scratch(tmp_path: Path) -> None:
    found = collect(experiment(tmp_path), "demo").evaluated
    assert [item.record.init for item in found if item.record.labels_minutes == 2] == list(WRONG)
    pairs = [(item.labels_minutes, *item.rates) for item in compare(found)]
    assert pairs == [
        (2, "scratch", "contrastive"), (2, "scratch", "masked_prediction"), (5, "scratch", "contrastive"),
        (5, "scratch", "masked_prediction"), (10, "scratch", "contrastive"),
    ]  # fmt: skip


def test_labels_saved_are_where_scratch_reads_as_well(tmp_path: Path) -> None:
    (curves,) = make_curves(collect(experiment(tmp_path), "demo").evaluated)
    assert list(curves.arms) == list(WRONG)
    assert all(point.as_scratch_minutes is None for point in curves.arms["scratch"])
    needed = {
        arm: [p.as_scratch_minutes.amount for p in points if p.as_scratch_minutes]
        for arm, points in curves.arms.items()
    }
    # 30 wrong: exactly scratch with 5 minutes. 25: half way to 10 in the logarithm. 12: scratch never comes to it.
    assert needed["contrastive"] == pytest.approx([5, 50**0.5, float("inf")])
    assert needed["masked_prediction"] == pytest.approx([0, 10])
    point = curves.arms["contrastive"][1]
    assert point.rate == pytest.approx(25 / 80)
    assert point.rate_low < point.rate < point.rate_high
    lines = saved_sentences(curves)
    assert "contrastive with 5.0 minutes of labels reads as scratch does with 7.1 minutes (95% interval " in lines[1]
    assert "with more than 10.0 minutes" in lines[2]
    assert "with less than 2.0 minutes" in lines[3]


def test_report_writes_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(ReportConfig(experiment(tmp_path), "demo"))
    run(ReportConfig(tmp_path, "demo"))  # its own files may be replaced
    (curves,) = json.loads((tmp_path / "curves.json").read_text())
    assert curves["arms"]["contrastive"][2]["as_scratch_minutes"]["amount"] is None
    assert curves["arms"]["contrastive"][0]["as_scratch_minutes"]["amount"] == pytest.approx(5)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert "reads as scratch does with" in out
    assert "…" not in out  # no cell of the table is cut short


def test_one_amount_has_no_curve_and_arms_without_scratch_save_nothing(tmp_path: Path) -> None:
    evaluated(tmp_path, "contrastive", 2, 20)
    assert make_curves(collect(tmp_path, "demo").evaluated) == []
    evaluated(tmp_path, "contrastive", 5, 10)
    run(ReportConfig(tmp_path, "demo"))
    (curves,) = make_curves(collect(tmp_path, "demo").evaluated)
    assert saved_sentences(curves) == []


def test_an_arm_that_recognises_nothing_saves_nothing(tmp_path: Path) -> None:
    for minutes in (2, 5):
        evaluated(tmp_path, "scratch", minutes, NUM)
        evaluated(tmp_path, "contrastive", minutes, NUM)
    for path in tmp_path.glob("**/hypotheses.jsonl"):
        empty = [json.loads(line) | {"hypothesis": ""} for line in path.read_text().splitlines()]
        path.write_text("\n".join(map(json.dumps, empty)))
        metrics = path.with_name("metrics.json")
        metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"wer": 1.0}))
    (curves,) = make_curves(collect(tmp_path, "demo").evaluated)
    assert saved_sentences(curves) == []


def test_points_of_other_references_are_refused(tmp_path: Path) -> None:
    for minutes in (2, 5):
        evaluated(tmp_path, "scratch", minutes, 20)
    evaluated(tmp_path, "contrastive", 10, 20, word="TEN")
    with pytest.raises(DataError, match="test: the two arms were scored on different references"):
        make_curves(collect(tmp_path, "demo").evaluated)


def spaceless(folder: Path) -> None:
    """Turns evaluations into those of a language without spaces: every word wrong, and as many characters as words."""
    for path in folder.glob("seed*/finetune_*/evaluate_*/metrics.json"):
        metrics = json.loads(path.read_text())
        path.write_text(json.dumps(metrics | {"headline": "cer", "wer": 1.0, "cer_low": 0.1, "cer_high": 0.6}))


def test_curves_go_by_characters_where_words_have_no_spaces(tmp_path: Path) -> None:
    spaceless(experiment(tmp_path))
    (curves,) = make_curves(collect(tmp_path, "demo").evaluated)
    record = collect(tmp_path, "demo").evaluated[0].record
    point = curves.arms["scratch"][0]
    assert curves.measure == "cer"
    assert point.rate == record.cer < 1
    assert point.rate_low < point.rate < point.rate_high  # of the same counts
    assert curves.arms["contrastive"][0].as_scratch_minutes is not None
    assert plain_point(point, "cer")["seed_cers"] == [record.cer]
    assert "wer" not in plain_point(point, "cer")
