"""The arms of a recipe's experiment: files, tables and pictures of their results."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from speechssl.config import ReportConfig
from speechssl.errors import DataError
from speechssl.outputs import has_json, is_plot, write_json, write_whole
from speechssl.report.curves import make_curves, plain_curves, plot_curves, saved_sentences
from speechssl.report.generalisation import (
    Condition,
    Conditions,
    make_generalisation,
    plain_compared,
    read_conditions,
)
from speechssl.report.generalisation_plots import plot_generalisation
from speechssl.report.generalisation_tables import is_markdown, make_generalisation_table, markdown
from speechssl.report.generalisation_tables import sentences as generalisation_sentences
from speechssl.report.lone_run import name_of_run, runs_in
from speechssl.report.plots import plot_report
from speechssl.report.results import Evaluated, collect, compare
from speechssl.report.scaling import Scaling, make_scaling
from speechssl.report.scaling_plot import plot_scaling
from speechssl.report.scaling_showing import plain_scaling, scaling_sentences, scaling_table
from speechssl.report.tables import make_table, plain, sentence

RESULTS_FILE = "results.json"
COMPARISON_FILE = "comparison.json"
PLOT_FILE = "report.png"
CURVES_FILE = "curves.json"
CURVES_PLOT_FILE = "curves.png"
SCALING_FILE = "scaling.json"
SCALING_PLOT_FILE = "scaling.png"
GENERALISATION_FILE = "generalisation.json"
GENERALISATION_TABLE_FILE = "generalisation.md"
GENERALISATION_PLOT_FILE = "generalisation.png"
REPORT_FILES = {
    RESULTS_FILE: has_json("recipe", "init", "wer"),
    COMPARISON_FILE: has_json("split", "relative_reduction"),
    PLOT_FILE: is_plot,
    CURVES_FILE: has_json("split", "arms"),
    CURVES_PLOT_FILE: is_plot,
    SCALING_FILE: has_json("axis", "points", "law"),
    SCALING_PLOT_FILE: is_plot,
    GENERALISATION_FILE: has_json("condition", "reference", "arms"),
    GENERALISATION_TABLE_FILE: is_markdown,
    GENERALISATION_PLOT_FILE: is_plot,
}


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
    conditions = read_conditions(config.conditions) if config.conditions is not None else None
    path = config.experiment / RESULTS_FILE
    write_json(path, [item.record.plain() for item in evaluated])
    write_json(config.experiment / COMPARISON_FILE, [plain(comparison) for comparison in compare(evaluated)])
    everything = evaluated
    if conditions is not None:
        evaluated = of_references(evaluated, conditions.comparisons)
    plot_report(config.experiment, [item.record for item in evaluated], config.experiment / PLOT_FILE)
    curves = make_curves(evaluated)
    if curves:
        write_json(config.experiment / CURVES_FILE, [plain_curves(item) for item in curves])
        plot_curves(curves, recipe, config.experiment / CURVES_PLOT_FILE)
    scaling = report_scaling(config.experiment, evaluated, recipe)
    console = Console()
    for table in [make_table(recipe, evaluated), *([scaling_table(scaling)] if scaling else [])]:
        print_whole(console, table)
    lines = [*map(sentence, compare(evaluated)), *(line for item in curves for line in saved_sentences(item))]
    lines += [line for item in scaling for line in scaling_sentences(item)]
    lines += [*(f"missing: {problem}" for problem in missing)]
    lines += [str(path), str(config.experiment / PLOT_FILE)]
    lines += [str(config.experiment / CURVES_PLOT_FILE)] if curves else []
    lines += [str(config.experiment / SCALING_PLOT_FILE)] if scaling else []
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    if conditions is not None:
        report_generalisation(config, recipe, everything, conditions)


def report_scaling(experiment: Path, evaluated: Sequence[Evaluated], recipe: str) -> list[Scaling]:
    """Write what there is to say of several amounts of audio and models; nothing where there are none."""
    curves = make_scaling(experiment, evaluated)
    if curves:
        write_json(experiment / SCALING_FILE, [plain_scaling(curve) for curve in curves])
        plot_scaling(curves, recipe, experiment / SCALING_PLOT_FILE)
    return curves


def of_references(evaluated: list[Evaluated], comparisons: Sequence[Condition]) -> list[Evaluated]:
    """What was scored on sets that others are compared with; all of it if nothing was."""
    names = {item.reference for item in comparisons}
    return [item for item in evaluated if item.record.split in names] or evaluated


def report_generalisation(
    config: ReportConfig, recipe: str, evaluated: list[Evaluated], conditions: Conditions
) -> None:
    """Report the arms in each condition."""
    compared, missing = make_generalisation(evaluated, conditions.comparisons)
    write_json(config.experiment / GENERALISATION_FILE, [plain_compared(item) for item in compared])
    write_whole(config.experiment / GENERALISATION_TABLE_FILE, markdown(recipe, compared, conditions, missing))
    plot_generalisation(compared, recipe, config.experiment / GENERALISATION_PLOT_FILE)
    console = Console()
    print_whole(console, make_generalisation_table(recipe, compared))
    lines = [*generalisation_sentences(compared), *(f"missing: {problem}" for problem in missing)]
    lines += [str(config.experiment / name) for name in (GENERALISATION_TABLE_FILE, GENERALISATION_PLOT_FILE)]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def print_whole(console: Console, table: Table) -> None:
    """Print a table as wide as it is: a line that a narrow terminal breaks can be read, cells that are cut cannot."""
    console.width = max(console.width, console.measure(table, options=console.options.update(width=1_000)).maximum)
    console.print(table)
