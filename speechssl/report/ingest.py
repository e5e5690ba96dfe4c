"""The report beside a set of shards: what is in it, what was left out, and the files that name each."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from speechssl.config import ShardConfig
from speechssl.errors import DataError
from speechssl.ingest.accounting import check_samples, settle
from speechssl.ingest.pipeline import VERSION, Made
from speechssl.ingest.recordings import Found, Ignored, Note, Rejected, printable
from speechssl.ingest.shard_maker import LENGTH_EDGES, LEVEL_EDGES
from speechssl.outputs import write_whole
from speechssl.shards.listing import REPORT_FILE

REJECTED_FILE, NOTES_FILE, IGNORED_FILE = "rejected.tsv", "notes.tsv", "ignored.tsv"
HEADERS = {
    REJECTED_FILE: ("path", "reason", "detail"),
    NOTES_FILE: ("path", "kind", "detail"),
    IGNORED_FILE: ("path", "reason"),
}
PIECE_NOTE = "piece left out, "
"""Begin of the kind of a note on a piece of a recording that is used; its reason follows."""


@dataclass
class IngestReport:
    """What a set of shards holds, and what was left out. Its file marks the set as whole."""

    fingerprint: str
    """Of the sources and the options."""
    sample_rate: int
    """Hz, in the shards."""
    version: int = 1
    """Of ingest, see ``sharding.VERSION``."""
    num_found: int = 0
    """This, and the next ones, as in ``Account``."""
    num_used: int = 0
    num_rejected: dict[str, int] = field(default_factory=dict)
    """By reason; rejected.tsv names each."""
    num_with_text: int = 0
    num_with_speaker: int = 0
    fields: dict[str, dict[str, int]] = field(default_factory=dict)
    """By field ("text") and place ("column sentence"): recordings whose field was found there, used or not."""
    ignored_columns: dict[str, int] = field(default_factory=dict)
    """Rows, or JSON objects, that had a value in a column of which nothing was used."""
    notes: dict[str, int] = field(default_factory=dict)
    """What was noticed of recordings that are used all the same, by kind; notes.tsv names each."""
    pieces_left_out: dict[str, int] = field(default_factory=dict)
    """Pieces left out of recordings that are used, by reason; notes.tsv names each."""
    ignored: dict[str, int] = field(default_factory=dict)
    """Files in the sources that are no recordings and were not used, by suffix or reason; ignored.tsv names each."""
    num_samples: int = 0
    """Utterances in the shards."""
    hours: float = 0.0
    num_speakers: int = 0
    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    """Utterances and hours of each part of a split."""
    source_rates: dict[str, int] = field(default_factory=dict)
    """Recordings by sample rate."""
    source_formats: dict[str, int] = field(default_factory=dict)
    """Recordings by format."""
    source_channels: dict[str, int] = field(default_factory=dict)
    """Recordings by number of channels."""
    dropped_hours: float = 0.0
    """What lies between the pieces of recordings that were cut."""
    num_clipped: int = 0
    """Utterances with more than 0.1% of their samples at full scale."""
    length_histogram: dict[str, int] = field(default_factory=dict)
    """Utterances by length, by the lower edge of the bin in seconds."""
    level_histogram: dict[str, int] = field(default_factory=dict)
    """Utterances by mean level, by the lower edge of the bin in dB below full scale."""
    shards: list[str] = field(default_factory=list)
    """Paths relative to the folder."""


class Named(NamedTuple):
    """What the report counts, one by one and in order of path; each has a file if there is any."""

    rejected: list[Rejected]
    notes: list[Note]
    ignored: list[Ignored]


def make_report(config: ShardConfig, found: Found, made: Made, fingerprint: str) -> tuple[IngestReport, Named]:
    """Sum up the shards and the sources.

    Raises:
        RuntimeError: the counts do not add up.
    """
    account = settle(found, made.scanned, made.rejected)
    check_samples(account, sum(outcome.num_samples for outcome in made.outcomes))
    piece_notes = [Note(item.path, PIECE_NOTE + item.reason, item.detail) for item in account.pieces]
    named = Named(
        [Rejected(*_in_lines(item[:3])) for item in account.rejected],
        sorted(Note(*_in_lines(item)) for item in (*made.notes, *piece_notes)),
        [Ignored(*_in_lines(item)) for item in found.ignored],
    )
    report = _sums_of_shards(config, made, fingerprint)
    report.num_found, report.num_used = account.num_found, account.num_used
    report.num_with_text, report.num_with_speaker = account.num_with_text, account.num_with_speaker
    report.dropped_hours = account.dropped_seconds / 3600
    report.num_rejected = counted(item.reason for item in account.rejected)
    report.notes = counted(item.kind for item in made.notes)
    report.pieces_left_out = counted(piece.reason for piece in account.pieces)
    report.fields, report.ignored_columns = found.fields, found.ignored_columns
    report.ignored = counted(item.reason for item in found.ignored)
    return report, named


def _sums_of_shards(config: ShardConfig, made: Made, fingerprint: str) -> IngestReport:
    readable = [scanned for scanned in made.scanned if scanned.sample_rate]
    speakers = {speaker for outcome in made.outcomes for speaker in outcome.speakers}
    parts: dict[str, dict[str, float]] = {}
    for outcome in made.outcomes:
        part = parts.setdefault(str(Path(outcome.name).parent), {"num_samples": 0, "hours": 0.0})
        part["num_samples"] += outcome.num_samples
        part["hours"] += outcome.seconds / 3600
    return IngestReport(
        fingerprint,
        config.sample_rate,
        VERSION,
        num_samples=sum(outcome.num_samples for outcome in made.outcomes),
        hours=sum(outcome.seconds for outcome in made.outcomes) / 3600,
        num_speakers=len(speakers),
        parts=parts if config.split != "none" else {},
        source_rates=counted(f"{scanned.sample_rate}" for scanned in readable),
        source_formats=counted(scanned.format for scanned in readable),
        source_channels=counted(f"{scanned.num_channels}" for scanned in readable),
        num_clipped=sum(outcome.num_clipped for outcome in made.outcomes),
        length_histogram=histogram(LENGTH_EDGES, [outcome.lengths for outcome in made.outcomes]),
        level_histogram=histogram(LEVEL_EDGES, [outcome.levels for outcome in made.outcomes]),
        shards=[f"{outcome.name}.tar" for outcome in made.outcomes],
    )


def counted(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, most often first."""
    return dict(Counter(values).most_common())


