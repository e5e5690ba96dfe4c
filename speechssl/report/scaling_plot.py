"""The picture of scaling: points with their intervals, and the law with its band, dashed where nothing was measured."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from speechssl.evaluation.scaling import FittedLaw
from speechssl.report.axes import new_picture, save, tidy
from speechssl.report.scaling import Scaling, amount_of, name_amount

MARKERS = "osD^v"
TITLES = {
    "hours": "{measure} (%) against untranscribed audio",
    "parameters": "{measure} (%) against parameters of the encoder",
    "probe": "CER (%) of a frozen layer against untranscribed audio",
}


def plot_scaling(curves: Sequence[Scaling], recipe: str, path: Path) -> None:
    """A row for each set and amount of labels, a column for each axis that there are curves over, as one PNG."""
    rows = [(key, list(group)) for key, group in groupby(curves, key=lambda curve: (curve.split, curve.labels_minutes))]
    columns: list[str] = sorted({curve.axis for curve in curves})
    if any(point.probe_cer is not None for curve in curves for point in curve.points if curve.axis == "hours"):
        columns.append("probe")
    figure = new_picture(6.2 * len(columns), 4.8 * len(rows))
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for ((split, minutes), found), axes in zip(rows, grid, strict=True):
        for column, place in zip(columns, axes, strict=True):
            axis = "hours" if column == "probe" else column
            plot_axis(place, [curve for curve in found if curve.axis == axis], probe=column == "probe")
            title = TITLES[column].format(measure=found[0].measure.upper())
            tidy(place, f"{title}; {split}, {minutes:.0f} min of labels")
    figure.suptitle(f"{recipe}: points with 95% over speakers, each seed; laws with 95% over speakers and runs")
    save(figure, path)


def plot_axis(axes: Axes, curves: Sequence[Scaling], *, probe: bool) -> None:
    """The curves over one axis, both logarithmic."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    if not probe:
        keep_to_points(axes, curves)
    for number, curve in enumerate(curves):
        colour, marker = f"C{number}", MARKERS[number % len(MARKERS)]
        if probe:
            plot_probed(axes, curve, colour, marker)
            continue
        plot_points(axes, curve, colour, marker)
        if curve.fitted is not None:
            plot_law(axes, curve.fitted, colour)
        if curve.scratch is not None:
            axes.axhline(100 * curve.scratch, color=colour, linestyle=":", linewidth=1, label=f"{curve.fixed}, scratch")
    name_ticks(axes, curves, foretold=not probe)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", frameon=False)


def plot_points(axes: Axes, curve: Scaling, colour: str, marker: str) -> None:
    """Means with their intervals, and each seed as a dash."""
    x = [amount_of(point, curve.axis) for point in curve.points]
    y = np.array([100 * point.rate for point in curve.points])
    ends = [y - [100 * p.rate_low for p in curve.points], np.array([100 * p.rate_high for p in curve.points]) - y]
    axes.errorbar(x, y, yerr=ends, fmt=marker, color=colour, markersize=5, capsize=2, linewidth=1, label=curve.name)
    for point, amount in zip(curve.points, x, strict=True):
        if len(point.seed_rates) > 1:
            axes.plot([amount] * len(point.seed_rates), [100 * rate for rate in point.seed_rates], "_", color=colour)


def plot_law(axes: Axes, fitted: FittedLaw, colour: str) -> None:
    """Line and band."""
    band, measured = fitted.band, fitted.band.amounts <= fitted.law.unit
    beyond = fitted.band.amounts >= fitted.band.amounts[measured][-1]
    axes.plot(band.amounts[measured], 100 * band.rates[measured], color=colour, linewidth=1.4)
    axes.plot(band.amounts[beyond], 100 * band.rates[beyond], color=colour, linewidth=1.4, linestyle="--")
    axes.fill_between(band.amounts, 100 * band.low, 100 * band.high, color=colour, alpha=0.12, linewidth=0)


def plot_probed(axes: Axes, curve: Scaling, colour: str, marker: str) -> None:
    """Character error rates of the probe, which no law is fitted to."""
    found = [(point.hours, 100 * point.probe_cer) for point in curve.points if point.probe_cer is not None]
    if found:
        axes.plot(*zip(*found, strict=True), f"{marker}-", color=colour, markersize=5, linewidth=1, label=curve.name)


def keep_to_points(axes: Axes, curves: Sequence[Scaling]) -> None:
    """A wide band would press all points together: the axis goes as far as these, and what is foretold, reach."""
    points = [point for curve in curves for point in curve.points]
    rates = [rate for point in points for rate in (point.rate_low, point.rate_high, point.rate)]
    rates += [item.rate.value for curve in curves if curve.fitted for item in curve.fitted.foretold]
    rates += [curve.scratch for curve in curves if curve.scratch is not None]
    over = [100 * rate for rate in rates if rate > 0]
    if over:
        axes.set_ylim(0.7 * min(over), min(1.3 * max(over), 110))


def name_ticks(axes: Axes, curves: Sequence[Scaling], *, foretold: bool) -> None:
    """The amounts that were measured and foretold along the bottom, and plain numbers up the side."""
    amounts = {float(f"{amount_of(point, curve.axis):.2g}") for curve in curves for point in curve.points}
    if foretold:
        amounts |= {float(f"{item.amount:.2g}") for curve in curves if curve.fitted for item in curve.fitted.foretold}
    axis = curves[0].axis if curves else "hours"
    axes.set_xticks(sorted(amounts), [name_amount(amount, axis) for amount in sorted(amounts)], fontsize="small")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
