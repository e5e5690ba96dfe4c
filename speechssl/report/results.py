"""What the arms of a recipe reached: records for results.json, and the comparison of the arms."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from speechssl.errors import DataError
from speechssl.evaluation.error_rates import RelativeReduction, WordCounts, count_words, relative_reduction

Init = Literal["scratch", "pretrained"]
ARMS: tuple[Init, Init] = ("scratch", "pretrained")


class Record(NamedTuple):
    """One line of results.json: one arm, one seed, one set."""

    recipe: str
    init: Init
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


class Evaluated(NamedTuple):
    """A record and the word counts behind it."""

    record: Record
    counts: WordCounts


class Comparison(NamedTuple):
    """Both arms on the same labels; mean word error rates over the seeds."""

    labels_minutes: float
    wer: Mapping[Init, float]
    num_seeds: Mapping[Init, int]
    reduction: RelativeReduction | None
    """What pretraining saves, relative to scratch; None unless both arms are there."""


def collect(experiment: Path, recipe: str) -> list[Evaluated]:
    """Everything evaluated under ``EXPERIMENT/seed*/finetune_*/evaluate_*``.

    Raises:
        DataError: nothing is there, or a file is damaged.
    """
    found = []
    for path in sorted(experiment.glob("seed*/finetune_*/evaluate_*/metrics.json")):
        try:
            metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found.append(Evaluated(make_record(path, metrics, recipe), read_counts(path.with_name("hypotheses.jsonl"))))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: damaged or of another version ({error!r}); evaluate this run again") from error
    if not found:
        raise DataError(
            f"{experiment}: no seed*/finetune_*/evaluate_*/metrics.json here; run the recipe's earlier stages first"
        )
    return sorted(found, key=lambda item: (item.record.labels_minutes, ARMS.index(item.record.init), item.record.seed))


def make_record(path: Path, metrics: Mapping[str, Any], recipe: str) -> Record:
    """One evaluation's figures; the split is what its folder's name says after ``evaluate_``."""
    return Record(
        recipe=recipe,
        init=metrics["init"],
        labels_minutes=float(metrics["labels_minutes"]),
        seed=int(metrics["seed"]),
        split=path.parent.name.removeprefix("evaluate_"),
        wer=float(metrics["wer"]),
        wer_low=float(metrics["wer_low"]),
        wer_high=float(metrics["wer_high"]),
        cer=float(metrics["cer"]),
        num_utterances=int(metrics["num_utterances"]),
        num_words=int(metrics["num_words"]),
        updates=int(metrics["updates"]),
        wall_seconds=float(metrics["wall_seconds"]),
    )


def read_counts(path: Path) -> WordCounts:
    """Edits and words per utterance of ``hypotheses.jsonl``."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return count_words({x["id"]: x["reference"] for x in lines}, {x["id"]: x["hypothesis"] for x in lines})


def compare(evaluated: Sequence[Evaluated]) -> list[Comparison]:
    """One comparison per amount of labels, fewest first."""
    by_labels: dict[float, dict[Init, list[Evaluated]]] = defaultdict(lambda: defaultdict(list))
    for item in evaluated:
        by_labels[item.record.labels_minutes][item.record.init].append(item)
    comparisons = []
    for minutes, arms in sorted(by_labels.items()):
        wer = {init: float(np.mean([item.record.wer for item in items])) for init, items in arms.items()}
        reduction = None
        if all(arms.get(init) for init in ARMS):
            scratch, pretrained = ([item.counts for item in arms[init]] for init in ARMS)
            reduction = relative_reduction(scratch, pretrained)
        comparisons.append(Comparison(minutes, wer, {init: len(items) for init, items in arms.items()}, reduction))
    return comparisons
