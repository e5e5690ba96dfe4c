"""Losses elsewhere, from the files of evaluations."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from speechssl.config import ReportConfig
from speechssl.errors import ConfigError, DataError
from speechssl.evaluation.error_rates import error_rates
from speechssl.outputs import check_output_folder
from speechssl.report.arms import REPORT_FILES
from speechssl.report.generalisation import make_generalisation, read_conditions
from speechssl.report.generalisation_plots import plot_generalisation
from speechssl.report.generalisation_tables import sentences
from speechssl.report.results import collect
from speechssl.verbs.report import run

NUM, NUM_SPEAKERS = 40, 20
# Of 80 words: scratch 20 to 40 in noise, pretrained 10 to 30.
WRONG = {"scratch": {"test": 20, "hiss_5db": 40}, "contrastive": {"test": 10, "hiss_5db": 30}}


def evaluated(folder: Path, arm: str, split: str, num_wrong: int, *, seed: int = 0, words: str = "ONE TWO") -> None:
    """The wrong words are those of the first utterances; a hypothesis has both wrong before the next has one."""
    references = {f"u{i:02d}": words for i in range(NUM)}
    wrong = {f"u{i:02d}": min(2, max(0, num_wrong - 2 * i)) for i in range(NUM)}
    hypotheses = {key: " ".join(["SIX"] * wrong[key] + words.split()[wrong[key] :]) for key in references}
    voices = {f"u{i:02d}": f"s{i % NUM_SPEAKERS:02d}" for i in range(NUM)}
    path = folder / f"seed{seed}" / f"finetune_{arm}_10min" / f"evaluate_{split}"
    path.mkdir(parents=True)
    lines = [{"id": i, "reference": references[i], "hypothesis": hypotheses[i], "speaker": voices[i]} for i in voices]
    (path / "hypotheses.jsonl").write_text("\n".join(map(json.dumps, lines)))
    init = "scratch" if arm == "scratch" else "pretrained"
    known = {"init": init, "seed": seed, "labels_minutes": 10.0, "updates": 500, "wall_seconds": 61.5}
    rates = asdict(error_rates(references, hypotheses, speakers=voices))
    (path / "metrics.json").write_text(json.dumps({**rates, **known}))


def entry(condition: str, reference: str = "test", snr_db: int | None = None) -> dict[str, Any]:
    family = condition.partition("_")[0]
    return {"family": family, "label": condition, "condition": condition, "reference": reference, "snr_db": snr_db}


def write_conditions(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "conditions.json"
    path.write_text(json.dumps({"comparisons": entries, "notes": ["noise: as loud as it is"]}))
    return path


def experiment(folder: Path) -> Path:
    """Two arms on two sets, and other people, whom the arms read alike."""
    for seed in (0, 1):
        for arm, sets in WRONG.items():
            for split, num_wrong in sets.items():
                evaluated(folder, arm, split, num_wrong, seed=seed)
            evaluated(folder, arm, "other_people", 40, seed=seed, words="YES NO")
    return write_conditions(folder, entry("hiss_5db", snr_db=5), entry("other_people"), entry("room_1s"))


def test_losses_are_those_of_the_counts(tmp_path: Path) -> None:
    conditions = read_conditions(experiment(tmp_path))
    (noise, people), missing = make_generalisation(collect(tmp_path, "demo").evaluated, conditions.comparisons)
    assert missing == ["10.0 minutes of labels, room_1s: no seed was scored on room_1s and test"]
    assert list(noise.arms) == ["scratch", "contrastive"]
    scratch, pretrained = noise.arms.values()
    assert (scratch.rate, scratch.reference_rate, list(scratch.seeds)) == (0.5, 0.25, [0, 1])
    assert scratch.loss.ratio.value == pytest.approx(2)
    assert scratch.loss.difference.value == pytest.approx(0.25)
    assert scratch.against is None
    assert pretrained.against is not None
    assert pretrained.against.ratio.value == pytest.approx(1.5)
    assert pretrained.against.difference.value == pytest.approx(0)
    assert (pretrained.against.is_paired, pretrained.against.covers_seeds) == (True, True)
    assert pretrained.reduction is not None
    assert pretrained.reduction.reduction == pytest.approx(0.25)
    assert pretrained.reference_reduction is not None
    assert pretrained.reference_reduction.reduction == pytest.approx(0.5)
    other = people.arms["contrastive"].against
    assert other is not None
    assert other.ratio.value == pytest.approx(2)  # 4 times as many errors, and 2 times
    assert not other.is_paired


def test_report_writes_it_beside_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ReportConfig(tmp_path, "demo", experiment(tmp_path))
    run(config)
    records = json.loads((tmp_path / "generalisation.json").read_text())
    assert [(item["condition"], item["snr_db"]) for item in records] == [("hiss_5db", 5), ("other_people", None)]
    arm = records[0]["arms"]["contrastive"]
    assert arm["against_scratch"]["ratio"]["value"] == pytest.approx(1.5)
    assert arm["relative_reduction"]["value"] == pytest.approx(0.25)
    assert records[0]["arms"]["scratch"]["against_scratch"] is None
    assert len(json.loads((tmp_path / "results.json").read_text())) == 12
    assert (tmp_path / "generalisation.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "generalisation.md").read_text()
    assert "| hiss_5db | contrastive | WER 37.5% |" in text
    assert "- noise: as loud as it is" in text
    assert "missing: 10.0 minutes of labels, room_1s" in text
    out = capsys.readouterr().out
    assert (
        "of 2 conditions the error rate grows less than that from scratch, by factors, in 0 (0), and more in 2 (" in out
    )
    assert "by points less in 0 (0), and more in 1 (" in out
    assert "| +0.0 (-" in text
    assert "other_people, 10.0 minutes" not in out  # the table of arms is of what conditions are compared with
    assert "…" not in out
    check_output_folder(tmp_path, ours=REPORT_FILES)  # its own files may be replaced


def test_an_arm_that_recognises_nothing_is_not_compared(tmp_path: Path) -> None:
    for arm in ("scratch", "contrastive"):
        evaluated(tmp_path, arm, "test", 20)
        evaluated(tmp_path, arm, "hiss_5db", 80)
    conditions = read_conditions(write_conditions(tmp_path, entry("hiss_5db", snr_db=5)))
    (noise,), _ = make_generalisation(collect(tmp_path, "demo").evaluated, conditions.comparisons)
    assert noise.arms["contrastive"].against is None
    assert noise.arms["contrastive"].rate == 1
    assert "nothing is compared" in sentences([noise])[0]
    plot_generalisation([noise], "demo", tmp_path / "plot.png")


def test_seeds_that_only_one_set_has_do_not_count(tmp_path: Path) -> None:
    path = experiment(tmp_path)
    evaluated(tmp_path, "contrastive", "hiss_5db", 80, seed=2)
    (noise, _), _ = make_generalisation(collect(tmp_path, "demo").evaluated, read_conditions(path).comparisons)
    assert list(noise.arms["contrastive"].seeds) == [0, 1]
    assert noise.arms["contrastive"].rate == pytest.approx(30 / 80)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not a list of conditions"),
        ('{"comparisons": [{"label": "x"}], "notes": []}', "not a list of conditions"),
        ('{"comparisons": [], "notes": []}', "compares nothing"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "conditions.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_conditions(tmp_path / "conditions.json")


def test_nothing_evaluated_missing_list_and_single_runs(tmp_path: Path) -> None:
    evaluated(tmp_path, "scratch", "test", 20)
    with pytest.raises(DataError, match="none of the 1 conditions was evaluated"):
        run(ReportConfig(tmp_path, "demo", write_conditions(tmp_path, entry("hiss_5db"))))
    with pytest.raises(DataError, match=r"expected the conditions\.json of a recipe"):
        run(ReportConfig(tmp_path, "demo", tmp_path / "nowhere.json"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").touch()
    (tmp_path / "run" / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match="is one run"):
        run(ReportConfig(tmp_path / "run", "demo", tmp_path / "conditions.json"))


def test_sets_read_by_different_error_rates_are_not_compared(tmp_path: Path) -> None:
    conditions = read_conditions(experiment(tmp_path))
    for path in tmp_path.glob("seed*/finetune_*/evaluate_other_people/metrics.json"):
        metrics = json.loads(path.read_text())
        path.write_text(json.dumps(metrics | {"headline": "cer", "cer_low": 0.1, "cer_high": 0.6}))
    compared, missing = make_generalisation(collect(tmp_path, "demo").evaluated, conditions.comparisons)
    assert [(item.condition.label, item.measure) for item in compared] == [("hiss_5db", "wer")]
    assert missing[0] == ("10.0 minutes of labels, other_people: test is read by its WER and other_people by its CER")
