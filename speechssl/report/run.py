"""Gather a recipe's results: results.json, a table on the terminal, and one picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from speechssl.config import ReportConfig
from speechssl.evaluation.intervals import MIN_SPEAKERS, RelativeReduction
from speechssl.evaluation.stored import write_whole
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
    evaluated, missing = collect(config.experiment, config.recipe)
    comparisons = compare(evaluated)
    path = config.experiment / RESULTS_FILE
    write_json(path, [item.record._asdict() for item in evaluated])
    write_json(config.experiment / COMPARISON_FILE, [plain(comparison) for comparison in comparisons])
    plot_report(config.experiment, [item.record for item in evaluated], config.experiment / PLOT_FILE)
    console = Console()
    console.print(make_table(config.recipe, evaluated))
    lines = [*sentences(comparisons), *(f"missing: {problem}" for problem in missing)]
    lines += [str(path), str(config.experiment / PLOT_FILE)]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def write_json(path: Path, content: list[dict[str, Any]]) -> None:
    """Write JSON under its name only when it is whole."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


def plain(comparison: Comparison) -> dict[str, Any]:
    """A comparison as one record of ``comparison.json``; shares, not percent."""
    reduction = comparison.reduction
    return {
        "split": comparison.split,
        "labels_minutes": comparison.labels_minutes,
        "mean_wer": dict(comparison.wer),
        "num_seeds": {init: len(seeds) for init, seeds in comparison.seeds.items()},
        "seeds": {init: list(seeds) for init, seeds in comparison.seeds.items()},
        "relative_reduction": reduction.reduction if reduction else None,
        "relative_reduction_low": reduction.low if reduction else None,
        "relative_reduction_high": reduction.high if reduction else None,
        "interval_unit": reduction.unit if reduction else None,
        "num_interval_units": reduction.num_units if reduction else None,
        "interval_covers_seeds": reduction.covers_seeds if reduction else None,
        "interval": name_interval(reduction) if reduction else None,
    }


def name_interval(reduction: RelativeReduction) -> str:
    """What the interval of a comparison is over, and what it leaves out, in words."""
    units = f"95% interval over {reduction.num_units} {reduction.unit}"
    if reduction.unit == "utterances":
        units += f" (not all speakers are known, or they are fewer than {MIN_SPEAKERS})"
    if reduction.covers_seeds:
        return f"{units} and over seeds"
    return f"{units}; it says nothing about how other seeds would come out, which takes two or more seeds of each arm"


def make_table(recipe: str, evaluated: Sequence[Evaluated]) -> Table:
    """One row per arm and seed."""
    units = sorted({record.interval_unit for record, _ in evaluated})
    title = f"{recipe}: word error rates (95% interval of each run over {' or '.join(units)})"
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


def sentences(comparisons: Sequence[Comparison]) -> list[str]:
    """What pretraining bought on each set and amount of labels, in words."""
    return [sentence(comparison) for comparison in comparisons]


def sentence(comparison: Comparison) -> str:
    """One comparison."""
    arms = [init for init in ARMS if init in comparison.wer]
    means = ", ".join(f"{init} {comparison.wer[init]:.1%} ({name_seeds(comparison.seeds[init])})" for init in arms)
    line = f"{comparison.split}, {comparison.labels_minutes:.1f} minutes of labels: {means}"
    reduction = comparison.reduction
    if min(comparison.wer.values()) >= PLATEAU:
        line += "; no arm has begun to recognise words, so this says nothing about pretraining: train for longer"
    elif reduction is not None:
        line += (
            f"; pretraining changes the WER by {change(reduction.reduction)} "
            f"({change(reduction.high)} to {change(reduction.low)}, {name_interval(reduction)})"
        )
    return line


def name_seeds(seeds: Sequence[int]) -> str:
    """Which seeds a mean is over."""
    return f"mean of seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]} alone"


def change(reduction: float) -> str:
    """A reduction as a signed change in whole percent, without a negative zero."""
    return f"{0.0 - round(reduction, 2):+.0%}"
