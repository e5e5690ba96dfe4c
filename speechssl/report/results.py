"""What the arms of a recipe reached: records for results.json, the comparison of the arms, and what is missing."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from speechssl.errors import DataError
from speechssl.evaluation.intervals import Estimate, RelativeReduction, Unit, WordCounts, relative_reduction
from speechssl.evaluation.stored import METRICS_FILE, read_counts
from speechssl.text.measure import Measure
from speechssl.training.run_log import SUMMARY_FILE

SCRATCH = "scratch"
"""The arm that all others are compared with."""
LOG_MEL = "log_mel"
"""From scratch too, without a transformer."""


class Record(NamedTuple):
    """One line of results.json: one arm, one seed, one set."""

    recipe: str
    init: str
    """``scratch``, ``log_mel`` (from scratch, without a transformer), ``pretrained``, or, where a recipe has several
    pretext tasks, the one that was; with the model and the hours of audio behind it where those differ."""
    labels_minutes: float
    seed: int
    split: str
    wer: float
    wer_low: float
    wer_high: float
    cer: float
    num_utterances: int
    num_words: int
    updates: int
    wall_seconds: float
    interval_unit: Unit
    """What was resampled for the interval."""
    num_speakers: int
    """0 unless all are known."""
    headline: Measure = "wer"
    """The error rate that says more of this language; intervals of that of characters are there where it does."""
    cer_low: float | None = None
    cer_high: float | None = None

    def plain(self) -> dict[str, Any]:
        """As a line of results.json; the last three are there where characters head it."""
        fields = self._asdict()
        return fields if self.headline == "cer" else dict(list(fields.items())[:-3])


def headline_of(record: Record) -> Estimate:
    """The error rate that heads an evaluation; without an interval of its own it stands for its ends."""
    if record.headline == "wer":
        return Estimate(record.wer, record.wer_low, record.wer_high)
    ends = (record.cer if end is None else end for end in (record.cer_low, record.cer_high))
    return Estimate(record.cer, *ends)


class Evaluated(NamedTuple):
    """A record, and the counts behind the error rate that heads it."""

    record: Record
    counts: WordCounts

    @property
    def rate(self) -> float:
        """The error rate that heads it, a share."""
        return headline_of(self.record).value


def by_measure(measure: Measure, rates: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as they stand in a file: ``rate`` in their names gives way to ``wer`` or ``cer``, which they are."""
    return {name.replace("rate", measure): value for name, value in rates.items()}


class Collected(NamedTuple):
    """What an experiment holds."""

    evaluated: list[Evaluated]
    missing: list[str]
    """Runs and evaluations that other seeds or arms have, or that have begun, and what is wrong with each."""


class Comparison(NamedTuple):
    """An arm and the one from scratch on the same labels and the same set; mean error rates over the seeds."""

    split: str
    labels_minutes: float
    rates: Mapping[str, float]
    seeds: Mapping[str, Sequence[int]]
    reduction: RelativeReduction | None
    """What pretraining saves, relative to scratch; None unless both arms are there."""
    measure: Measure = "wer"
    """Which error rate is compared: that of characters where words have no spaces."""


def collect(experiment: Path, recipe: str) -> Collected:
    """Everything evaluated under ``EXPERIMENT/seed*/finetune_*/evaluate_*``.

    Raises:
        DataError: nothing is there, or a file is damaged.
    """
    found, missing = [], [problem for seed in seeds_of(experiment) for problem in unfinished_pretraining(seed)]
    for folder in expected_evaluations(experiment):
        item = evaluated_in(folder, recipe)
        if isinstance(item, str):
            missing.append(item)
        else:
            found.append(item)
    if not found:
        listed = "".join(f"\n  {problem}" for problem in missing)
        raise DataError(
            f"{experiment}: no seed*/finetune_*/evaluate_*/{METRICS_FILE} of a finished run here; run the recipe's "
            f"earlier stages first{listed}"
        )
    return Collected(sorted(found, key=lambda item: place(item.record)), missing)


def evaluated_in(folder: Path, recipe: str) -> Evaluated | str:
    """An evaluation, or in words why there is none that counts.

    Raises:
        DataError: a file is damaged.
    """
    try:
        metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        if metrics["updates"] is None:
            return (
                f"{name_of(folder)}: made after update {metrics['update']}, before the training had finished; finish "
                "the run and evaluate it again"
            )
        return Evaluated(make_record(folder, metrics, recipe), read_counts(folder, metrics.get("headline", "wer")))
    except FileNotFoundError:
        return f"{name_of(folder)}: {state_of(folder.parent)}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        path = folder / METRICS_FILE
        raise DataError(f"{path}: damaged or of another version ({error!r}); evaluate this run again") from error


def place(record: Record) -> tuple[str, float, tuple[bool, str], int]:
    """Where a record stands among the others."""
    return record.split, record.labels_minutes, order_of(record.init), record.seed


def is_scratch(init: str) -> bool:
    """Whether an arm began from random weights: ``scratch``, or ``scratch-MODEL`` where a recipe has several models."""
    return init.partition("-")[0] == SCRATCH


def order_of(init: str) -> tuple[bool, str]:
    """From scratch first, then by name."""
    return not is_scratch(init), init


def arm_of(run: Path, init: str) -> str:
    """The arm of a run: as its evaluation says, scratch or pretrained, or as its folder names the pretext task and what
    else differs."""
    parts = run.name.split("_")
    if parts[0] != "finetune" or len(parts) < 3:
        return init
    named = "_".join(parts[1:-1])
    return named if init != SCRATCH or named == LOG_MEL or is_scratch(named) else init


