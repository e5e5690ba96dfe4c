"""Generalisation as tables and sentences."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table

from speechssl.evaluation.intervals import Estimate
from speechssl.report.generalisation import Compared, Conditions, Elsewhere
from speechssl.report.results import SCRATCH
from speechssl.report.tables import PLATEAU, change, new_table

TITLE = "error rates elsewhere"
HEADER = (
    "condition", "arm", "error rate", "interval", "at reference", "points more", "less scratch's",
    "times", "over scratch's", "against scratch", "against it at reference",
)  # fmt: skip


def rows_of(compared: Iterable[Compared]) -> list[tuple[str, ...]]:
    """Cells of a table with ``HEADER``, a row per condition and arm."""
    return [
        (
            item.condition.label,
            init,
            f"{item.measure.upper()} {arm.rate:.1%}",
            f"{100 * arm.interval.low:.1f}-{100 * arm.interval.high:.1f}",
            f"{arm.reference_rate:.1%}",
            f"{100 * arm.loss.difference.value:+.1f}",
            show_points(arm.against.difference) if arm.against else "",
            f"{arm.loss.ratio.value:.2f}",
            show(arm.against.ratio) if arm.against else "",
            change(arm.reduction.reduction) if arm.reduction else "",
            change(arm.reference_reduction.reduction) if arm.reference_reduction else "",
        )
        for item in compared
        for init, arm in item.arms.items()
    ]


def show(estimate: Estimate) -> str:
    """A ratio with its interval."""
    return f"{estimate.value:.2f} ({estimate.low:.2f}-{estimate.high:.2f})"


def show_points(estimate: Estimate) -> str:
    """A difference with its interval, in points."""
    value, low, high = (100 * share for share in estimate)
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def sentences(compared: Sequence[Compared]) -> list[str]:
    """How each arm fares beside the one from scratch, in words."""
    groups: dict[tuple[float, str], list[Elsewhere]] = defaultdict(list)
    for item in compared:
        for init, arm in item.arms.items():
            groups[item.labels_minutes, init].append(arm)
    return [
        f"{minutes:.1f} minutes of labels, {init}: {_fares(arms)}"
        for (minutes, init), arms in groups.items()
        if init != SCRATCH
    ]


def _fares(arms: Sequence[Elsewhere]) -> str:
    both = [(arm.against, arm.reduction.reduction) for arm in arms if arm.against and arm.reduction]
    if not both:
        return "nothing is compared; the arm from scratch is missing, or one of the two recognises no words yet"
    saved = [reduction for _, reduction in both]
    factors = _count([against.ratio for against, _ in both], 1)
    points = _count([against.difference for against, _ in both], 0)
    covered = "speakers and seeds" if all(against.covers_seeds for against, _ in both) else "speakers alone"
    return (
        f"of {len(both)} conditions the error rate grows less than that from scratch, by factors, in {factors[0]}, and "
        f"more in {factors[1]}; by points less in {points[0]}, and more in {points[1]} (in brackets: by a 95% interval "
        f"over {covered}, of which one in 20 misses). Against scratch it changes there by "
        f"{change(max(saved))} to {change(min(saved))}"
    )


def _count(estimates: Sequence[Estimate], equal: float) -> tuple[str, str]:
    """How many lie below and above what would be no difference, and how many do with their intervals."""
    below = f"{sum(x.value < equal for x in estimates)} ({sum(x.high < equal for x in estimates)})"
    return below, f"{sum(x.value > equal for x in estimates)} ({sum(x.low > equal for x in estimates)})"


def make_generalisation_table(recipe: str, compared: Sequence[Compared]) -> Table:
    """One row per amount of labels, condition and arm."""
    table = new_table(("labels", *HEADER), left=("condition", "arm"), title=f"{recipe}: {TITLE}")
    for item in compared:
        for row in rows_of([item]):
            table.add_row(f"{item.labels_minutes:.0f} min", *row)
    return table


def is_markdown(path: Path) -> bool:
    """Whether a file is a ``generalisation.md``."""
    head, _, _ = path.read_text(encoding="utf-8").partition("\n")
    return head.startswith("# ") and head.endswith(f": {TITLE}")


def markdown(recipe: str, compared: Sequence[Compared], conditions: Conditions, missing: Sequence[str]) -> str:
    """``generalisation.md``: how it was measured, a table for each amount of labels, and what they come to."""
    lines = [f"# {recipe}: {TITLE}", ""]
    lines += [f"- {note}" for note in [*conditions.notes, *_how_measured(compared)]]
    for minutes in dict.fromkeys(item.labels_minutes for item in compared):
        lines += ["", f"## {minutes:.1f} minutes of labels", ""]
        rows = rows_of(item for item in compared if item.labels_minutes == minutes)
        lines += [f"| {' | '.join(row)} |" for row in (HEADER, ["---"] * len(HEADER), *rows)]
    lines += ["", *(f"- {line}" for line in [*sentences(compared), *(f"missing: {problem}" for problem in missing)])]
    return "\n".join([*lines, ""])


def _how_measured(compared: Sequence[Compared]) -> list[str]:
    few = sorted({item.condition.label for item in compared if "utterances" in item.units})
    notes = [
        "error rate, interval: mean of the seeds, 95% over speakers; at reference: of the set that it is compared with",
        "points more, times: difference and ratio of the two; beside them the same over scratch's: below 0 points, "
        "and below 1, the arm loses less; 95% over speakers, and over seeds where each arm has two",
        f"where an arm is at {PLATEAU:.0%} or more it recognises nothing, and is not compared; near it a low error "
        "rate has further to grow than a high one, so that both favour the worse arm",
    ]
    return notes + ([f"too few speakers are known, so over utterances: {', '.join(few)}"] if few else [])
