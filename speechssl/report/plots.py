"""Pictures of pretraining health, of fine-tuning, and of word error rates by arm."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, ScalarFormatter

from speechssl.config import PretrainConfig
from speechssl.config.reading import from_dict
from speechssl.report.axes import eight_axes, points_of, save, tidy
from speechssl.report.results import Record, headline_of, order_of
from speechssl.training.run_log import LineKind, read_log

COLOURS = {
    "scratch": "#8c8c8c",
    "pretrained": "#1f6fb4",
    "masked_prediction": "#1f6fb4",
    "log_mel": "#0891b2",
    "contrastive": "#d97706",
    "self_distillation": "#7c3aed",
    "two_view": "#15803d",
}
OTHER_COLOUR = "#444444"
LIMIT_COLOUR = "#c03030"
LINE_STYLES: tuple[Literal["-", ":", "--", "-."], ...] = ("-", ":", "--", "-.")

Logs = Mapping[str, Sequence[dict[str, Any]]]
"""Lines of a log by the name of its run."""


def plot_report(experiment: Path, records: Sequence[Record], path: Path) -> None:
    """Pretraining health of every seed, the dev scores of fine-tuning, and the word error rates, as one PNG."""
    found = [run for run in sorted(experiment.glob("seed*/pretrain*")) if (run / "log.jsonl").is_file()]
    runs = {f"{run.parent.name} {run.name.removeprefix('pretrain').strip('_')}".strip(): run for run in found}
    logs = {name: read_lines(run, "train") for name, run in runs.items()}
    figure, axes = eight_axes()
    plot_lines(axes[0, 0], logs, ["accuracy"], "accuracy of the pretext task")
    plot_chance(axes[0, 0], next(iter(logs.values()), []))
    plot_lines(axes[0, 1], logs, ["loss"], "loss of the pretext task, per target")
    plot_perplexity(axes[0, 2], logs, codebooks(runs.values()))
    plot_lines(axes[0, 3], logs, ["effective_rank"], "effective rank of the context")
    plot_lines(axes[1, 0], logs, ["gradient_norm"], "gradient norm", log_scale=True)
    plot_lines(axes[1, 1], logs, ["audio_seconds_per_second"], "seconds of audio per second")
    axes[1, 1].set_ylim(bottom=0)
    plot_dev(axes[1, 2], experiment)
    plot_wer(axes[1, 3], records)
    recipe = records[0].recipe if records else ""
    figure.suptitle(f"{recipe}: pretraining health, fine-tuning, and word error rates")
    save(figure, path)


def read_lines(run: Path, kind: LineKind) -> list[dict[str, Any]]:
    """Lines of one kind in a run's log."""
    return [line for line in read_log(run / "log.jsonl") if line["kind"] == kind]


def codebooks(runs: Iterable[Path]) -> list[int]:
    """Entries of each codebook of pretraining runs; none if no checkpoint says, or they differ."""
    found = []
    for path in (path for run in runs for path in run.glob("checkpoints/update_*/config.yaml")):
        found.append(codebooks_of(yaml.safe_load(path.read_text(encoding="utf-8"))))
    return found[0] if found and all(entries == found[0] for entries in found) else []


def codebooks_of(config: Mapping[str, Any]) -> list[int]:
    """The same from a run's configuration."""
    section = {"objective": config.get("objective", {})}
    return from_dict(PretrainConfig, section).objective.codebooks


def plot_chance(axes: Axes, log: Sequence[dict[str, Any]]) -> None:
    """The chance level of a run's accuracy, as a dashed line."""
    if chances := points_of(log, "chance"):
        axes.plot(*zip(*chances, strict=True), color=LIMIT_COLOUR, linestyle="--", linewidth=1)
        name_limit(axes, "chance", chances[-1][1])
    axes.set_ylim(bottom=0)


def plot_perplexity(axes: Axes, logs: Logs, entries: Sequence[int]) -> None:
    """Code perplexity, a line style per codebook, below the entries of each."""
    names = sorted({name for log in logs.values() for line in log for name in line if name.startswith("perplexity_")})
    plot_lines(axes, logs, names, "perplexity of each codebook")
    if not names:
        return
    styles = [Line2D([], [], color="#444444", linestyle=LINE_STYLES[i % 4]) for i in range(len(names))]
    groups = axes.legend(styles, [f"codebook {i}" for i in range(len(names))], fontsize="small", frameon=False, loc=2)
    if len(logs) > 1:
        axes.add_artist(groups)
        axes.legend(fontsize="small", frameon=False, loc=1)
    for number in sorted(set(entries)):
        axes.axhline(number, color=LIMIT_COLOUR, linestyle="--", linewidth=1)
        name_limit(axes, f"{number} entries", number)
    axes.set_ylim(0, 1.3 * max(entries) if entries else None)  # legends stand above the entries