def baseline_of(arm: str, arms: Collection[str]) -> str | None:
    """The arm from scratch that another is compared with: that of its model where there are several; itself none."""
    candidates = [SCRATCH, *(f"{SCRATCH}-{word}" for word in arm.split("-")[1:])]
    return None if is_scratch(arm) else next((name for name in candidates if name in arms), None)


def seeds_of(experiment: Path) -> list[Path]:
    """Folders of the seeds."""
    return sorted(path for path in experiment.glob("seed*") if path.is_dir())


def expected_evaluations(experiment: Path) -> Iterator[Path]:
    """Folders of the evaluations that there would be if every seed had all arms, and every arm all sets."""
    seeds = seeds_of(experiment)
    arms = sorted({path.name for seed in seeds for path in seed.glob("finetune_*") if path.is_dir()})
    splits = sorted({path.parent.name for path in experiment.glob(f"seed*/finetune_*/evaluate_*/{METRICS_FILE}")})
    return (seed / arm / split for seed in seeds for arm in arms for split in splits or ["evaluate_test"])


def name_of(folder: Path) -> str:
    """An evaluation's place in the experiment."""
    return "/".join(folder.parts[-3:])


def state_of(run: Path) -> str:
    """Why a run has no evaluation."""
    if not run.is_dir():
        return "the run has not begun"
    return "not evaluated" if (run / SUMMARY_FILE).is_file() else f"training is unfinished, {updates_reached(run)}"


def updates_reached(run: Path) -> str:
    """How far an unfinished run has come."""
    checkpoints = sorted(path.name for path in (run / "checkpoints").glob("update_*"))
    if not checkpoints:
        return "without a checkpoint yet"
    return f"its newest checkpoint is of update {int(checkpoints[-1].removeprefix('update_'))}"


def unfinished_pretraining(seed: Path) -> list[str]:
    """The pretrainings of a seed that have begun and not finished."""
    runs = [run for run in sorted(seed.glob("pretrain*")) if run.is_dir() and not (run / SUMMARY_FILE).is_file()]
    return [
        f"{seed.name}/{run.name}: pretraining is unfinished, {updates_reached(run)}"
        for run in runs
        if not is_imported(run)
    ]


def is_imported(run: Path) -> bool:
    """Whether a folder holds a model from elsewhere, of whose pretraining nothing is known."""
    descriptions = sorted(run.glob("checkpoints/update_*/checkpoint.json"))
    try:
        return bool(descriptions) and bool(json.loads(descriptions[-1].read_text(encoding="utf-8")).get("origin"))
    except (OSError, ValueError, AttributeError):
        return False


def make_record(folder: Path, metrics: Mapping[str, Any], recipe: str) -> Record:
    """One evaluation's figures; the split is what its folder's name says after ``evaluate_``."""
    return Record(
        recipe=recipe,
        init=arm_of(folder.parent, metrics["init"]),
        labels_minutes=float(metrics["labels_minutes"]),
        seed=int(metrics["seed"]),
        split=folder.name.removeprefix("evaluate_"),
        wer=float(metrics["wer"]),
        wer_low=float(metrics["wer_low"]),
        wer_high=float(metrics["wer_high"]),
        cer=float(metrics["cer"]),
        num_utterances=int(metrics["num_utterances"]),
        num_words=int(metrics["num_words"]),
        updates=int(metrics["updates"]),
        wall_seconds=float(metrics["wall_seconds"]),
        # Evaluations of earlier versions know no speakers.
        interval_unit=metrics.get("interval_unit", "utterances"),
        num_speakers=int(metrics.get("num_speakers", 0)),
        headline=metrics.get("headline", "wer"),
        cer_low=metrics.get("cer_low"),
        cer_high=metrics.get("cer_high"),
    )


def compare(evaluated: Sequence[Evaluated]) -> list[Comparison]:
    """One comparison per set, amount of labels and arm other than scratch, fewest labels first.

    Raises:
        DataError: arms of one set were scored on different references.
    """
    groups: dict[tuple[str, float], dict[str, list[Evaluated]]] = defaultdict(lambda: defaultdict(list))
    for item in evaluated:
        groups[item.record.split, item.record.labels_minutes][item.record.init].append(item)
    comparisons = []
    for (split, minutes), arms in sorted(groups.items(), key=lambda group: group[0]):
        others = [arm for arm in sorted(arms) if not is_scratch(arm)] or sorted(arms)
        for other in others:
            pair = {init: arms[init] for init in (baseline_of(other, arms), other) if init}
            comparisons.append(compare_pair(split, minutes, pair))
    return comparisons


def compare_pair(split: str, minutes: float, arms: Mapping[str, Sequence[Evaluated]]) -> Comparison:
    """An arm and the one from scratch, or what there is of them.

    Raises:
        DataError: they were scored on different references.
    """
    measure = next(iter(arms.values()))[0].record.headline
    rates = {init: float(np.mean([item.rate for item in items])) for init, items in arms.items()}
    seeds = {init: [item.record.seed for item in items] for init, items in arms.items()}
    check_seeds(seeds, f"{split}, {minutes:.1f} minutes of labels")
    reduction = None
    if len(arms) > 1:
        baseline, model = ([item.counts for item in items] for items in arms.values())
        try:
            reduction = relative_reduction(baseline, model)
        except DataError as error:
            raise DataError(f"{split}, {minutes:.1f} minutes of labels: {error}") from error
    return Comparison(split, minutes, rates, seeds, reduction, measure)


def check_seeds(seeds: Mapping[str, Sequence[int]], where: str) -> None:
    """Raise DataError if runs of an arm share a seed: what lies between them is not what lies between seeds."""
    for init, numbers in seeds.items():
        if len(set(numbers)) < len(numbers):
            raise DataError(
                f"{where}: runs of the {init} arm have the seeds {numbers}, expected one run of each; give a trial "
                "with other settings an experiment folder of its own"
            )
