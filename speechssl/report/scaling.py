"""Error rates against hours of untranscribed audio and against the size of the model: points, laws, and what they say.

The arms are those of runs ``finetune_OBJECTIVE-MODEL-HOURSh_LABELS``, pretrained in ``pretrain_OBJECTIVE-MODEL-HOURSh``
beside them, of which their summaries tell the hours and the parameters.
"""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from speechssl.errors import DataError
from speechssl.evaluation.curves import Amount, mean_counts
from speechssl.evaluation.intervals import common_units, name_units, num_speakers, unit_of, wer_interval
from speechssl.evaluation.scaling import FittedLaw, foretell
from speechssl.report.results import Evaluated, is_scratch
from speechssl.report.tables import PLATEAU
from speechssl.text.measure import Measure
from speechssl.training.run_log import SUMMARY_FILE

ARM = re.compile(r"(?P<objective>\w+)-(?P<model>\w+)-(?P<hours>[0-9.]+)h")
BOOTSTRAP_SAMPLES = 2000

Axis = Literal["hours", "parameters"]


class Trained(NamedTuple):
    """An evaluated arm of a known pretraining."""

    objective: str
    model: str
    hours: float
    """That the pretraining had, seconds that it leaves out aside."""
    parameters: int
    """Of the encoder."""
    cer: float | None
    """Of the probe of a layer before fine-tuning, a share; None without it."""
    evaluated: Evaluated


class ScalingPoint(NamedTuple):
    """An arm; rates as shares."""

    hours: float
    parameters: int
    rate: float
    """Mean over the seeds."""
    rate_low: float
    rate_high: float
    """95% interval of the mean over speakers, or utterances; other seeds are not in it."""
    seeds: Sequence[int]
    seed_rates: Sequence[float]
    probe_cer: float | None
    """Mean over the seeds of the character error rate of a head on a frozen layer; None where it was not probed."""


class Scaling(NamedTuple):
    """One pretext task on one set with one amount of labels: all but the axis is the same."""

    split: str
    labels_minutes: float
    axis: Axis
    objective: str
    fixed: str
    """The model, or the hours."""
    points: Sequence[ScalingPoint]
    """In order of the axis."""
    fitted: FittedLaw | None
    why_not: str
    """There is no law, or what is behind it is not all of the points."""
    interval: str
    """What the interval of the law is over."""
    scratch: float | None
    """Mean error rate of the model without pretraining."""
    measure: Measure = "wer"
    """Which error rate it is."""

    @property
    def name(self) -> str:
        """Of the curve."""
        return f"{self.objective}, {self.fixed}"


