"""Scaling from the files of runs: which arms make a curve, what is refused, and what is said."""

import json
from pathlib import Path

import pytest
from made_evaluations import evaluated

from speechssl.config import ReportConfig
from speechssl.errors import DataError
from speechssl.outputs import check_output_folder
from speechssl.report.arms import REPORT_FILES
from speechssl.report.results import collect, compare
from speechssl.report.scaling import Scaling, make_scaling
from speechssl.report.scaling_showing import plain_scaling, scaling_sentences
from speechssl.verbs.report import run

NUM = 200
HOURS = (0.1, 0.2, 0.4)
# Of 400 words; a fifth fewer with twice the audio, give or take one or two words.
WRONG = {0: (125, 99, 80), 1: (124, 101, 80)}
PARAMETERS = {"mini": 700_000, "tiny": 3_600_000, "small": 11_600_000}


def trained(folder: Path, model: str, hours: float, wrong: int, *, seed: int = 0, cer: float | None = None) -> None:
    arm = f"masked_prediction-{model}-{hours}h"
    evaluated(folder, arm, 10, wrong, seed=seed, num=NUM)
    pretrained = folder / f"seed{seed}" / f"pretrain_{arm}"
    pretrained.mkdir()
    summary = {"updates": 9, "audio_hours": hours + 0.001, "encoder_parameters": PARAMETERS[model]}
    (pretrained / "summary.json").write_text(json.dumps(summary))
    if cer is not None:
        probe = folder / f"seed{seed}" / f"probe_{arm}"
        probe.mkdir()
        figures = [{"task": "ctc", "head": head, "measure": "cer", "value": cer} for head in ("linear", "recurrent")]
        (probe / "probe.json").write_text(json.dumps({"figures": figures}))


def made(folder: Path) -> list[Scaling]:
    return make_scaling(folder, collect(folder, "demo").evaluated)


def test_law_and_what_it_foretells_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, amounts in WRONG.items():
        evaluated(tmp_path, "scratch-tiny", 10, 150, seed=seed, num=NUM)
        for hours, wrong in zip(HOURS, amounts, strict=True):
            trained(tmp_path, "tiny", hours, wrong, seed=seed, cer=hours)
    run(ReportConfig(tmp_path, "demo"))
    check_output_folder(tmp_path, ours=REPORT_FILES)  # its own files may be replaced
    (curve,) = json.loads((tmp_path / "scaling.json").read_text())
    assert (curve["axis"], curve["objective"], curve["fixed"]) == ("hours", "masked_prediction", "tiny")
    assert [point["hours"] for point in curve["points"]] == pytest.approx([0.101, 0.201, 0.401])
    assert [point["probe_cer"] for point in curve["points"]] == pytest.approx(HOURS)
    assert curve["points"][1]["seed_wers"] == pytest.approx([99 / 400, 101 / 400])
    assert curve["scratch"] == pytest.approx(150 / 400)
    law = curve["law"]
    assert (law["floor"], law["has_floor"], law["unit"]) == (0, False, pytest.approx(0.401))
    assert law["exponent"] == pytest.approx(0.32, abs=0.01)
    assert law["foretold"][1]["amount"] == pytest.approx(4.01)
    assert law["foretold"][1]["wer"]["value"] == pytest.approx(0.2 * 10**-0.32, rel=0.03)
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert "exponent 0.32 (" in out
    assert "floor taken to be 0, since there are fewer than 5 amounts" in out
    assert "lies between 2 seeds or more and about the law" in out
    assert "foretold with 0.802 h: WER 16." in out
    assert "scratch-tiny 37.5% (mean of seeds 0, 1), masked_prediction-tiny-0.4h 20.0%" in out
    assert "includes zero" not in out
    assert "\u2026" not in out  # no cell of a table is cut short


def test_a_curve_that_does_not_fall_buys_nothing_that_can_be_told(tmp_path: Path) -> None:
    for hours, wrong in zip(HOURS, (120, 90, 118), strict=True):
        trained(tmp_path, "tiny", hours, wrong)
    (curve,) = made(tmp_path)
    lines = scaling_sentences(curve)
    assert lines[-1] == (
        "  the exponent's interval includes zero: more audio buys nothing that can be told from these runs"
    )
    assert "there is an amount with one seed" in lines[1]
    assert plain_scaling(curve)["law"]["exponent_interval_includes_zero"] is True


