"""Picture of a single training run: what it learns, what it is scored at, and how it is getting on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from speechssl.report.axes import eight_axes, points_of, save, tidy
from speechssl.report.lone_run import Line, LoneRun, name_of_run
from speechssl.report.plots import codebooks_of, plot_chance, plot_lines, plot_perplexity
from speechssl.report.results import headline_of

TRAIN_COLOUR = "C0"
DEV_COLOUR = "#d9822b"
EMPTY_COLOUR = "#8c8c8c"


def plot_run(run: LoneRun, path: Path) -> None:
    """Eight figures over the updates, as one PNG."""
    figure, axes = eight_axes()
    (_plot_pretraining if run.kind == "pretraining" else _plot_finetuning)(axes[0], run)
    logs = {"": run.train}
    plot_lines(axes[1, 0], logs, ["gradient_norm"], "gradient norm", log_scale=True)
    plot_lines(axes[1, 1], logs, ["learning_rate"], "learning rate")
    plot_lines(axes[1, 2], logs, ["audio_seconds_per_second"], "seconds of audio per second")
    axes[1, 2].set_ylim(bottom=0)
    if run.evaluated:
        _plot_evaluations(axes[1, 3], run)
    elif points_of(run.dev, "probe_cer"):
        _plot_probes(axes[1, 3], run)
    else:
        _plot_shares(axes[1, 3], run.train, [("padding", "padding_share"), ("waiting for data", "wait_share")])
        tidy(axes[1, 3], "padding, and time spent waiting")
    figure.suptitle(f"{name_of_run(run.folder)}: {run.kind}, {run.train[-1]['update']} updates")
    save(figure, path)


def _plot_pretraining(axes: Sequence[Axes], run: LoneRun) -> None:
    plot_both(axes[0], run, "accuracy", "accuracy of the pretext task")
    plot_chance(axes[0], run.train)
    plot_both(axes[1], run, "loss", "loss of the pretext task, per target")
    plot_perplexity(axes[2], {"": run.train}, codebooks_of(run.config))
    plot_lines(axes[3], {"": run.train}, ["effective_rank"], "effective rank of the context")


def _plot_finetuning(axes: Sequence[Axes], run: LoneRun) -> None:
    plot_both(axes[0], run, "loss", "CTC loss (nats per label)")
    for name, label, colour in (("wer", "words", TRAIN_COLOUR), ("cer", "characters", DEV_COLOUR)):
        if points := points_of(run.dev, name):
            axes[1].plot(*zip(*points, strict=True), "o-", color=colour, markersize=3, linewidth=1.4, label=label)
    if points := points_of(run.dev, run.measure):
        update, best = min(points, key=lambda point: (point[1], -point[0]))
        side = "right" if update == points[-1][0] else "center"
        below: dict[str, Any] = {"textcoords": "offset points", "ha": side, "va": "top", "fontsize": "small"}
        axes[1].annotate(f"best {best:.1%}", (update, best), (0, -6), **below)
        axes[1].legend(fontsize="small", frameon=False)
        axes[1].set_xlim(left=0)
        axes[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    else:
        say_empty(axes[1], "no dev scores yet")
    axes[1].set_ylim(bottom=0)
    tidy(axes[1], "dev error rates")
    axes[1].set_xlabel("update")
    _plot_shares(axes[2], run.train, [("", "blank_share")])
    tidy(axes[2], "frames whose best label is blank")
    plot_lines(axes[3], {"": run.train}, ["effective_rank"], "effective rank of the context")


def plot_both(axes: Axes, run: LoneRun, name: str, title: str) -> None:
    """A figure in training, and on held-out audio where it is scored."""
    for lines, label, form, colour in ((run.train, "train", "-", TRAIN_COLOUR), (run.dev, "dev", "o-", DEV_COLOUR)):
        if points := points_of(lines, name):
            axes.plot(*zip(*points, strict=True), form, color=colour, markersize=3, linewidth=1.4, label=label)
    if len(axes.lines) > 1:
        axes.legend(fontsize="small", frameon=False)
    tidy(axes, title)
    axes.set_xlabel("update")


def _plot_shares(axes: Axes, lines: Sequence[Line], names: Sequence[tuple[str, str]]) -> None:
    for i, (label, name) in enumerate(names):
        if points := points_of(lines, name):
            axes.plot(*zip(*points, strict=True), color=(TRAIN_COLOUR, DEV_COLOUR)[i], linewidth=1.4, label=label)
    if len(names) > 1 and axes.lines:
        axes.legend(fontsize="small", frameon=False)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    top = max(0.1, axes.get_ylim()[1])
    axes.set_ylim(-0.02 * top, top)  # a share of 0 is seen above the axis
    axes.set_xlabel("update")


def _plot_probes(axes: Axes, run: LoneRun) -> None:
    """Character error rate of the probe with its interval, the best named."""
    points = points_of(run.dev, "probe_cer")
    axes.plot(*zip(*points, strict=True), "o-", color=DEV_COLOUR, markersize=3, linewidth=1.4)
    ends = [dict(points_of(run.dev, f"probe_cer_{end}")) for end in ("low", "high")]
    inside = [update for update, _ in points if update in ends[0] and update in ends[1]]
    low, high = ([end[update] for update in inside] for end in ends)
    axes.fill_between(inside, low, high, color=DEV_COLOUR, alpha=0.15, linewidth=0)
    update, best = min(points, key=lambda point: (point[1], -point[0]))
    side = "right" if update == points[-1][0] else "center"
    below: dict[str, Any] = {"textcoords": "offset points", "ha": side, "va": "top", "fontsize": "small"}
    axes.annotate(f"best {best:.1%}", (update, best), (0, -6), **below)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlim(left=0)
    tidy(axes, "CER of the probe, 95% interval")
    axes.set_xlabel("update")


def _plot_evaluations(axes: Axes, run: LoneRun) -> None:
    """Error rate of each evaluation with its interval."""
    records = [item.record for item in run.evaluated]
    kinds = {record.headline for record in records}
    for i, record in enumerate(records):
        rate, low, high = headline_of(record)
        axes.bar(i, rate, 0.5, color=TRAIN_COLOUR, alpha=0.55)
        axes.errorbar(i, rate, yerr=[[rate - low], [high - rate]], color="#222222", capsize=3, linewidth=1)
        axes.annotate(f"{rate:.1%}", (i, 0), (0, 4), textcoords="offset points", ha="center", fontsize="small")
    axes.set_xticks(range(len(records)), [record.split for record in records])
    axes.set_xlim(-0.8, len(records) - 0.2)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(bottom=0)
    tidy(
        axes,
        f"{'word' if kinds == {'wer'} else 'character' if kinds == {'cer'} else ''} error rate, 95% interval".lstrip(),
    )


def say_empty(axes: Axes, text: str) -> None:
    """Words in the place of a figure."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=EMPTY_COLOUR)
