"""The picture of generalisation: error rates in noise and in other conditions, and losses beside scratch's."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, ScalarFormatter

from speechssl.evaluation.intervals import Estimate
from speechssl.report.axes import new_picture, save, tidy
from speechssl.report.generalisation import Compared
from speechssl.report.plots import COLOURS, OTHER_COLOUR
from speechssl.report.results import SCRATCH, order_of


def plot_generalisation(compared: Sequence[Compared], recipe: str, path: Path) -> None:
    """A row for each amount of labels, as one PNG."""
    amounts = list(dict.fromkeys(item.labels_minutes for item in compared))
    kinds = list(dict.fromkeys(item.condition.family for item in compared if is_noise(item)))
    widths = [*(1.0 for _ in kinds), 2.0, 1.6]
    figure = new_picture(4.2 * sum(widths), 6.2 * len(amounts))
    grid = figure.subplots(len(amounts), len(widths), squeeze=False, width_ratios=widths)
    for row, minutes in zip(grid, amounts, strict=True):
        items = [item for item in compared if item.labels_minutes == minutes]
        for axes, kind in zip(row, kinds, strict=False):
            plot_noise(axes, [item for item in items if is_noise(item) and item.condition.family == kind], kind)
        plot_conditions(row[-2], [item for item in items if not is_noise(item)])
        plot_against(row[-1], items)
        for axes in row[:-1]:
            axes.set_ylim(0, highest(items))
        measures = "/".join(dict.fromkeys(item.measure.upper() for item in items))
        row[0].set_ylabel(f"{measures} (%), {minutes:.0f} minutes of labels")
    figure.suptitle(f"{recipe}: error rates elsewhere, means of seeds, 95% over speakers")
    save(figure, path)


def is_noise(item: Compared) -> bool:
    """Whether a condition is noise of a known level."""
    return item.condition.snr_db is not None


def highest(items: Sequence[Compared]) -> float:
    """Upper end of the error rates, in percent."""
    return 105 * max(max(arm.interval.high, arm.reference_rate) for item in items for arm in item.arms.values())


def arms_of(items: Sequence[Compared]) -> list[str]:
    """Arms of some conditions, the one from scratch first."""
    return sorted({arm for item in items for arm in item.arms}, key=order_of)


def colour_of(arm: str) -> str:
    """The colour that an arm has in all pictures."""
    return COLOURS.get(arm, OTHER_COLOUR)


def plot_noise(axes: Axes, items: Sequence[Compared], kind: str) -> None:
    """Error rates against the level of a noise, from none on the left to the most on the right."""
    levels = sorted({item.condition.snr_db for item in items if item.condition.snr_db is not None}, reverse=True)
    at: Mapping[float, int] = {level: i + 1 for i, level in enumerate(levels)}
    for arm in arms_of(items):
        known = sorted((at[item.condition.snr_db or 0.0], item.arms[arm]) for item in items if arm in item.arms)
        x = [0, *(place for place, _ in known)]
        y = [100 * known[0][1].reference_rate, *(100 * point.rate for _, point in known)]
        axes.plot(x, y, "o-", color=colour_of(arm), markersize=4, label=arm)
        low, high = ([100 * getattr(point.interval, end) for _, point in known] for end in ("low", "high"))
        axes.fill_between(x[1:], low, high, color=colour_of(arm), alpha=0.15, linewidth=0)
    axes.set_xticks(range(len(levels) + 1), ["none", *(f"{level:g}" for level in levels)])
    axes.set_xlabel("signal-to-noise ratio (dB)")
    axes.legend(fontsize="small", frameon=False)
    tidy(axes, kind.replace("_", "-"))


def plot_conditions(axes: Axes, items: Sequence[Compared]) -> None:
    """Error rates in conditions that are no noise; a dash is the rate on the set that each is compared with."""
    arms = arms_of(items)
    for i, arm in enumerate(arms):
        offset = 0.5 * ((i + 0.5) / len(arms) - 0.5)
        for place, item in enumerate(items):
            if (point := item.arms.get(arm)) is None:
                continue
            errors = [[100 * (point.rate - point.interval.low)], [100 * (point.interval.high - point.rate)]]
            axes.errorbar(
                place + offset, 100 * point.rate, yerr=errors, fmt="o", color=colour_of(arm), markersize=5, capsize=2
            )
            axes.plot(place + offset, 100 * point.reference_rate, "_", color=colour_of(arm), markersize=11)
    axes.set_xticks(range(len(items)), [item.condition.label for item in items], rotation=40, ha="right")
    tidy(axes, "other conditions (o), and what they are compared with (-)")


def plot_against(axes: Axes, items: Sequence[Compared]) -> None:
    """How many times as much the error rate of each arm grows as that from scratch."""
    arms = [arm for arm in arms_of(items) if arm != SCRATCH]
    known = False
    for i, arm in enumerate(arms):
        offset = 0.5 * ((i + 0.5) / len(arms) - 0.5)
        for place, item in enumerate(items):
            if arm in item.arms and (against := item.arms[arm].against) is not None:
                draw_ratio(axes, against.ratio, place + offset, colour_of(arm))
                known = True
    if not known:
        axes.text(0.5, 0.5, "nothing to compare with scratch", transform=axes.transAxes, ha="center", color="#8c8c8c")
        axes.set_axis_off()
        return
    axes.axvline(1, color=colour_of(SCRATCH), linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(*around_one(items))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xticks([x for x in (0.25, 0.5, 0.7, 1, 1.4, 2, 4) if axes.get_xlim()[0] <= x <= axes.get_xlim()[1]])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(items)), [item.condition.label for item in items])
    axes.invert_yaxis()
    axes.set_xlabel("growth of the error rate over that from scratch; left: loses less")
    tidy(axes, "times as much as from scratch, 95%")


def draw_ratio(axes: Axes, ratio: Estimate, place: float, colour: str) -> None:
    """A point with its interval, which may leave the axes."""
    axes.plot([ratio.low, ratio.high], [place, place], color=colour, linewidth=1.2)
    axes.plot(ratio.value, place, "o", color=colour, markersize=4)


def around_one(items: Sequence[Compared]) -> tuple[float, float]:
    """Limits that hold all values and most of their intervals, as far below 1 as above."""
    ratios = [arm.against.ratio for item in items for arm in item.arms.values() if arm.against is not None]
    reach = max(max(r.value, 1 / r.value, min(r.high, 3), min(1 / max(r.low, 0.01), 3)) for r in ratios)
    return 1 / (1.1 * reach), 1.1 * reach
