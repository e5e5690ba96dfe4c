"""The report of a single run: what it has come to, as text, as a picture, and as records."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from speechssl.config import EvaluateConfig, EvaluationSetConfig, ReportConfig
from speechssl.errors import ConfigError, DataError
from speechssl.report import run_plots
from speechssl.verbs import evaluate
from speechssl.verbs.report import run


def logged(folder: Path, *lines: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    seconds = [{"wall_seconds": float(i)} for i in range(len(lines))]
    text = "".join(json.dumps({**line, **more}) + "\n" for line, more in zip(lines, seconds, strict=True))
    (folder / "log.jsonl").write_text(text)
    return folder


def train(update: int, **figures: float | None) -> dict[str, Any]:
    return {"kind": "train", "update": update, **figures}


def dev(update: int, **figures: float) -> dict[str, Any]:
    return {"kind": "dev", "update": update, **figures}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    figures: list[Figure] = []
    save = run_plots.save
    monkeypatch.setattr(run_plots, "save", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


def lines_of(figure: Figure, title: str) -> dict[str, list[tuple[float, float]]]:
    """Points by label of one of the pictures."""
    [axes] = [axes for axes in figure.axes if axes.get_title(loc="left") == title]
    return {str(line.get_label()): list(zip(*line.get_data(), strict=True)) for line in axes.get_lines()}


def test_a_real_pretraining(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], drawn: list[Figure]
) -> None:
    folder = shutil.copytree(pretrained, tmp_path / "mine")
    run(ReportConfig(folder))
    told = capsys.readouterr().out
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert "mine: pretraining, finished: 8 updates in" in told
    scores = [(line["update"], line["accuracy"]) for line in log if line["kind"] == "dev"]
    assert lines_of(drawn[0], "accuracy of the pretext task")["dev"] == scores
    last = [line["loss"] for line in log if line["kind"] == "train"][-1]
    assert f"{last:.3f}" in told
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "results.json").exists()
    assert not list(folder.glob(".partial*"))


def test_a_real_fine_tuning_with_its_evaluation(
    finetuned: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finetuned, tmp_path / "mine")
    data = EvaluationSetConfig([str(shards)])
    rates = evaluate.run(EvaluateConfig(folder, data, folder / "evaluate_test", bootstrap_samples=50))
    capsys.readouterr()
    run(ReportConfig(folder, "trial"))
    told = capsys.readouterr().out
    assert "mine: fine-tuning, finished: 4 updates in" in told
    assert "minutes of transcribed audio" in told
    [record] = json.loads((folder / "results.json").read_text())
    assert (record["recipe"], record["split"], record["wer"]) == ("trial", "test", rates.wer)
    run(ReportConfig(folder))  # replaces what it wrote
    assert json.loads((folder / "results.json").read_text())[0]["recipe"] == "mine"


def test_the_best_of_a_figure_is_named_with_its_update(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], drawn: list[Figure]
) -> None:
    folder = logged(
        tmp_path / "run",
        train(10, loss=3.0, blank_share=0.9),
        dev(10, wer=0.9, cer=0.5),
        train(20, loss=2.0, blank_share=0.8),
        dev(20, wer=0.4, cer=0.2),
        train(30, loss=None, blank_share=0.7),
        dev(30, wer=0.6, cer=0.1),
    )
    run(ReportConfig(folder))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["dev", "wer", "90.0%", "60.0%", "40.0%", "20"] in rows
    assert ["dev", "cer", "50.0%", "10.0%", "10.0%", "30"] in rows
    assert ["train", "loss", "3.000", "2.000", "2.000", "20"] in rows
    rates = lines_of(drawn[0], "dev error rates")
    assert rates == {"words": [(10, 0.9), (20, 0.4), (30, 0.6)], "characters": [(10, 0.5), (20, 0.2), (30, 0.1)]}


def test_more_accuracy_is_better(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [train(update, loss=3.0, accuracy=value) for update, value in ((10, 0.1), (20, 0.3), (30, 0.2))]
    run(ReportConfig(logged(tmp_path / "run", *lines)))
    assert ["train", "accuracy", "0.100", "0.200", "0.300", "20"] in map(
        str.split, capsys.readouterr().out.splitlines()
    )


def test_an_unfinished_run_says_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = logged(tmp_path / "run", train(1, loss=3.0, accuracy=0.1, chance=0.01))
    run(ReportConfig(folder))
    told = capsys.readouterr().out
    assert "run: pretraining, unfinished: 1 updates" in told
    assert "newest checkpoint: not there yet" in told
    assert "no dev scores: no checkpoint yet, or no dev.shards" in told
    config = folder / "checkpoints" / "update_00000500" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("training: {max_updates: 4000}\nobjective: {quantizer: {num_entries: 8}}\n")
    run(ReportConfig(folder))
    told = capsys.readouterr().out
    assert "unfinished: 1 of 4000 updates" in told
    assert "newest checkpoint: of update 500" in told


def test_runs_beside_each_other_are_offered(tmp_path: Path) -> None:
    """As `pretrain` and `finetune` lay them without an output."""
    for name in ("pretrain", "finetune"):
        logged(tmp_path / name, train(1, loss=3.0))
    with pytest.raises(DataError, match=f"give one of them: {tmp_path / 'finetune'}, {tmp_path / 'pretrain'}$"):
        run(ReportConfig(tmp_path, "mine"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.jsonl", "", "has logged no updates yet"),
        ("log.jsonl", '{"kind": "train", "update": 3', "has logged no updates yet"),
        ("log.jsonl", '{"loss": 3}\n', "its log, summary or configuration is damaged"),
        ("log.jsonl", "[]\n", "its log, summary or configuration is damaged"),
        ("summary.json", "[3]", "its log, summary or configuration is damaged"),
        ("summary.json", "{", "its log, summary or configuration is damaged"),
    ],
)
def test_damage_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    folder = logged(tmp_path / "run", train(1, loss=3.0))
    (folder / name).write_text(content)
    with pytest.raises(DataError, match=f"{folder}: .*{message}"):
        run(ReportConfig(folder))


@pytest.mark.parametrize(
    ("name", "content"), [("report.png", "a picture of mine"), ("results.json", '{"my": "results"}')]
)
def test_files_of_others_stay(tmp_path: Path, name: str, content: str) -> None:
    folder = logged(tmp_path / "run", train(1, loss=3.0))
    (folder / name).write_text(content)
    with pytest.raises(ConfigError, match=f"where {name} is something that this command did not write"):
        run(ReportConfig(folder))
    assert (folder / name).read_text() == content


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: no such folder"):
        run(ReportConfig(tmp_path / "gone"))
    assert not (tmp_path / "gone").exists()


def test_the_probes_of_a_pretraining_are_a_curve_and_its_early_end_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], drawn: list[Figure]
) -> None:
    scores = [(10, 0.8), (20, 0.6), (30, 0.65)]
    lines = [dev(u, probe_cer=cer, probe_cer_low=cer - 0.1, probe_cer_high=cer + 0.1) for u, cer in scores]
    folder = logged(tmp_path / "run", train(10, loss=3.0, accuracy=0.2), *lines)
    (folder / "summary.json").write_text('{"updates": 30, "wall_seconds": 1.0, "stopped": "no better probe in 1"}')
    run(ReportConfig(folder))
    told = capsys.readouterr().out
    assert "ended early: no better probe in 1" in told
    [row] = [line for line in told.splitlines() if "probe_cer" in line]
    assert row.split()[-4:] == ["80.0%", "65.0%", "60.0%", "20"]
    assert lines_of(drawn[0], "CER of the probe, 95% interval")["_child0"] == scores
