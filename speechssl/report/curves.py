"""Error rates against minutes of labels: the curve of each arm, and the labels that pretraining saves."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from speechssl.errors import DataError
from speechssl.evaluation.curves import Amount, Needed, baseline_needs, mean_counts
from speechssl.evaluation.intervals import wer_interval
from speechssl.report.axes import new_picture, save, tidy
from speechssl.report.plots import COLOURS, OTHER_COLOUR
from speechssl.report.results import SCRATCH, Evaluated, by_measure, order_of
from speechssl.report.tables import PLATEAU
from speechssl.text.measure import Measure

BOOTSTRAP_SAMPLES = 2000


class CurvePoint(NamedTuple):
    """An arm with an amount of labels; rates as shares."""

    labels_minutes: float
    rate: float
    """Mean over the seeds."""
    rate_low: float
    rate_high: float
    """95% interval of the mean over speakers, or utterances; other seeds are not in it."""
    seed_rates: Sequence[float]
    as_scratch_minutes: Needed | None
    """The labels with which the arm from scratch reads as well; None for that arm, without it, and for an arm that has
    not begun to recognise words."""


class Curves(NamedTuple):
    """All arms on one set."""

    split: str
    measure: Measure
    """Which error rate it is."""
    arms: Mapping[str, Sequence[CurvePoint]]
    """In order of the labels; the arm from scratch first."""


def make_curves(evaluated: Sequence[Evaluated]) -> list[Curves]:
    """Curves of each set on which an arm was scored with two amounts of labels or more.

    Raises:
        DataError: arms of one set were scored on different references.
    """
    sets: dict[str, dict[str, dict[float, list[Evaluated]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for item in evaluated:
        sets[item.record.split][item.record.init][item.record.labels_minutes].append(item)
    curves = []
    for split, arms in sorted(sets.items()):
        if max(map(len, arms.values())) < 2:
            continue
        baseline = amounts_of(arms.get(SCRATCH, {}))
        try:
            points = {
                arm: curve_of(arms[arm], () if arm == SCRATCH else baseline) for arm in sorted(arms, key=order_of)
            }
        except DataError as error:
            raise DataError(f"{split}: {error}") from error
        curves.append(Curves(split, measure_of(arms), points))
    return curves


def measure_of(arms: Mapping[str, Mapping[float, Sequence[Evaluated]]]) -> Measure:
    """The error rate that heads a set's evaluations, which its references choose."""
    return next(item.record.headline for amounts in arms.values() for items in amounts.values() for item in items)


def amounts_of(by_minutes: Mapping[float, Sequence[Evaluated]]) -> list[Amount]:
    """An arm's counts, fewest labels first."""
    return [Amount(minutes, [item.counts for item in items]) for minutes, items in sorted(by_minutes.items())]


def curve_of(by_minutes: Mapping[float, Sequence[Evaluated]], baseline: Sequence[Amount]) -> list[CurvePoint]:
    """An arm's points, with what the baseline needs for each where it has two amounts or more."""
    points = []
    for minutes, items in sorted(by_minutes.items()):
        counts = [item.counts for item in items]
        low, high = wer_interval(mean_counts(counts), BOOTSTRAP_SAMPLES, seed=0)
        rates = [item.rate for item in items]
        rate = float(np.mean(rates))
        needed = baseline_needs(baseline, counts) if len(baseline) > 1 and rate < PLATEAU else None
        points.append(CurvePoint(minutes, rate, low, high, rates, needed))
    return points


def plain_curves(curves: Curves) -> dict[str, Any]:
    """Curves as one record of ``curves.json``; null stands for an amount beyond all that were measured."""
    return {
        "split": curves.split,
        "arms": {arm: [plain_point(point, curves.measure) for point in points] for arm, points in curves.arms.items()},
    }


def plain_point(point: CurvePoint, measure: Measure) -> dict[str, Any]:
    """A point as a record."""
    needed = point.as_scratch_minutes
    ends = needed and {name: value if np.isfinite(value) else None for name, value in needed._asdict().items()}
    return by_measure(measure, {**point._asdict(), "as_scratch_minutes": ends})


