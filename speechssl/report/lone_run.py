"""What a single training run has come to, from what lies in its folder: log, checkpoints, summary, evaluations."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from speechssl.errors import DataError
from speechssl.evaluation.diagnosis import Diagnosis
from speechssl.evaluation.stored import METRICS_FILE, read_metrics
from speechssl.report.results import Evaluated, evaluated_in
from speechssl.text.measure import Measure
from speechssl.training.checkpoints import read_best
from speechssl.training.run_log import LOG_FILE, SUMMARY_FILE, read_log

Line = dict[str, Any]
"""Of a run's log: figures by name."""
Kind = Literal["pretraining", "fine-tuning"]


@dataclass(frozen=True)
class LoneRun:
    """One training run."""

    folder: Path
    kind: Kind
    train: Sequence[Line]
    dev: Sequence[Line]
    config: dict[str, Any]
    """Of its newest checkpoint; empty if it has none."""
    summary: dict[str, Any]
    """Written when it has finished; empty until then."""
    measure: Measure
    """The error rate of the dev set that chooses the checkpoint of a fine-tuning."""
    evaluated: Sequence[Evaluated]
    """Evaluations that lie in the folder."""
    missing: Sequence[str]
    """What is wrong with others."""
    diagnoses: Sequence[str]
    """What was wrong with the run, and with its evaluations by their names."""

    @property
    def is_finished(self) -> bool:
        """Whether it has done all its updates."""
        return bool(self.summary)


class Course(NamedTuple):
    """What became of one figure."""

    name: str
    first: float
    last: float
    best: float
    best_update: int


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a single run."""
    return (folder / LOG_FILE).is_file()


def read_run(folder: Path, recipe: str) -> LoneRun:
    """Everything about a run; ``recipe`` is its name in the records.

    Raises:
        DataError: its files are damaged, or it has logged nothing yet.
    """
    try:
        lines = [line for line in read_log(folder / LOG_FILE) if (line["update"], line["wall_seconds"])]
        train = [line for line in lines if line["kind"] == "train"]
        dev = [line for line in lines if line["kind"] == "dev"]
        found = sorted(folder.glob("checkpoints/update_*/config.yaml"))
        config = dict(yaml.safe_load(found[-1].read_text(encoding="utf-8"))) if found else {}
        path = folder / SUMMARY_FILE
        summary = dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise DataError(f"{folder}: its log, summary or configuration is damaged ({error!r})") from error
    if not train:
        raise DataError(f"{folder}: this run has logged no updates yet")
    folders = sorted(path.parent for path in folder.glob(f"*/{METRICS_FILE}"))
    results = [evaluated_in(path, recipe) for path in folders]
    return LoneRun(
        folder,
        "pretraining" if "accuracy" in train[0] else "fine-tuning",
        train,
        dev,
        config,
        summary,
        "cer" if (best := read_best(folder)) and best.score == "cer" else "wer",
        [item for item in results if isinstance(item, Evaluated)],
        [item for item in results if isinstance(item, str)],
        [*summary.get("diagnoses", []), *(line for path in folders for line in diagnoses_in(path))],
    )


def diagnoses_in(folder: Path) -> Iterator[str]:
    """What an evaluation found to be wrong; nothing of one that cannot be read, or of an earlier version."""
    for item in (read_metrics(folder) or {}).get("diagnoses", []):
        yield f"{folder.name}: {Diagnosis(**item)}"


def sentences(run: LoneRun) -> Iterator[str]:
    """How far the run is, how long that took, and which of its checkpoints is the best."""
    done = run.train[-1]["update"]
    seconds = run.summary.get("wall_seconds") or run.train[-1]["wall_seconds"]
    audio = "".join(
        f", on {run.summary[name]:g} {unit}"
        for name, unit in (("audio_hours", "h of audio"), ("labels_minutes", "minutes of transcribed audio"))
        if name in run.summary
    )
    planned = run.config.get("training", {}).get("max_updates")
    of_all = "" if planned is None or run.is_finished else f" of {planned}"
    state = "finished" if run.is_finished else "unfinished"
    yield f"{name_of_run(run.folder)}: {run.kind}, {state}: {done}{of_all} updates in {seconds / 60:.1f} min{audio}"
    if why := run.summary.get("stopped"):
        yield f"ended early: {why}"
    yield from run.diagnoses
    if not run.is_finished:
        checkpoints = sorted(run.folder.glob("checkpoints/update_*"))
        newest = f"of update {int(checkpoints[-1].name.removeprefix('update_'))}" if checkpoints else "not there yet"
        yield f"newest checkpoint: {newest}"
    if not run.dev:
        yield f"no dev scores: no checkpoint yet{', or no dev.shards' if run.kind == 'pretraining' else ''}"


def courses(lines: Sequence[Line], names: Sequence[tuple[str, bool]]) -> Iterator[Course]:
    """First, last and best of some figures, each with whether it is the better the higher it is."""
    for name, is_gain in names:
        points = [(line[name], line["update"]) for line in lines if line.get(name) is not None]
        if points:
            choose = max if is_gain else min
            best, update = choose(points, key=lambda point: point[0])
            yield Course(name, points[0][0], points[-1][0], best, update)


def name_of_run(folder: Path) -> str:
    """The name of a folder, of the present one too."""
    return folder.resolve().name


def runs_in(folder: Path) -> list[str]:
    """Runs that lie directly in a folder."""
    return sorted(str(path.parent) for path in folder.glob(f"*/{LOG_FILE}"))
