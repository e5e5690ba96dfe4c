"""``speechssl report``: a recipe's results, or those of one run, as results.json, a table and a picture."""

from rich.console import Console

from speechssl.config import ReportConfig
from speechssl.config.limits import check
from speechssl.errors import ConfigError, DataError
from speechssl.outputs import check_output_folder, write_json
from speechssl.report.arms import PLOT_FILE, REPORT_FILES, RESULTS_FILE, report_arms
from speechssl.report.lone_run import is_run, name_of_run, read_run, sentences
from speechssl.report.run_plots import plot_run
from speechssl.report.tables import make_courses, make_table


def run(config: ReportConfig) -> None:
    """Write ``results.json``, ``comparison.json`` and ``report.png`` to the top of the experiment, print the table.

    Where an arm has several amounts of labels, ``curves.json`` and ``curves.png`` too; where arms are of several
    amounts of untranscribed audio or models, ``scaling.json`` and ``scaling.png``; with a list of conditions,
    ``generalisation.json``, ``generalisation.md`` and ``generalisation.png``. Everything else but ``results.json`` and
    ``comparison.json`` is then of the sets that conditions are compared with.
    A folder of one run gets ``report.png``, and ``results.json`` if it was evaluated.

    Raises:
        ConfigError: files of other origins would be replaced, none can be written, or a single run has conditions.
        DataError: no such folder, nothing was evaluated there, or no such list of conditions.
    """
    check(config)
    if not config.experiment.is_dir():
        raise DataError(f"{config.experiment}: no such folder; give that of a recipe's outputs, or of one run")
    check_output_folder(config.experiment, key="experiment", ours=REPORT_FILES)
    if is_run(config.experiment):
        if config.conditions is not None:
            raise ConfigError(f"conditions: {config.experiment} is one run; give the folder of a recipe's outputs")
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
    console.print(*sentences(lone), sep="\n", markup=False, highlight=False, soft_wrap=True)
    console.print(make_courses(lone))
    if lone.evaluated:
        console.print(make_table(lone.evaluated[0].record.recipe, lone.evaluated))
    lines = [*(f"missing: {problem}" for problem in lone.missing), *map(str, written)]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
