"""Pictures of pretraining health and of word error rates by arm."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from speechssl.report.results import ARMS, Record
from speechssl.training.run_log import read_log

COLOURS = {"scratch": "#8c8c8c", "pretrained": "#1f6fb4"}


def plot_report(experiment: Path, records: Sequence[Record], path: Path) -> None:
    """Pretraining health of every seed, and the word error rates, as one PNG."""
    runs = {run.parent.name: run for run in sorted(experiment.glob("seed*/pretrain")) if (run / "log.jsonl").is_file()}
    logs = {
        name: [line for line in read_log(run / "log.jsonl") if line["kind"] == "train"] for name, run in runs.items()
    }
    figure = Figure(figsize=(13, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    plot_accuracy(axes[0, 0], logs)
    plot_lines(axes[0, 1], logs, ["loss"], "contrastive loss (nats)")
    groups = sorted({name for log in logs.values() for line in log for name in line if name.startswith("perplexity_")})
    plot_lines(axes[0, 2], logs, groups, "code perplexity per group")
    plot_lines(axes[1, 0], logs, ["effective_rank"], "effective rank of the context")
    plot_lines(axes[1, 1], logs, ["gradient_norm"], "gradient norm", log_scale=True)
    plot_wer(axes[1, 2], records)
    recipe = records[0].recipe if records else ""
    figure.suptitle(f"{recipe}: pretraining health and word error rates")
    partial = path.with_name(f".partial_{path.name}")
    figure.savefig(partial, dpi=110, format="png")
    partial.replace(path)


def plot_accuracy(axes: Axes, logs: dict[str, list[dict[str, Any]]]) -> None:
    """Contrastive accuracy over updates, with the chance level of the first run as a dashed line."""
    plot_lines(axes, logs, ["accuracy"], "contrastive accuracy")
    chances = [(line["update"], line["chance"]) for log in list(logs.values())[:1] for line in log if "chance" in line]
    if chances:
        axes.plot(*zip(*chances, strict=True), color="#c03030", linestyle="--", linewidth=1)
        axes.annotate(
            "chance",
            (0.98, chances[-1][1]),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="top",
            xytext=(0, -4),
            textcoords="offset points",
            color="#c03030",
        )
    axes.set_ylim(bottom=0)


def plot_lines(
    axes: Axes, logs: dict[str, list[dict[str, Any]]], names: Sequence[str], title: str, *, log_scale: bool = False
) -> None:
    """Figures over updates, one line per run and name."""
    styles = ["-", ":", "--", "-."]
    for i, (run, log) in enumerate(logs.items()):
        for j, name in enumerate(names):
            points = [(line["update"], line[name]) for line in log if line.get(name) is not None]
            if points:
                x, y = zip(*points, strict=True)
                label = run if j == 0 else None
                axes.plot(x, y, styles[j % len(styles)], color=f"C{i}", linewidth=1.4, label=label)
    if not axes.lines:
        axes.text(0.5, 0.5, "no pretraining log", transform=axes.transAxes, ha="center", color="#8c8c8c")
    elif len(logs) > 1:
        axes.legend(fontsize="small", frameon=False, loc="best")
    if log_scale and axes.lines:
        axes.set_yscale("log")
    tidy(axes, title)
    axes.set_xlabel("update")


def plot_wer(axes: Axes, records: Sequence[Record]) -> None:
    """Mean word error rate by arm and labels as bars; each seed as a point with its interval."""
    amounts = sorted({record.labels_minutes for record in records})
    for offset, init in zip((-0.2, 0.2), ARMS, strict=True):
        for position, minutes in enumerate(amounts):
            chosen = [r for r in records if r.init == init and r.labels_minutes == minutes]
            if not chosen:
                continue
            mean = float(np.mean([r.wer for r in chosen]))
            axes.bar(
                position + offset,
                100 * mean,
                0.36,
                color=COLOURS[init],
                alpha=0.55,
            )
            axes.annotate(f"{init}\n{100 * mean:.1f}", (position + offset, 1), ha="center", fontsize="small")
            for i, r in enumerate(chosen):
                x = position + offset + 0.08 * (i - (len(chosen) - 1) / 2)
                errors = [[100 * (r.wer - r.wer_low)], [100 * (r.wer_high - r.wer)]]
                axes.errorbar(
                    x, 100 * r.wer, yerr=errors, fmt="o", markersize=3, capsize=2, color="#222222", linewidth=1
                )
    axes.set_xticks(range(len(amounts)), [f"{minutes:.0f} min" for minutes in amounts])
    axes.set_xlabel("transcribed audio")
    axes.set_ylim(bottom=0)
    tidy(axes, "word error rate (%), 95% intervals")


def tidy(axes: Axes, title: str) -> None:
    """Title and light frame."""
    axes.set_title(title, fontsize="medium", loc="left")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
