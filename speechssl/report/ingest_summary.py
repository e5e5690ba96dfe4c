"""The report of a set of shards in words: a page for a terminal, whether it was made of three files or of a million."""

import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from rich.console import Console

from speechssl.ingest.accounting import EXAMPLES
from speechssl.ingest.recordings import Note, Rejected
from speechssl.report.ingest import HEADERS, PIECE_NOTE, IngestReport, Named

# Of columns, suffixes or reasons in one line; the others are counted.
MOST_NAMES = 12
# Characters of an example's detail; the files have all of it.
MOST_DETAIL = 200


def say(console: Console, lines: Sequence[str]) -> None:
    """Print lines as they are; on a terminal, what continues a line stands below its beginning."""
    if console.is_terminal:
        lines = [part for line in lines for part in _wrapped(line, console.width)]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _wrapped(line: str, width: int) -> list[str]:
    text = line.lstrip()
    indent = line[: len(line) - len(text)]
    # Paths stay in one piece, to be copied.
    wrapper = textwrap.TextWrapper(
        max(width, 20),
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.wrap(text) or [line]


def summary(output: Path, report: IngestReport, named: Named) -> list[str]:
    """What was found, what was made of it, what is known of it, and what was left out and why."""
    lines = [f"{output}: {headline(report)}, in {of(len(report.shards), 'shard')}", *_contents(report), *_known(report)]
    lines += _kinds("left out, ", report.num_rejected, ((item.reason, item) for item in named.rejected))
    for reason, count in report.pieces_left_out.items():
        lines.append(f"  pieces left out of recordings that are used, {reason}: {count:,}")
    noticed = [note for note in named.notes if not note.kind.startswith(PIECE_NOTE)]
    lines += _kinds("used, with a note, ", report.notes, ((note.kind, note) for note in noticed))
    if report.ignored_columns:
        lines.append(f"  columns that were not used: {_listed(report.ignored_columns)}")
    if report.ignored:
        lines.append(f"  files that were not used: {_listed(report.ignored)}")
    sizes = (len(named.rejected), len(named.notes), len(named.ignored))
    if any(sizes):
        files = ", ".join(f"{name} ({size:,})" for name, size in zip(HEADERS, sizes, strict=True) if size)
        lines.append(f"  each by name in {output}: {files}")
    return lines


def headline(report: IngestReport) -> str:
    """What was found, used and made, in a line."""
    num_left_out = report.num_found - report.num_used
    used = f"{report.num_used:,} used, {num_left_out:,} left out" if num_left_out else "all used"
    speakers = [of(report.num_speakers, "speaker")] if report.num_speakers else []
    contents = [of(report.num_samples, "utterance"), duration(report.hours), *speakers]
    return f"{of(report.num_found, 'recording')} found, {used}: {', '.join(contents)}"


def _contents(report: IngestReport) -> list[str]:
    """The parts of the shards, and what is odd in them."""
    lines = []
    for name, part in report.parts.items():
        lines.append(f"    {name}: {of(int(part['num_samples']), 'utterance')}, {duration(part['hours'])}")
    if report.dropped_hours:
        lines.append(f"  between the pieces of long recordings: {duration(report.dropped_hours)}")
    if report.num_clipped:
        lines.append(f"  clipped in places, but kept: {of(report.num_clipped, 'utterance')}")
    return lines


def _known(report: IngestReport) -> list[str]:
    """How many recordings have a transcript and a speaker, and from where."""
    lines = []
    for field, words, count in (
        ("text", "with a transcript", report.num_with_text),
        ("speaker", "with a speaker", report.num_with_speaker),
    ):
        share = f"{count:,} of {report.num_used:,}" if count else "none"
        places = list(report.fields.get(field, {}))
        more = f" and {len(places) - EXAMPLES} more places" if len(places) > EXAMPLES else ""
        origin = f", from {', '.join(places[:EXAMPLES])}{more}" if places and count else ""
        lines.append(f"  {words}: {share}{origin}")
    return lines


def _kinds(words: str, counts: Mapping[str, int], items: Iterable[tuple[str, Rejected | Note]]) -> list[str]:
    """Each kind with its count and its first examples, the most frequent first."""
    examples: dict[str, list[str]] = defaultdict(list)
    for kind, item in items:
        if len(examples[kind]) < EXAMPLES:
            examples[kind].append(f"    {item.path}: {textwrap.shorten(item.detail, MOST_DETAIL, placeholder=' ...')}")
    lines = []
    for kind, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
        lines += [f"  {words}{kind}: {count:,}", *examples[kind]]
    return lines


def _listed(counts: Mapping[str, int]) -> str:
    """Names with their counts, the most frequent first, as many as are read."""
    ordered = Counter(counts).most_common()
    names = [f"{name} ({count:,})" for name, count in islice(ordered, MOST_NAMES)]
    more = f", and {len(ordered) - MOST_NAMES} more in report.json" if len(ordered) > MOST_NAMES else ""
    return ", ".join(names) + more


def of(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(hours: float) -> str:
    """A length in the unit that suits it."""
    if hours >= 1:
        return f"{hours:,.1f} hours"
    return f"{hours * 60:.1f} minutes" if hours * 60 >= 1 else f"{hours * 3600:.1f} seconds"