def read_trained(experiment: Path, evaluated: Sequence[Evaluated]) -> list[Trained]:
    """The arms whose folder names an amount of audio, and whose pretraining has finished.

    Raises:
        DataError: a summary or a probe is damaged.
    """
    found = []
    for item in evaluated:
        parts = ARM.fullmatch(item.record.init)
        if parts is None:
            continue
        seed = experiment / f"seed{item.record.seed}"
        summary = read_json(seed / f"pretrain_{item.record.init}" / SUMMARY_FILE)
        if summary is None:  # the report says so
            continue
        try:
            hours, parameters = float(summary["audio_hours"]), int(summary["encoder_parameters"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{seed}/pretrain_{item.record.init}/{SUMMARY_FILE}: expected audio_hours and encoder_parameters "
                f"({error!r}); it is damaged, or of an earlier version: pretrain again"
            ) from error
        cer = probed_cer(seed / f"probe_{item.record.init}" / "probe.json")
        found.append(Trained(parts["objective"], parts["model"], hours, parameters, cer, item))
    return found


def read_json(path: Path) -> Any:
    """What a file holds, None if there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}); make it again") from error


def probed_cer(path: Path) -> float | None:
    """Character error rate of the recurrent head in a probe, of the first layer that was scored."""
    found = read_json(path)
    values = [
        figure["value"]
        for figure in (found or {}).get("figures", ())
        if (figure["task"], figure["head"], figure["measure"]) == ("ctc", "recurrent", "cer")
    ]
    return float(values[0]) if values else None


def make_scaling(experiment: Path, evaluated: Sequence[Evaluated]) -> list[Scaling]:
    """Curves over hours for each model, and over models for the greatest hours, where there are two points or more.

    Raises:
        DataError: a file is damaged, or points of a curve were scored on different references.
    """
    trained = read_trained(experiment, evaluated)
    groups: dict[tuple[str, float, Axis, str, str], list[Trained]] = defaultdict(list)
    for item in trained:
        record = item.evaluated.record
        groups[record.split, record.labels_minutes, "hours", item.objective, item.model].append(item)
    for item in trained:
        record = item.evaluated.record
        most = max(other.hours for other in trained if other.objective == item.objective)
        if item.hours == most:
            groups[record.split, record.labels_minutes, "parameters", item.objective, f"{most:.2f} h"].append(item)
    scratch: dict[tuple[str, float, str], list[float]] = defaultdict(list)
    for without in evaluated:
        record = without.record
        if is_scratch(record.init):
            scratch[record.split, record.labels_minutes, record.init.partition("-")[2]].append(without.rate)
    curves = []
    for (split, minutes, axis, objective, fixed), items in sorted(groups.items(), key=lambda group: group[0]):
        if len({amount_of(item, axis) for item in items}) > 1:
            rates = scratch.get((split, minutes, fixed)) or scratch.get((split, minutes, "")) or []
            baseline = float(np.mean(rates)) if rates and axis == "hours" else None
            measure = items[0].evaluated.record.headline
            empty = Scaling(split, minutes, axis, objective, fixed, (), None, "", "", baseline, measure)
            curves.append(curve_of(items, axis, empty))
    return curves


def amount_of(item: "Trained | ScalingPoint", axis: Axis) -> float:
    """Hours, or parameters."""
    return item.hours if axis == "hours" else item.parameters


def name_amount(amount: float, axis: Axis) -> str:
    """Hours or parameters, in words."""
    return f"{amount:.3g} h" if axis == "hours" else f"{amount / 1e6:.3g} M"


def curve_of(items: Sequence[Trained], axis: Axis, empty: Scaling) -> Scaling:
    """A curve with its points, and the law where one can be fitted."""
    by_amount: dict[float, list[Trained]] = defaultdict(list)
    for item in items:
        by_amount[amount_of(item, axis)].append(item)
    points = [point_of(by_amount[amount]) for amount in sorted(by_amount)]
    learned = [amount for amount, point in zip(sorted(by_amount), points, strict=True) if point.rate < PLATEAU]
    amounts = [Amount(amount, [item.evaluated.counts for item in by_amount[amount]]) for amount in learned]
    notes = []
    if len(learned) < len(points):
        notes.append(f"{len(points) - len(learned)} of {len(points)} points recognise no words yet, and are left out")
    try:
        fitted = foretell(amounts)
    except DataError as error:
        if "references" in str(error):
            raise DataError(f"{empty.split}, {empty.name}: {error}") from error
        return empty._replace(points=points, why_not="; ".join([*notes, f"no law is fitted: {error}"]))
    return empty._replace(points=points, fitted=fitted, why_not="; ".join(notes), interval=interval_over(amounts))


def point_of(items: Sequence[Trained]) -> ScalingPoint:
    """The seeds of an amount as one point."""
    records = [item.evaluated.record for item in items]
    low, high = wer_interval(mean_counts([item.evaluated.counts for item in items]), BOOTSTRAP_SAMPLES, seed=0)
    cers = [item.cer for item in items if item.cer is not None]
    return ScalingPoint(
        hours=items[0].hours,
        parameters=items[0].parameters,
        rate=float(np.mean([item.evaluated.rate for item in items])),
        rate_low=low,
        rate_high=high,
        seeds=[record.seed for record in records],
        seed_rates=[item.evaluated.rate for item in items],
        probe_cer=float(np.mean(cers)) if cers else None,
    )


def interval_over(amounts: Sequence[Amount]) -> str:
    """What the interval of a law is over, in words."""
    units = common_units([counts for amount in amounts for counts in amount.seeds])
    over = name_units(unit_of(units), num_speakers(units), len(units.words))
    least = min(len(amount.seeds) for amount in amounts)
    if least > 1:
        return f"{over}, and over runs, by what lies between {least} seeds or more and about the law"
    return f"{over}, and over runs, by what lies about the law alone: there is an amount with one seed"
