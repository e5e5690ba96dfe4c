"""Gather a recipe's results: results.json, a table on the terminal, and one picture."""

import json
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from speechssl.config import ReportConfig
from speechssl.report.plots import plot_report
from speechssl.report.results import ARMS, Comparison, Evaluated, collect, compare

RESULTS_FILE = "results.json"
COMPARISON_FILE = "comparison.json"
PLOT_FILE = "report.png"
PLATEAU = 0.99
"""Word error rate from which a model counts as not having begun to recognise."""


def run(config: ReportConfig) -> None:
    """Write ``results.json``, ``comparison.json`` and ``report.png`` to the top of the experiment, print the table.

    Raises:
        DataError: nothing was evaluated there.
    """
    evaluated = collect(config.experiment, config.recipe)
    comparisons = compare(evaluated)
    path = config.experiment / RESULTS_FILE
    write_whole(path, [item.record._asdict() for item in evaluated])
    write_whole(config.experiment / COMPARISON_FILE, [plain(comparison) for comparison in comparisons])
    plot_report(config.experiment, [item.record for item in evaluated], config.experiment / PLOT_FILE)
    console = Console()
    console.print(make_table(config.recipe, evaluated))
    for line in sentences(comparisons):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{path}\n{config.experiment / PLOT_FILE}", markup=False, highlight=False, soft_wrap=True)


def write_whole(path: Path, content: list[dict[str, Any]]) -> None:
    """Write JSON under its name only when it is whole."""
    partial = path.with_name(f".partial_{path.name}")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def plain(comparison: Comparison) -> dict[str, Any]:
    """A comparison as one record of ``comparison.json``; shares, not percent."""
    reduction = comparison.reduction
    return {
        "labels_minutes": comparison.labels_minutes,
        "mean_wer": dict(comparison.wer),
        "num_seeds": dict(comparison.num_seeds),
        "relative_reduction": reduction.reduction if reduction else None,
        "relative_reduction_low": reduction.low if reduction else None,
        "relative_reduction_high": reduction.high if reduction else None,
    }


def make_table(recipe: str, evaluated: list[Evaluated]) -> Table:
    """One row per arm and seed."""
    title = f"{recipe}: word error rates (95% interval over utterances)"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("init", "labels", "seed", "set", "WER", "interval", "CER", "updates", "time"):
        table.add_column(name, justify="left" if name in ("init", "set") else "right", no_wrap=True)
    for record, _ in evaluated:
        table.add_row(
            record.init,
            f"{record.labels_minutes:.0f} min",
            str(record.seed),
            record.split,
            f"{record.wer:.1%}",
            f"{100 * record.wer_low:.1f}-{100 * record.wer_high:.1f}",
            f"{record.cer:.1%}",
            str(record.updates),
            f"{record.wall_seconds / 60:.1f} min",
        )
    return table


def sentences(comparisons: list[Comparison]) -> list[str]:
    """What pretraining bought, in words."""
    lines = []
    for comparison in comparisons:
        means = ", ".join(
            f"{init} {comparison.wer[init]:.1%} (mean of {comparison.num_seeds[init]})"
            for init in ARMS
            if init in comparison.wer
        )
        line = f"{comparison.labels_minutes:.1f} minutes of labels: {means}"
        if min(comparison.wer.values()) >= PLATEAU:
            line += "; no arm has begun to recognise words, so this says nothing about pretraining: train for longer"
        elif comparison.reduction is not None:
            reduction = comparison.reduction
            line += (
                f"; pretraining changes the WER by {change(reduction.reduction)} "
                f"({change(reduction.high)} to {change(reduction.low)}, 95% paired bootstrap)"
            )
        lines.append(line)
    return lines


def change(reduction: float) -> str:
    """A reduction as a signed change in whole percent, without a negative zero."""
    return f"{0.0 - round(reduction, 2):+.0%}"