def name_limit(axes: Axes, text: str, y: float) -> None:
    """Write what a dashed line is, below its right end."""
    at = (0.98, y)
    style: dict[str, Any] = {"ha": "right", "va": "top", "textcoords": "offset points", "color": LIMIT_COLOUR}
    axes.annotate(text, at, (0, -4), xycoords=("axes fraction", "data"), fontsize="small", **style)


def plot_lines(axes: Axes, logs: Logs, names: Sequence[str], title: str, *, log_scale: bool = False) -> None:
    """Figures over updates, one line per run and name."""
    for i, (run, log) in enumerate(logs.items()):
        for j, name in enumerate(names):
            if points := points_of(log, name):
                x, y = zip(*points, strict=True)
                label = run if j == 0 else None
                axes.plot(x, y, LINE_STYLES[j % len(LINE_STYLES)], color=f"C{i}", linewidth=1.4, label=label)
    if not axes.lines:
        axes.text(0.5, 0.5, "no pretraining log", transform=axes.transAxes, ha="center", color="#8c8c8c")
    elif len(logs) > 1:
        axes.legend(fontsize="small", frameon=False, loc="best")
    if log_scale and axes.lines:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ScalarFormatter())
        bottom, top = axes.get_ylim()
        # Within a decade the labels stand at the minor ticks.
        axes.yaxis.set_minor_formatter(ScalarFormatter() if top < 20 * bottom else NullFormatter())
    tidy(axes, title)
    axes.set_xlabel("update")


def plot_dev(axes: Axes, experiment: Path) -> None:
    """Dev word error rate over the updates of fine-tuning: a colour per arm, a line style per amount of labels."""
    runs = [run for run in sorted(experiment.glob("seed*/finetune_*_*")) if (run / "log.jsonl").is_file()]
    amounts = sorted({run.name.rpartition("_")[2] for run in runs})
    labelled = set()
    for run in runs:
        arm, _, amount = run.name.removeprefix("finetune_").rpartition("_")
        points = [(update, 100 * wer) for update, wer in points_of(read_lines(run, "dev"), "wer")]
        if not points:
            continue
        label = f"{arm}, {amount}" if len(amounts) > 1 else arm
        style = LINE_STYLES[amounts.index(amount) % len(LINE_STYLES)]
        axes.plot(
            *zip(*points, strict=True),
            style,
            color=COLOURS.get(arm, OTHER_COLOUR),
            linewidth=1.2,
            label=None if label in labelled else label,
        )
        labelled.add(label)
    if labelled:
        axes.legend(fontsize="small", frameon=False, loc="best")
    axes.set_ylim(bottom=0)
    tidy(axes, "dev word error rate (%)")
    axes.set_xlabel("update of fine-tuning")


def plot_wer(axes: Axes, records: Sequence[Record]) -> None:
    """Mean error rate by arm, set and labels as bars; each seed as a point with its interval."""
    groups = sorted({(record.split, record.labels_minutes) for record in records})
    arms = sorted({record.init for record in records}, key=order_of)
    step = 0.8 / max(len(arms), 2)
    for i, init in enumerate(arms):
        offset = step * (i - (max(len(arms), 2) - 1) / 2)
        for position, group in enumerate(groups):
            chosen = [r for r in records if r.init == init and (r.split, r.labels_minutes) == group]
            if not chosen:
                continue
            mean = float(np.mean([headline_of(r).value for r in chosen]))
            axes.bar(position + offset, 100 * mean, 0.9 * step, color=COLOURS.get(init, OTHER_COLOUR), alpha=0.55)
            name = "" if len(arms) > 2 else f"{init}\n"  # names of more would lie over one another
            axes.annotate(f"{name}{100 * mean:.1f}", (position + offset, 1), ha="center", fontsize="small")
            for j, r in enumerate(chosen):
                x = position + offset + 0.2 * step * (j - (len(chosen) - 1) / 2)
                rate = headline_of(r)
                errors = [[100 * (rate.value - rate.low)], [100 * (rate.high - rate.value)]]
                style: dict[str, Any] = {"fmt": "o", "markersize": 3, "capsize": 2, "linewidth": 1}
                axes.errorbar(x, 100 * rate.value, yerr=errors, color="#222222", **style)
    if len(arms) > 2:
        patches = [Line2D([], [], color=COLOURS.get(init, OTHER_COLOUR), alpha=0.55, linewidth=6) for init in arms]
        axes.legend(patches, arms, fontsize="small", frameon=False, loc="upper right")
    several = len({split for split, _ in groups}) > 1
    names = [f"{minutes:.0f} min" + (f", {split}" if several else "") for split, minutes in groups]
    axes.set_xticks(range(len(groups)), names)
    axes.set_xlabel("transcribed audio")
    highest = max((100 * headline_of(r).high for r in records), default=1.0)
    axes.set_ylim(0, highest * (1.05 if len(arms) <= 2 else 1.1 + 0.08 * len(arms)))  # room for the legend
    by_characters = {r.headline for r in records} == {"cer"}
    tidy(axes, f"{'character' if by_characters else 'word'} error rate (%), 95% intervals")