def test_fewer_than_three_amounts_have_points_and_no_law(tmp_path: Path) -> None:
    trained(tmp_path, "tiny", 0.1, 120)
    assert made(tmp_path) == []  # nor is one amount a curve
    trained(tmp_path, "tiny", 0.2, 100)
    (curve,) = made(tmp_path)
    assert len(curve.points) == 2
    (line,) = scaling_sentences(curve)
    assert line.endswith("no law is fitted: 2 different amounts, expected 3 or more to fit a law to; measure more")
    assert plain_scaling(curve)["law"] is None
    run(ReportConfig(tmp_path, "demo"))


def test_an_amount_that_recognises_nothing_is_left_out_of_the_law(tmp_path: Path) -> None:
    for hours, wrong in zip((0.05, *HOURS), (200, 125, 100, 80), strict=True):
        trained(tmp_path, "tiny", hours, wrong)
    first = tmp_path / "seed0" / "finetune_masked_prediction-tiny-0.05h_10min" / "evaluate_test" / "metrics.json"
    first.write_text(json.dumps(json.loads(first.read_text()) | {"wer": 1.0}))
    (curve,) = made(tmp_path)
    assert curve.why_not == "1 of 4 points recognise no words yet, and are left out"
    assert curve.fitted is not None
    assert curve.fitted.band.amounts[0] == pytest.approx(0.101)


def test_nothing_is_fitted_where_no_amount_recognises_anything(tmp_path: Path) -> None:
    for hours in HOURS:
        trained(tmp_path, "tiny", hours, 200)
    for path in tmp_path.glob("**/metrics.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"wer": 1.0}))
    (curve,) = made(tmp_path)
    (line,) = scaling_sentences(curve)
    assert "3 of 3 points recognise no words yet, and are left out; no law is fitted: 0 different amounts" in line


def test_models_are_compared_at_the_greatest_amount(tmp_path: Path) -> None:
    for model, wrong in {"mini": 120, "tiny": 100, "small": 90}.items():
        evaluated(tmp_path, f"scratch-{model}", 10, 150 + wrong // 10, num=NUM)
        for hours in HOURS[1:]:
            trained(tmp_path, model, hours, wrong - round(50 * hours))
    curves = made(tmp_path)
    assert [(curve.axis, curve.fixed) for curve in curves] == [
        ("hours", "mini"), ("hours", "small"), ("hours", "tiny"), ("parameters", "0.40 h"),
    ]  # fmt: skip
    assert [point.parameters for point in curves[-1].points] == list(PARAMETERS.values())
    assert [point.rate for point in curves[-1].points] == pytest.approx([100 / 400, 80 / 400, 70 / 400])
    assert curves[-1].fitted is not None
    assert "more parameters" in scaling_sentences(curves[-1])[-1] or curves[-1].fitted.exponent.low > 0
    pairs = {tuple(item.rates) for item in compare(collect(tmp_path, "demo").evaluated)}
    assert ("scratch-small", "masked_prediction-small-0.4h") in pairs  # each with its own model from scratch
    assert len(pairs) == 6


def test_an_arm_whose_pretraining_is_unfinished_is_no_point_and_a_summary_of_old_is_named(tmp_path: Path) -> None:
    for hours in HOURS:
        trained(tmp_path, "tiny", hours, 100)
    summary = tmp_path / "seed0" / "pretrain_masked_prediction-tiny-0.2h" / "summary.json"
    summary.write_text(json.dumps({"updates": 9, "audio_hours": 0.2}))
    with pytest.raises(DataError, match=r"tiny-0.2h/summary.json: expected audio_hours and encoder_parameters"):
        made(tmp_path)
    summary.unlink()
    (curve,) = made(tmp_path)
    assert [round(point.hours, 1) for point in curve.points] == [0.1, 0.4]
    assert any("tiny-0.2h: pretraining is unfinished" in problem for problem in collect(tmp_path, "demo").missing)


def test_scaling_goes_by_characters_where_words_have_no_spaces(tmp_path: Path) -> None:
    for hours, wrong in zip(HOURS, WRONG[0], strict=True):
        trained(tmp_path, "tiny", hours, wrong)
    for path in tmp_path.glob("seed*/finetune_*/evaluate_*/metrics.json"):
        metrics = json.loads(path.read_text())
        path.write_text(json.dumps(metrics | {"headline": "cer", "wer": 1.0, "cer_low": 0.1, "cer_high": 0.6}))
    (curve,) = made(tmp_path)
    assert curve.fitted is not None  # by words no arm recognises anything
    assert curve.points[0].rate == pytest.approx(collect(tmp_path, "demo").evaluated[0].record.cer)
    assert any("CER = " in line for line in scaling_sentences(curve))
    assert plain_scaling(curve)["law"]["foretold"][0]["cer"]["value"] == curve.fitted.foretold[0].rate.value
