"""Results as tables, records and sentences."""

from collections.abc import Collection, Sequence
from typing import Any

from rich import box
from rich.table import Table

from speechssl.evaluation.intervals import MIN_SPEAKERS, Estimate, RelativeReduction
from speechssl.report.lone_run import LoneRun, courses
from speechssl.report.results import LOG_MEL, Comparison, Evaluated, headline_of

FIGURES = ("wer", "cer", "probe_cer", "loss", "accuracy")
"""Of a single run, beside the perplexities of codebook groups."""
PLATEAU = 0.99
"""Error rate from which a model counts as not having begun to recognise."""


def new_table(columns: Sequence[str], *, left: Collection[str], title: str | None = None) -> Table:
    """An empty table; the columns of ``left`` hold words, the others numbers."""
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    return table


def make_courses(lone: LoneRun) -> Table:
    """First, last and best of each figure, in training and on the dev set."""
    table = new_table(("set", "figure", "first", "last", "best", "at update"), left=("set", "figure"))
    for name, lines in (("dev", lone.dev), ("train", lone.train)):
        groups = sorted({figure for line in lines for figure in line if figure.startswith("perplexity_")})
        order = dict.fromkeys([lone.measure, *FIGURES, *groups])
        figures = [(figure, figure not in ("wer", "cer", "probe_cer", "loss")) for figure in order]
        for course in courses(lines, figures):
            values = [show_figure(course.name, value) for value in (course.first, course.last, course.best)]
            table.add_row(name, course.name, *values, str(course.best_update))
    return table


def show_figure(name: str, value: float) -> str:
    """A figure with its customary digits."""
    if name in ("wer", "cer", "probe_cer"):
        return f"{value:.1%}"
    return f"{value:.1f}" if name.startswith("perplexity_") else f"{value:.3f}"


def plain(comparison: Comparison) -> dict[str, Any]:
    """A comparison as one record of ``comparison.json``; shares, not percent."""
    reduction = comparison.reduction
    return {
        "split": comparison.split,
        "labels_minutes": comparison.labels_minutes,
        f"mean_{comparison.measure}": dict(comparison.rates),
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
    by_characters = {record.headline for record, _ in evaluated} == {"cer"}
    head, other = ("CER", "WER") if by_characters else ("WER", "CER")
    what = "character" if by_characters else "word"
    title = f"{recipe}: {what} error rates (95% interval of each run over {' or '.join(units)})"
    columns = ("init", "labels", "seed", "set", head, "interval", other, "updates", "time")
    table = new_table(columns, left=("init", "set"), title=title)
    for record, _ in evaluated:
        word = Estimate(record.wer, record.wer_low, record.wer_high)
        shown, beside = (headline_of(record), record.wer) if by_characters else (word, record.cer)
        table.add_row(
            record.init,
            f"{record.labels_minutes:.0f} min",
            str(record.seed),
            record.split,
            f"{shown.value:.1%}",
            f"{100 * shown.low:.1f}-{100 * shown.high:.1f}",
            f"{beside:.1%}",
            str(record.updates),
            f"{record.wall_seconds / 60:.1f} min",
        )
    return table


def sentence(comparison: Comparison) -> str:
    """What pretraining bought on a set and amount of labels, in words."""
    means = ", ".join(
        f"{init} {rate:.1%} ({name_seeds(comparison.seeds[init])})" for init, rate in comparison.rates.items()
    )
    line = f"{comparison.split}, {comparison.labels_minutes:.1f} minutes of labels: {means}"
    reduction = comparison.reduction
    if min(comparison.rates.values()) >= PLATEAU:
        line += "; no arm has begun to recognise words, so this says nothing about pretraining: train for longer"
    elif reduction is not None:
        cause = "leaving the transformer out" if LOG_MEL in comparison.rates else "pretraining"
        line += (
            f"; {cause} changes the {comparison.measure.upper()} by {change(reduction.reduction)} "
            f"({change(reduction.high)} to {change(reduction.low)}, {name_interval(reduction)})"
        )
    return line


def name_seeds(seeds: Sequence[int]) -> str:
    """Which seeds a mean is over."""
    return f"mean of seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]} alone"


def change(reduction: float) -> str:
    """A reduction as a signed change in whole percent, without a negative zero."""
    return f"{0.0 - round(reduction, 2):+.0%}"