def saved_sentences(curves: Curves) -> list[str]:
    """The labels that each arm saves, in words."""
    scratch = curves.arms.get(SCRATCH, ())
    if len(scratch) < 2:
        return []
    most = scratch[-1].labels_minutes
    return [
        f"{curves.split}, {arm} with {point.labels_minutes:.1f} minutes of labels reads as scratch does with "
        f"{name_needed(point.as_scratch_minutes, scratch[0].labels_minutes, most)}"
        for arm, points in curves.arms.items()
        for point in points
        if point.as_scratch_minutes is not None
    ]


def name_needed(needed: Needed, least: float, most: float) -> str:
    """An amount with its interval, in words."""
    amount, *ends = (name_amount(value, least, most) for value in needed)
    return f"{amount} minutes (95% interval {ends[0]} to {ends[1]}, seeds aside)"


def name_amount(value: float, least: float, most: float) -> str:
    """An amount of labels, or on which side of those measured it lies."""
    if np.isinf(value):
        return f"more than {most:.1f}"
    return f"{value:.1f}" if value > 0 else f"less than {least:.1f}"


def plot_curves(curves: Sequence[Curves], recipe: str, path: Path) -> None:
    """Rates against labels, and the labels that scratch needs for the same, a row for each set, as one PNG."""
    figure = new_picture(11, 4.4 * len(curves))
    rows = figure.subplots(len(curves), 2, squeeze=False)
    for (left, right), item in zip(rows, curves, strict=True):
        plot_rates(left, item)
        plot_needed(right, item)
    figure.suptitle(f"{recipe}: error rates against minutes of labels")
    save(figure, path)


def plot_rates(axes: Axes, curves: Curves) -> None:
    """The mean rate of each arm with its interval, and each seed."""
    for arm, points in curves.arms.items():
        colour = COLOURS.get(arm, OTHER_COLOUR)
        minutes = [point.labels_minutes for point in points]
        axes.plot(minutes, [100 * point.rate for point in points], "o-", color=colour, markersize=4, label=arm)
        low, high = [100 * point.rate_low for point in points], [100 * point.rate_high for point in points]
        axes.fill_between(minutes, low, high, color=colour, alpha=0.15, linewidth=0)
        for point in points:
            if len(point.seed_rates) > 1:
                heights = [100 * rate for rate in point.seed_rates]
                axes.plot([point.labels_minutes] * len(heights), heights, "_", color=colour)
    mark_minutes(axes, curves)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small", frameon=False)
    tidy(axes, f"{curves.measure.upper()} on {curves.split} (%), mean of seeds, 95% over speakers")


def plot_needed(axes: Axes, curves: Curves) -> None:
    """Labels with which the arm from scratch reads as well, over those of each arm; amounts off the scale as arrows."""
    scratch = [point.labels_minutes for point in curves.arms.get(SCRATCH, ())]
    if len(scratch) < 2:
        axes.text(0.5, 0.5, "no curve from scratch", transform=axes.transAxes, ha="center", color="#8c8c8c")
        axes.set_axis_off()
        return
    least, most = scratch[0], scratch[-1]
    axes.plot((least, most), (least, most), color=COLOURS[SCRATCH], linestyle="--", linewidth=1, label=SCRATCH)
    for arm, points in curves.arms.items():
        colour = COLOURS.get(arm, OTHER_COLOUR)
        for point in points:
            if (needed := point.as_scratch_minutes) is None:
                continue
            amount, low, high = np.clip(np.array(needed), least, most)
            marker = "^" if needed.amount > most else "v" if needed.amount < least else "o"
            axes.plot([point.labels_minutes] * 2, [low, high], color=colour, linewidth=1)
            axes.plot(point.labels_minutes, amount, marker, color=colour, markersize=6)
    axes.set_yscale("log")
    axes.set_yticks(scratch, [f"{minutes:.0f}" for minutes in scratch])
    axes.yaxis.set_minor_formatter(NullFormatter())
    mark_minutes(axes, curves)
    tidy(axes, "minutes with which scratch reads as well; ^ more than were tried, v less")


def mark_minutes(axes: Axes, curves: Curves) -> None:
    """The amounts that were measured, on a logarithmic axis."""
    minutes = sorted({point.labels_minutes for points in curves.arms.values() for point in points})
    axes.set_xscale("log")
    axes.set_xticks(minutes, [f"{value:.0f}" for value in minutes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("minutes of labels")
