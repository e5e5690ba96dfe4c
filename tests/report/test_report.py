"""Records, comparison and picture from the files of evaluations."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from speechssl.config import ReportConfig
from speechssl.errors import DataError
from speechssl.evaluation.error_rates import align_set, error_rates
from speechssl.evaluation.headline import headline
from speechssl.report.plots import COLOURS, codebooks, plot_dev, plot_perplexity, plot_wer
from speechssl.report.results import collect, compare
from speechssl.report.tables import change, plain, sentence
from speechssl.verbs.report import run

KEYS = [
    "recipe", "init", "labels_minutes", "seed", "split", "wer", "wer_low", "wer_high", "cer",
    "num_utterances", "num_words", "updates", "wall_seconds", "interval_unit", "num_speakers",
]  # fmt: skip


def evaluated(
    folder: Path, init: str, seed: int, num_wrong: int, *, split: str = "test", num: int = 40, speakers: int = 0
) -> Path:
    references = {f"u{i}": "ONE TWO" for i in range(num)}
    hypotheses = {f"u{i}": "ONE SIX" if i < num_wrong else "ONE TWO" for i in range(num)}
    voices = {f"u{i}": f"s{i % speakers}" for i in range(num)} if speakers else {}
    path = folder / f"seed{seed}" / f"finetune_{init}_10min" / f"evaluate_{split}"
    path.mkdir(parents=True)
    lines = [
        {"id": i, "reference": references[i], "hypothesis": hypotheses[i]}
        | ({"speaker": voices[i]} if speakers else {})
        for i in references
    ]
    (path / "hypotheses.jsonl").write_text("\n".join(map(json.dumps, lines)))
    known = {"init": init, "seed": seed, "labels_minutes": 10.0, "updates": 500, "wall_seconds": 61.5}
    rates = asdict(error_rates(references, hypotheses, speakers=voices))
    if not speakers:  # as evaluations of earlier versions are
        del rates["interval_unit"], rates["num_speakers"]
    (path / "metrics.json").write_text(json.dumps({**rates, **known}))
    return path


def experiment(tmp_path: Path) -> Path:
    for seed in (0, 1):
        evaluated(tmp_path, "scratch", seed, 20 + 4 * seed)
        evaluated(tmp_path, "pretrained", seed, 10 + seed)
        log = tmp_path / f"seed{seed}" / "pretrain" / "log.jsonl"
        log.parent.mkdir(parents=True)
        lines = [
            {"kind": "train", "update": u, "loss": 3.0, "accuracy": 0.1, "chance": 0.01, "perplexity_0": 50.0}
            for u in (10, 20)
        ]
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_results_have_every_arm_with_exactly_the_agreed_keys(tmp_path: Path) -> None:
    run(ReportConfig(experiment(tmp_path), "demo"))
    records = json.loads((tmp_path / "results.json").read_text())
    assert [list(record) for record in records] == [KEYS] * 4
    assert [(r["init"], r["seed"]) for r in records] == [
        ("scratch", 0),
        ("scratch", 1),
        ("pretrained", 0),
        ("pretrained", 1),
    ]
    assert records[0]["wer"] == pytest.approx(20 / 80)
    assert records[0]["split"] == "test"
    assert (records[0]["interval_unit"], records[0]["num_speakers"]) == ("utterances", 0)


def test_comparison_is_over_the_mean_of_the_seeds(tmp_path: Path) -> None:
    comparison = compare(collect(experiment(tmp_path), "demo").evaluated)[0]
    assert comparison.rates["scratch"] == pytest.approx(22 / 80)
    assert comparison.reduction is not None
    assert comparison.reduction.reduction == pytest.approx(1 - 10.5 / 22)
    assert 0 < comparison.reduction.low < comparison.reduction.reduction < comparison.reduction.high
    assert "pretraining changes the WER by -52%" in sentence(comparison)


def test_comparison_is_written_for_programs(tmp_path: Path) -> None:
    run(ReportConfig(experiment(tmp_path), "demo"))
    [record] = json.loads((tmp_path / "comparison.json").read_text())
    assert record["labels_minutes"] == 10.0
    assert record["mean_wer"] == pytest.approx({"scratch": 22 / 80, "pretrained": 10.5 / 80})
    assert record["num_seeds"] == {"scratch": 2, "pretrained": 2}
    assert record["seeds"] == {"scratch": [0, 1], "pretrained": [0, 1]}
    assert record["relative_reduction_low"] < record["relative_reduction"] < record["relative_reduction_high"]
    assert (record["split"], record["interval_unit"], record["num_interval_units"]) == ("test", "utterances", 40)
    assert record["interval_covers_seeds"]
    units = "40 utterances (not all speakers are known, or they are fewer than 10)"
    assert record["interval"] == f"95% interval over {units} and over seeds"


def test_comparison_is_over_speakers_and_says_what_one_seed_leaves_out(tmp_path: Path) -> None:
    evaluated(tmp_path, "scratch", 0, 20, speakers=10)
    evaluated(tmp_path, "pretrained", 0, 10, speakers=10)
    [comparison] = compare(collect(tmp_path, "demo").evaluated)
    told = "95% interval over 10 speakers; it says nothing about how other seeds would come out"
    assert told in plain(comparison)["interval"]
    assert told in sentence(comparison)
    assert "scratch 25.0% (seed 0 alone)" in sentence(comparison)


def test_sets_are_compared_one_by_one(tmp_path: Path) -> None:
    for split, num, wrong in (("test", 40, (20, 10)), ("dev", 30, (24, 6))):
        for init, num_wrong in zip(("scratch", "pretrained"), wrong, strict=True):
            evaluated(tmp_path, init, 0, num_wrong, split=split, num=num)
    found = collect(tmp_path, "demo").evaluated
    comparisons = compare(found)
    records = [plain(comparison) for comparison in comparisons]
    assert [(r["split"], r["num_interval_units"]) for r in records] == [("dev", 30), ("test", 40)]
    assert [r["relative_reduction"] for r in records] == pytest.approx([0.75, 0.5])
    dev, test = map(sentence, comparisons)
    assert dev.startswith("dev, 10.0 minutes of labels: scratch 40.0%")
    assert test.startswith("test, 10.0 minutes of labels: scratch 25.0%")
    axes = Figure().subplots()
    plot_wer(axes, [item.record for item in found])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10 min, dev", "10 min, test"]


def test_what_is_unfinished_is_named_and_the_rest_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment(tmp_path)
    early = evaluated(tmp_path, "scratch", 2, 30)
    metrics = json.loads((early / "metrics.json").read_text())
    unknown = dict.fromkeys(("updates", "wall_seconds", "labels_minutes"))
    (early / "metrics.json").write_text(json.dumps({**metrics, **unknown, "update": 300}))
    for run_of_seed, files in (
        ("seed2/pretrain", ["checkpoints/update_00000050/checkpoint.json"]),
        ("seed2/finetune_pretrained_10min", ["log.jsonl"]),
        ("seed3/finetune_scratch_10min", ["summary.json"]),
    ):
        for name in files:
            (tmp_path / run_of_seed / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / run_of_seed / name).write_text("")
    run(ReportConfig(tmp_path, "demo"))
    told = capsys.readouterr().out
    for line in (
        "seed2/pretrain: pretraining is unfinished, its newest checkpoint is of update 50",
        "seed2/finetune_scratch_10min/evaluate_test: made after update 300, before the training had finished",
        "seed2/finetune_pretrained_10min/evaluate_test: training is unfinished, without a checkpoint yet",
        "seed3/finetune_scratch_10min/evaluate_test: not evaluated",
        "seed3/finetune_pretrained_10min/evaluate_test: the run has not begun",
    ):
        assert f"missing: {line}" in told
    assert "scratch 27.5% (mean of seeds 0, 1)" in told
    assert len(json.loads((tmp_path / "results.json").read_text())) == 4


def test_a_pretraining_from_elsewhere_is_not_called_unfinished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment(tmp_path)
    for seed, origin in ((0, {"family": "wav2vec2", "format": "fairseq", "source": "base.pt"}), (1, None)):
        path = tmp_path / f"seed{seed}" / "pretrain" / "checkpoints" / "update_00000000" / "checkpoint.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"origin": origin}))
    run(ReportConfig(tmp_path, "demo"))
    told = capsys.readouterr().out
    assert "seed0/pretrain" not in told
    assert "missing: seed1/pretrain: pretraining is unfinished" in told


def test_an_arm_alone_has_no_reduction(tmp_path: Path) -> None:
    evaluated(tmp_path, "scratch", 0, 20)
    run(ReportConfig(tmp_path, "demo"))
    [record] = json.loads((tmp_path / "comparison.json").read_text())
    assert record["mean_wer"] == {"scratch": 0.25}
    assert record["relative_reduction"] is None


def test_arms_that_recognise_nothing_are_not_compared(tmp_path: Path) -> None:
    comparison = compare(collect(experiment(tmp_path), "demo").evaluated)[0]
    stuck = sentence(comparison._replace(rates={"scratch": 1.0, "pretrained": 1.0}))
    assert "says nothing about pretraining" in stuck
    assert "changes the WER" not in stuck
    assert "changes the WER" in sentence(comparison._replace(rates={"scratch": 1.0, "pretrained": 0.4}))


def test_picture_is_a_png(tmp_path: Path) -> None:
    run(ReportConfig(experiment(tmp_path), "demo"))
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".partial*"))


def test_dev_curves_have_a_colour_per_arm_and_a_style_per_amount(tmp_path: Path) -> None:
    for name, wer in (("scratch_10min", 0.5), ("pretrained_10min", 0.3), ("pretrained_full", 0.1)):
        log = tmp_path / "seed0" / f"finetune_{name}" / "log.jsonl"
        log.parent.mkdir(parents=True)
        lines = [{"kind": "train", "update": 5, "loss": 1.0}, {"kind": "dev", "update": 10, "wer": wer, "cer": 0.1}]
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    axes = Figure().subplots()
    plot_dev(axes, tmp_path)
    drawn = {
        line.get_label(): (line.get_color(), line.get_linestyle(), list(line.get_ydata())) for line in axes.get_lines()
    }
    assert drawn == {
        "pretrained, 10min": (COLOURS["pretrained"], "-", [30.0]),
        "pretrained, full": (COLOURS["pretrained"], ":", [10.0]),
        "scratch, 10min": (COLOURS["scratch"], "-", [50.0]),
    }


def test_perplexity_has_its_ceiling(tmp_path: Path) -> None:
    config = tmp_path / "run" / "checkpoints" / "update_00000010" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("objective: {quantizer: {num_entries: 40}}")
    partial = tmp_path / "run" / "checkpoints" / ".partial_update_00000020" / "config.yaml"
    partial.parent.mkdir()
    partial.write_text("")  # of a run that was killed while it wrote a checkpoint
    assert codebooks([tmp_path / "run"]) == [40, 40]
    assert codebooks([]) == []
    axes = Figure().subplots()
    plot_perplexity(axes, {"seed0": [{"update": 1, "perplexity_0": 9.0, "perplexity_1": 8.0}]}, [40, 40])
    assert [list(line.get_ydata()) for line in axes.get_lines()] == [[9.0], [8.0], [40, 40]]


def test_missing_and_damaged_evaluations_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run the recipe's earlier stages"):
        collect(tmp_path, "demo")
    path = next(experiment(tmp_path).glob("seed0/finetune_scratch*/evaluate_test/metrics.json"))
    path.write_text('{"wer": 0.5')
    with pytest.raises(DataError, match="evaluate this run again"):
        collect(tmp_path, "demo")


def test_no_change_has_no_sign_of_a_reduction() -> None:
    assert [change(x) for x in (0.0, 0.001, -0.001, 0.313, -0.2)] == ["+0%", "+0%", "+0%", "-31%", "+20%"]


def test_two_runs_of_one_seed_are_no_two_seeds(tmp_path: Path) -> None:
    for folder, wrong in (("first", 20), ("second", 24)):
        evaluated(tmp_path / folder, "scratch", 0, wrong)
        evaluated(tmp_path / folder, "pretrained", 0, wrong // 2)
    for path in (tmp_path / "second" / "seed0").iterdir():
        path.rename(tmp_path / "first" / "seed0" / f"{path.name}_lr")
    with pytest.raises(DataError, match=r"test, 10\.0 minutes of labels: runs of the \w+ arm have the seeds \[0, 0\]"):
        run(ReportConfig(tmp_path / "first", "an4"))


def test_arms_with_other_words_of_equal_number_are_not_paired(tmp_path: Path) -> None:
    evaluated(tmp_path, "scratch", 0, 20)
    path = evaluated(tmp_path, "pretrained", 0, 10) / "hypotheses.jsonl"
    path.write_text(path.read_text().replace("ONE TWO", "NOT\u2028 TWO"))
    with pytest.raises(DataError, match="scored on different references"):
        run(ReportConfig(tmp_path, "an4"))


def test_a_language_without_spaces_is_compared_by_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for init, wrong in (("scratch", 20), ("pretrained", 10)):
        folder = evaluated(tmp_path, init, 0, wrong)
        lines = [json.loads(line) for line in (folder / "hypotheses.jsonl").read_text().splitlines()]
        for line in lines:
            for side in ("reference", "hypothesis"):
                line[side] = line[side].replace("ONE TWO", "今天很好").replace("ONE SIX", "今天很坏")
        (folder / "hypotheses.jsonl").write_text("\n".join(map(json.dumps, lines)))
        texts = [{line["id"]: line[side] for line in lines} for side in ("reference", "hypothesis")]
        metrics = json.loads((folder / "metrics.json").read_text()) | asdict(error_rates(*texts))
        metrics |= headline(texts[0], align_set(*texts), bootstrap_samples=100)
        (folder / "metrics.json").write_text(json.dumps(metrics))
    run(ReportConfig(tmp_path, "demo"))
    told = capsys.readouterr().out
    assert "demo: character error rates" in told
    assert re.search(r"set +CER +interval +WER", told)
    assert "scratch 12.5% (seed 0 alone), pretrained 6.2% (seed 0 alone); pretraining changes the CER by -50%" in told
    assert json.loads((tmp_path / "comparison.json").read_text())[0]["mean_cer"]["scratch"] == 0.125
    records = json.loads((tmp_path / "results.json").read_text())
    assert [list(record)[-3:] for record in records] == [["headline", "cer_low", "cer_high"]] * 2
    run(ReportConfig(tmp_path, "demo"))  # replaces what it wrote
