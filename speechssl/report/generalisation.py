"""Error rates away from the speech that models were made for: what each arm loses there, and against scratch."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from speechssl.errors import DataError
from speechssl.evaluation.curves import mean_counts
from speechssl.evaluation.generalisation import Arm, Loss, loss, loss_against
from speechssl.evaluation.intervals import (
    Interval,
    RelativeReduction,
    Unit,
    relative_reduction,
    unit_of,
    wer_interval,
)
from speechssl.report.results import SCRATCH, Evaluated, by_measure, order_of
from speechssl.report.tables import PLATEAU
from speechssl.text.measure import Measure

BOOTSTRAP_SAMPLES = 2000


class Condition(NamedTuple):
    """A set, and the one that it is compared with."""

    family: str
    """Kind of noise, room, channel, speakers, group or corpus."""
    label: str
    condition: str
    reference: str
    snr_db: float | None = None


class Conditions(NamedTuple):
    """What ``conditions.json`` holds."""

    comparisons: Sequence[Condition]
    notes: Sequence[str]


class Elsewhere(NamedTuple):
    """An arm in a condition; rates are means over the seeds that were scored on both sets, as shares."""

    rate: float
    interval: Interval
    """Over speakers or utterances; other seeds are not in it."""
    reference_rate: float
    seeds: Sequence[int]
    loss: Loss
    against: Loss | None
    """Beside the loss of the arm from scratch; None for that arm, without it, and where an arm recognises nothing."""
    reduction: RelativeReduction | None
    """What the arm saves of scratch's errors in the condition; None likewise."""
    reference_reduction: RelativeReduction | None


class Compared(NamedTuple):
    """All arms with an amount of labels in a condition."""

    labels_minutes: float
    condition: Condition
    units: tuple[Unit, Unit]
    """What is resampled of the reference, and of the condition."""
    measure: Measure
    """Which error rate it is, on both."""
    arms: Mapping[str, Elsewhere]
    """The arm from scratch first."""


class _Scored(NamedTuple):
    """The seeds of an arm that were scored on both sets."""

    seeds: Sequence[int]
    rate: float
    reference_rate: float
    measures: tuple[Measure, Measure]
    """That head the reference, and the condition."""
    counts: Arm


def read_conditions(path: Path) -> Conditions:
    """The sets that are compared, from the recipe's file.

    Raises:
        DataError: it is missing, or is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        comparisons = [Condition(**entry) for entry in content["comparisons"]]
        notes = [str(note) for note in content["notes"]]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; expected the conditions.json of a recipe") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a list of conditions ({error!r}); run the recipe's stage 0 again") from error
    if not comparisons:
        raise DataError(f"{path}: compares nothing; run the recipe's stage 0 again")
    return Conditions(comparisons, notes)


def make_generalisation(
    evaluated: Sequence[Evaluated], conditions: Sequence[Condition]
) -> tuple[list[Compared], list[str]]:
    """Each condition with each amount of labels, fewest first, and the conditions that nothing was scored in.

    Raises:
        DataError: arms of one set were scored on different references.
    """
    found: dict[tuple[float, str], dict[str, dict[int, Evaluated]]] = defaultdict(lambda: defaultdict(dict))
    for item in evaluated:
        record = item.record
        found[record.labels_minutes, record.split][record.init][record.seed] = item
    compared, missing = [], []
    for minutes in sorted({minutes for minutes, _ in found}):
        for condition in conditions:
            near, far = (found.get((minutes, name), {}) for name in (condition.reference, condition.condition))
            arms = {init: scored for init in near if (scored := _scored(near[init], far.get(init, {}))) is not None}
            mixed = next((arm.measures for arm in arms.values() if arm.measures[0] != arm.measures[1]), None)
            if mixed:
                head = f"{condition.reference} is read by its {mixed[0].upper()} and {condition.condition} by its"
                missing.append(f"{minutes:.1f} minutes of labels, {condition.label}: {head} {mixed[1].upper()}")
            elif arms:
                compared.append(_compare(minutes, condition, arms))
            else:
                sets = f"{condition.condition} and {condition.reference}"
                missing.append(f"{minutes:.1f} minutes of labels, {condition.label}: no seed was scored on {sets}")
    if not compared:
        raise DataError(
            f"none of the {len(conditions)} conditions was evaluated; run the recipe's earlier stages first"
        )
    return compared, missing


def _scored(near: Mapping[int, Evaluated], far: Mapping[int, Evaluated]) -> _Scored | None:
    seeds = sorted(near.keys() & far.keys())
    if not seeds:
        return None
    rate, reference_rate = (float(np.mean([items[seed].rate for seed in seeds])) for items in (far, near))
    measures = near[seeds[0]].record.headline, far[seeds[0]].record.headline
    counts = Arm(*([items[seed].counts for seed in seeds] for items in (near, far)))
    return _Scored(seeds, rate, reference_rate, measures, counts)


def _compare(minutes: float, condition: Condition, arms: Mapping[str, _Scored]) -> Compared:
    scratch = arms.get(SCRATCH)
    units: list[tuple[Unit, Unit]] = []
    results = {}
    for init in sorted(arms, key=order_of):
        arm = arms[init]
        near, far = map(mean_counts, arm.counts)
        units.append((unit_of(near), unit_of(far)))
        against = None
        if scratch is not None and init != SCRATCH and max(*_rates(arm), *_rates(scratch)) < PLATEAU:
            against = scratch.counts
        try:
            results[init] = Elsewhere(
                rate=arm.rate,
                interval=wer_interval(far, BOOTSTRAP_SAMPLES, seed=0),
                reference_rate=arm.reference_rate,
                seeds=arm.seeds,
                loss=loss(arm.counts),
                against=loss_against(against, arm.counts) if against else None,
                reduction=relative_reduction(against.condition, arm.counts.condition) if against else None,
                reference_reduction=relative_reduction(against.reference, arm.counts.reference) if against else None,
            )
        except DataError as error:
            raise DataError(f"{condition.label}, {minutes:.1f} minutes of labels, {init}: {error}") from error
    measure = next(iter(arms.values())).measures[0]
    return Compared(minutes, condition, units[0], measure, results)


def _rates(arm: _Scored) -> tuple[float, float]:
    return arm.rate, arm.reference_rate


def plain_compared(item: Compared) -> dict[str, Any]:
    """One record of ``generalisation.json``; shares, not percent."""
    return {
        "labels_minutes": item.labels_minutes,
        **item.condition._asdict(),
        "reference_unit": item.units[0],
        "condition_unit": item.units[1],
        "arms": {init: _plain_arm(arm, item.measure) for init, arm in item.arms.items()},
    }


def _plain_arm(arm: Elsewhere, measure: Measure) -> dict[str, Any]:
    rates = {"rate": arm.rate, "rate_low": arm.interval.low, "rate_high": arm.interval.high}
    return {
        "seeds": list(arm.seeds),
        **by_measure(measure, {**rates, "reference_rate": arm.reference_rate}),
        "loss": _plain_loss(arm.loss),
        "against_scratch": _plain_loss(arm.against),
        "relative_reduction": _plain_reduction(arm.reduction),
        "reference_relative_reduction": _plain_reduction(arm.reference_reduction),
    }


def _plain_loss(item: Loss | None) -> dict[str, Any] | None:
    if item is None:
        return None
    return {**item._asdict(), "ratio": item.ratio._asdict(), "difference": item.difference._asdict()}


def _plain_reduction(item: RelativeReduction | None) -> dict[str, float] | None:
    return None if item is None else {"value": item.reduction, "low": item.low, "high": item.high}
