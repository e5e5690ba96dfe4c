"""Gather a recipe's results, or those of one run: results.json, a table on the terminal, and one picture."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from speechssl.config import ReportConfig
from speechssl.errors import DataError
from speechssl.evaluation.intervals import MIN_SPEAKERS, RelativeReduction
from speechssl.outputs import check_output_folder, has_json, is_plot, write_json
from speechssl.report.lone_run import LoneRun, courses, is_run, name_of_run, read_run, runs_in
from speechssl.report.lone_run import sentences as run_sentences
from speechssl.report.plots import plot_report
from speechssl.report.results import ARMS, Comparison, Evaluated, collect, compare
from speechssl.report.run_plots import plot_run

RESULTS_FILE = "results.json"
COMPARISON_FILE = "comparison.json"
PLOT_FILE = "report.png"
REPORT_FILES = {
    RESULTS_FILE: has_json("recipe", "init", "wer"),
    COMPARISON_FILE: has_json("split", "mean_wer"),
    PLOT_FILE: is_plot,
}
FIGURES = ("wer", "cer", "loss", "accuracy")
"""Of a single run, beside the perplexities of codebook groups."""
PLATEAU = 0.99
"""Word error rate from which a model counts as not having begun to recognise."""


def run(config: ReportConfig) -> None:
    """Write ``results.json``, ``comparison.json`` and ``report.png`` to the top of the experiment, print the table.

    A folder of one run gets ``report.png``, and ``results.json`` if it was evaluated.

    Raises:
        ConfigError: files of other origins would be replaced, or none can be written.
        DataError: no such folder, or nothing was evaluated there.
    """
    if not config.experiment.is_dir():
        raise DataError(f"{config.experiment}: no such folder; give that of a recipe's outputs, or of one run")
    check_output_folder(config.experiment, key="experiment", ours=REPORT_FILES)
    if is_run(config.experiment):
        report_run(config)
    else:
        report_arms(config)


def report_run(config: ReportConfig) -> None:
    """Report a single run."""
    lone = read_run(config.experiment, config.recipe or name_of_run(config.experiment))
    written = [config.experiment / PLOT_FILE]
    plot_run(lone, written[0])
    if lone.evaluated:
        written.append(config.experiment / RESULTS_FILE)
        write_json(written[1], [item.record._asdict() for item in lone.evaluated])
    console = Console()
    console.print(*run_sentences(lone), sep="\n", markup=False, highlight=False, soft_wrap=True)
    console.print(make_courses(lone))
    if lone.evaluated:
        console.print(make_table(lone.evaluated[0].record.recipe, lone.evaluated))
    lines = [*(f"missing: {problem}" for problem in lone.missing), *map(str, written)]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def make_courses(lone: LoneRun) -> Table:
    """First, last and best of each figure, in training and on the dev set."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("set", "figure", "first", "last", "best", "at update"):
        table.add_column(column, justify="left" if column in ("set", "figure") else "right", no_wrap=True)
    for name, lines in (("dev", lone.dev), ("train", lone.train)):
        groups = sorted({figure for line in lines for figure in line if figure.startswith("perplexity_")})
        figures = [(figure, figure not in ("wer", "cer", "loss")) for figure in (*FIGURES, *groups)]
        for course in courses(lines, figures):
            values = [show_figure(course.name, value) for value in (course.first, course.last, course.best)]
            table.add_row(name, course.name, *values, str(course.best_update))
    return table


def show_figure(name: str, value: float) -> str:
    """A figure with its customary digits."""
    if name in ("wer", "cer"):
        return f"{value:.1%}"
    return f"{value:.1f}" if name.startswith("perplexity_") else f"{value:.3f}"


def report_arms(config: ReportConfig) -> None:
    """Report the arms of a recipe."""
    recipe = config.recipe or name_of_run(config.experiment)
    try:
        evaluated, missing = collect(config.experiment, recipe)
    except DataError as error:
        runs = runs_in(config.experiment)
        if not runs:
            raise
        raise DataError(f"{error}\nThere are single runs here; give one of them: {', '.join(runs)}") from error
    comparisons = compare(evaluated)
    path = config.experiment / RESULTS_FILE
    write_json(path, [item.record._asdict() for item in evaluated])
    write_json(config.experiment / COMPARISON_FILE, [plain(comparison) for comparison in comparisons])
    plot_report(config.experiment, [item.record for item in evaluated], config.experiment / PLOT_FILE)
    console = Console()
    console.print(make_table(recipe, evaluated))
    lines = [*sentences(comparisons), *(f"missing: {problem}" for problem in missing)]
    lines += [str(path), str(config.experiment / PLOT_FILE)]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


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
