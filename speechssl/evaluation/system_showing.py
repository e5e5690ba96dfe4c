"""A score on the terminal: rates, what they are broken down by, confusions, the worst utterances, and a comparison."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from speechssl.evaluation.breakdown import Breakdown, Group, worst_first
from speechssl.evaluation.confusions import Confusion, Confusions
from speechssl.evaluation.error_rates import ErrorRates
from speechssl.evaluation.intervals import name_units
from speechssl.evaluation.system import Comparison, Details, Output, System, mean_wer


def show_score(systems: Sequence[System], comparison: Comparison | None, notes: Sequence[str], limit: int) -> None:
    """Print all of it; ``limit`` confusions of each kind."""
    console = Console()
    rates = systems[0].outputs[0].rates
    console.print(rates_table([system.outputs for system in systems]))
    lines = [interval_line(rates), *notes]
    if comparison is not None:
        lines += comparison_lines(comparison, rates.num_utterances)
    print_lines(console, lines)
    print_breakdowns(console, [system.details.breakdowns for system in systems], limit)
    for system in systems:
        is_one_of_many = len(systems) > 1 or len(system.outputs) > 1
        lines = detail_lines(system.details, limit)
        print_lines(console, ["", f"{system.outputs[0].path}:", *lines] if is_one_of_many and lines else lines)


def print_breakdowns(console: Console, systems: Sequence[Sequence[Breakdown]], limit: int) -> None:
    """Print a table for each column, with the rates of one or two systems."""
    for breakdowns in zip(*systems, strict=True):
        console.print(breakdown_table(breakdowns, max(limit, 1)))


def detail_lines(details: Details, limit: int) -> list[str]:
    """What one output says beyond its rates, but for what they are broken down by."""
    lines = [*details.notes, *map(str, details.diagnoses), *confusion_lines(details.confusions, "words", limit)]
    lines += confusion_lines(details.character_confusions, "characters", limit)
    return lines + worst_lines(details, -(-limit // 3))


def print_lines(console: Console, lines: Sequence[str]) -> None:
    """Print text as it is: no markup, no line broken."""
    if lines:
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _table(title: str, *columns: str, left: int = 1) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < left else "right", no_wrap=number >= left, overflow="fold")
    return table


def rates_table(systems: Sequence[Sequence[Output]]) -> Table:
    """One row for each output, and for each mean of several."""
    first = systems[0][0].rates
    title = f"{first.num_utterances} utterances, {first.num_words} words, {first.num_characters} characters"
    columns = ("output", "WER", "95%", "CER", "SER", "sub", "del", "ins", "MER", "WIL")
    table = _table(title, *columns)
    names = iter(short_names([output.path for outputs in systems for output in outputs]))
    for outputs in systems:
        for output in outputs:
            table.add_row(next(names), *_rates(output.rates))
        if len(outputs) > 1:
            table.add_row(f"mean of {len(outputs)}", f"{mean_wer(outputs):.1%}", end_section=True)
    return table


def short_names(paths: Sequence[Path]) -> list[str]:
    """Paths without the folders, and the names at their ends, that they have in common; one alone as it is."""
    if len(set(paths)) < 2:
        return [str(path) for path in paths]
    parts = [path.absolute().parts for path in paths]
    first, last = _num_common(parts), _num_common([own[::-1] for own in parts])
    return [str(Path(*(own[first : len(own) - last] or own))) for own in parts]


def _num_common(items: Sequence[Sequence[str]]) -> int:
    """How many names all begin with."""
    return sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, zip(*items, strict=False)))


def _rates(rates: ErrorRates) -> list[str]:
    return [
        f"{rates.wer:.1%}",
        _span(rates.wer_low, rates.wer_high),
        f"{rates.cer:.1%}",
        f"{rates.num_wrong / rates.num_utterances:.1%}",
        str(rates.substitutions),
        str(rates.deletions),
        str(rates.insertions),
        f"{rates.mer:.1%}",
        f"{rates.wil:.1%}",
    ]


def interval_line(rates: ErrorRates) -> str:
    """What the intervals are over."""
    return f"95% interval over {name_units(rates.interval_unit, rates.num_speakers, rates.num_utterances)}"


def breakdown_table(breakdowns: Sequence[Breakdown], limit: int) -> Table:
    """One row for each group; of more speakers than ``limit`` those with the most errors of the first system."""
    column, groups = breakdowns[0]
    is_cut = column == "speaker" and len(groups) > limit
    shown = worst_first(breakdowns[0])[:limit] if is_cut else groups
    title = f"by {column}" + (f", the worst {limit} of {len(groups)}" if is_cut else "")
    title += ": the first system, then the second" if len(breakdowns) > 1 else ""
    rates = ("WER", "95%", "CER", "sub", "del", "ins") if len(breakdowns) == 1 else ("WER", "95%", "CER")
    table = _table(title, column, "utts", "words", *(rates * len(breakdowns)))
    others = [{group.name: group for group in breakdown.groups} for breakdown in breakdowns]
    for group in shown:
        cells = [cell for known in others for cell in _group(known[group.name])[: len(rates)]]
        table.add_row(group.name, str(group.num_utterances), str(group.num_words), *cells)
    return table


def _group(group: Group) -> list[str]:
    interval = "-" if group.wer_low is None or group.wer_high is None else _span(group.wer_low, group.wer_high)
    wer, cer = ("-" if rate is None else f"{rate:.1%}" for rate in (group.wer, group.cer))
    return [wer, interval, cer, str(group.substitutions), str(group.deletions), str(group.insertions)]


def _span(low: float, high: float) -> str:
    return f"{100 * low:.1f}-{100 * high:.1f}"


def confusion_lines(confusions: Confusions, of: str, limit: int) -> list[str]:
    """The most frequent errors of each kind, a line each."""
    lines = []
    for kind, items in confusions._asdict().items():
        if items and limit:
            lines.append(f"most frequent {kind} of {of}: " + ", ".join(_confusion(item) for item in items[:limit]))
    return lines


def _confusion(item: Confusion) -> str:
    reference, hypothesis = (text.replace(" ", "␣") for text in (item.reference, item.hypothesis))
    if not reference:
        return f"{hypothesis} {item.count}"
    heard = f" > {hypothesis}" if hypothesis else ""
    return f"{reference}{heard} {item.count} of {item.num_said}"


def worst_lines(details: Details, limit: int) -> list[str]:
    """Aligned text of the utterances with the most errors."""
    lines: list[str] = []
    for item in details.worst[:limit]:
        lines += ["", f"{item.id}: {item.errors} errors, {item.num_words} words", *item.aligned]
    return lines


def comparison_lines(comparison: Comparison, num_utterances: int) -> list[str]:
    """What a comparison comes to, in sentences."""
    reduction = comparison.reduction
    units = name_units(reduction.unit, reduction.num_units, num_utterances)
    if reduction.unit == "utterances":
        units = f"{num_utterances} utterances"
    over = f"{units} and seeds" if reduction.covers_seeds else units
    # Seeds are in no other test.
    p_value = f", p {show_p(reduction.p_value)}" if comparison.difference is None else ""
    lines = [
        f"the second system changes the number of errors by {-reduction.reduction:+.1%} "
        f"({-reduction.high:+.1%} to {-reduction.low:+.1%}, 95% interval over {over}{p_value})"
    ]
    if (difference := comparison.difference) is not None:
        lines.append(
            f"paired bootstrap: WER {100 * difference.difference:+.2f} points ({100 * difference.low:+.2f} to "
            f"{100 * difference.high:+.2f}) over {difference.num_units} {difference.unit}, "
            f"p {show_p(difference.p_value)}"
        )
    if (segments := comparison.segments) is not None:
        statistic = "" if segments.statistic is None else f", statistic {segments.statistic:.2f}"
        lines.append(
            f"matched pairs (MAPSSWE): {segments.num_segments} segments with {segments.errors[0]} and "
            f"{segments.errors[1]} errors{statistic}, p {show_p(segments.p_value)}; segments count as independent, "
            "also those of one speaker"
        )
    elif not reduction.covers_seeds:
        lines.append("other seeds may come out otherwise, which takes two outputs of each system")
    return lines


def show_p(p_value: float) -> str:
    """A p-value with two digits, and how it compares."""
    return "below 0.0001" if p_value < 1e-4 else f"= {p_value:.2g}"