def histogram(edges: Any, counts: list[list[int]]) -> dict[str, int]:
    """Sums of counts by the lower edge of their bin, without empty bins."""
    sums = [sum(column) for column in zip(*counts, strict=True)]
    return {f"{edge:g}": total for edge, total in zip(edges[:-1], sums, strict=False) if total}


def read_report(output: Path) -> IngestReport | None:
    """The report of a finished set; None if there is none. One of another version has what it shares with this one.

    Raises:
        DataError: a file that is no such report.
    """
    path = output / REPORT_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return IngestReport(**{item.name: content[item.name] for item in fields(IngestReport) if item.name in content})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: is not a report of shards ({error}); choose another folder, or delete it") from error


def save_report(output: Path, report: IngestReport, named: Named) -> None:
    """Write what names each thing that is counted, and last the report: it marks the set as whole."""
    tables: tuple[Sequence[tuple[str, ...]], ...] = named
    for (name, header), rows in zip(HEADERS.items(), tables, strict=True):
        if rows:
            lines = [header, *(row[: len(header)] for row in rows)]
            write_whole(output / name, "".join("\t".join(line) + "\n" for line in lines))
        else:
            (output / name).unlink(missing_ok=True)  # of an earlier try, whose sources were others
    write_whole(output / REPORT_FILE, json.dumps(vars(report), indent=2, ensure_ascii=False) + "\n")


def read_named(output: Path) -> Named:
    """What the files of a finished set name; nothing where one is missing."""
    rejected, notes, ignored = (_read_rows(output / name, len(HEADERS[name])) for name in HEADERS)
    return Named(
        [Rejected(*row) for row in rejected], [Note(*row) for row in notes], [Ignored(*row) for row in ignored]
    )


def _read_rows(path: Path, num_columns: int) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[1:]
    except (OSError, UnicodeError):
        return []
    return [row for line in lines if len(row := line.split("\t")) == num_columns]


def _in_lines(values: Sequence[str]) -> list[str]:
    """Path, reason and detail so that they fit into a line of a table; a path stays what it is but for line breaks."""
    path, *words = values
    for sign, escaped in (("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        path = path.replace(sign, escaped)
    return [printable(value) for value in (path, *(" ".join(word.split()) for word in words))]
