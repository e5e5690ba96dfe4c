"""Sources to a finished set of shards, with a report of what is in it and what was left out."""

import json
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from speechssl.audio.segmentation import resolve_method, segmentation_problems
from speechssl.config import ShardConfig
from speechssl.data.engines import make_engine
from speechssl.data.listing import REPORT_FILE
from speechssl.data.recordings import Found, Rejected
from speechssl.data.shard_maker import LENGTH_EDGES, LEVEL_EDGES
from speechssl.data.sharding import Made, finish, is_whole, make_fingerprint, make_set
from speechssl.data.sources import find_recordings
from speechssl.data.writer import OPUS_RATES, PARTIAL
from speechssl.errors import ConfigError, DataError
from speechssl.report.ingest import plot_ingest

PLOT_FILE = "report.png"
REJECTED_FILE = "rejected.tsv"
# A set with millions of rejected files names them in rejected.tsv only.
EXAMPLES = 3


@dataclass
class IngestReport:
    """What a set of shards holds, and what was left out. Its file marks the set as whole."""

    fingerprint: str
    """Of the sources and the options."""
    sample_rate: int
    """Hz, in the shards."""
    num_samples: int = 0
    """Utterances."""
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
    num_rejected: dict[str, int] = field(default_factory=dict)
    """Recordings left out, by reason; rejected.tsv names each."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """Files in the sources that are no audio, by suffix."""
    shards: list[str] = field(default_factory=list)
    """Paths relative to the folder."""


def run(config: ShardConfig) -> IngestReport:
    """Make shards, unless the folder already holds these very ones; an unfinished set goes on.

    Raises:
        ConfigError: options that make no sense.
        DataError: sources that are not recognised, no usable recording, a folder with other shards, a full disk.
    """
    check_config(config)
    console = Console(stderr=True)
    found = find_recordings(config.sources, config.output)
    fingerprint = make_fingerprint(found, config)
    existing = read_report(config.output)
    if existing is not None:
        return check_existing(config, existing, fingerprint, console)
    method = resolve_method(config.segmentation)
    resolved = replace(config, segmentation=replace(config.segmentation, method=method))
    # A finished set stays what it is when silero is installed later; an unfinished one is not cut in two ways.
    mark = f"{fingerprint} {method}"
    with closing(make_engine(config.engine, config.num_workers)) as engine:
        made = make_set(resolved, found, mark, engine, console)
    report = make_report(config, found, made, fingerprint)
    say(console, summary(config.output, report, made.rejected))
    if report.num_samples == 0:
        raise DataError(
            f"{', '.join(config.sources)}: none of the {len(found.recordings) + len(found.rejected)} recordings can be "
            "used; the reasons are above"
        )
    save(config.output, report, made.rejected)
    finish(config.output)
    return report


def check_config(config: ShardConfig) -> None:
    """Raise ConfigError, naming everything that cannot work."""
    problems = []
    if config.min_seconds > config.max_seconds:
        problems.append(f"min_seconds ({config.min_seconds:g}) is above max_seconds ({config.max_seconds:g})")
    if config.format == "opus" and config.sample_rate not in OPUS_RATES:
        problems.append(f"sample_rate is {config.sample_rate}, but Opus has {', '.join(map(str, OPUS_RATES))} only")
    if config.split == "draw" and not 0 <= config.dev_share + config.test_share < 1:
        problems.append(
            f"dev_share and test_share are {config.dev_share:g} and {config.test_share:g}, expected below 1 together"
        )
    problems += segmentation_problems(config.segmentation)
    if config.max_shard_megabytes <= 0:
        problems.append(f"max_shard_megabytes is {config.max_shard_megabytes:g}, expected more than 0")
    if problems:
        raise ConfigError("\n".join(problems))


def check_existing(config: ShardConfig, report: IngestReport, fingerprint: str, console: Console) -> IngestReport:
    """Take a finished set as it is.

    Raises:
        DataError: it is of other sources or options, or was changed since.
    """
    if report.fingerprint != fingerprint or not is_whole(config.output, report.shards):
        raise DataError(
            f"{config.output}: holds shards of other sources or made with other options, or some that were changed "
            "since; delete the folder or choose another one"
        )
    say(console, [f"{config.output}: already made from these sources with these options"])
    if report.num_rejected:
        say(console, summary(config.output, report, read_rejected(config.output)))
    return report


def make_report(config: ShardConfig, found: Found, made: Made, fingerprint: str) -> IngestReport:
    """Sum up the shards."""
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
        num_samples=sum(outcome.num_samples for outcome in made.outcomes),
        hours=sum(outcome.seconds for outcome in made.outcomes) / 3600,
        num_speakers=len(speakers),
        parts=parts if config.split != "none" else {},
        source_rates=counted(f"{scanned.sample_rate}" for scanned in readable),
        source_formats=counted(scanned.format for scanned in readable),
        source_channels=counted(f"{scanned.num_channels}" for scanned in readable),
        dropped_hours=sum(scanned.dropped_seconds for scanned in made.scanned) / 3600,
        num_clipped=sum(outcome.num_clipped for outcome in made.outcomes),
        length_histogram=histogram(LENGTH_EDGES, [outcome.lengths for outcome in made.outcomes]),
        level_histogram=histogram(LEVEL_EDGES, [outcome.levels for outcome in made.outcomes]),
        num_rejected=counted(item.reason for item in made.rejected),
        passed_over=counted(item.reason for item in found.ignored),
        shards=[f"{outcome.name}.tar" for outcome in made.outcomes],
    )


def counted(values: Any) -> dict[str, int]:
    """How often each value occurs, most often first."""
    return dict(Counter(values).most_common())


def histogram(edges: Any, counts: list[list[int]]) -> dict[str, int]:
    """Sums of counts by the lower edge of their bin, without empty bins."""
    sums = [sum(column) for column in zip(*counts, strict=True)]
    return {f"{edge:g}": total for edge, total in zip(edges[:-1], sums, strict=False) if total}


def read_report(output: Path) -> IngestReport | None:
    """The report of a finished set; None if there is none."""
    path = output / REPORT_FILE
    try:
        return IngestReport(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: is not a report of shards ({error}); delete the folder") from error


def save(output: Path, report: IngestReport, rejected: list[Rejected]) -> None:
    """Write what was left out, the picture, and last the report: it marks the set as whole."""
    lines = ["path\treason\tdetail", *("\t".join(" ".join(field.split()) for field in item) for item in rejected)]
    write_whole(output / REJECTED_FILE, "\n".join(lines) + "\n")
    plot_ingest(report.length_histogram, report.level_histogram, report.num_rejected, output / PLOT_FILE)
    write_whole(output / REPORT_FILE, json.dumps(vars(report), indent=2, ensure_ascii=False) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file under its name only when it is whole."""
    partial = path.with_name(f"{PARTIAL}{path.name}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_rejected(output: Path) -> list[Rejected]:
    """What a finished set left out."""
    try:
        lines = (output / REJECTED_FILE).read_text(encoding="utf-8").splitlines()[1:]
        return [Rejected(*line.split("\t")) for line in lines]
    except (OSError, TypeError):
        return []


def summary(output: Path, report: IngestReport, rejected: list[Rejected]) -> list[str]:
    """What was made and what was left out, in words."""
    lines = [
        f"{output}: {report.num_samples} recordings, {report.hours * 60:.1f} minutes, {report.num_speakers} speakers, "
        f"{len(report.shards)} shards"
    ]
    for name, part in report.parts.items():
        lines.append(f"  {name}: {part['num_samples']:.0f} recordings, {part['hours'] * 60:.1f} minutes")
    if report.dropped_hours:
        lines.append(f"  between the pieces of long recordings: {report.dropped_hours * 60:.1f} minutes")
    if report.num_clipped:
        lines.append(f"  clipped in places, but kept: {report.num_clipped}")
    for reason, count in sorted(report.num_rejected.items()):
        lines.append(f"  left out, {reason}: {count}")
        lines += [f"    {item.path}: {item.detail}" for item in rejected if item.reason == reason][:EXAMPLES]
    if report.passed_over:
        listed = ", ".join(f"{name} {count}" for name, count in report.passed_over.items())
        lines.append(f"  no audio: {listed}")
    return lines


def say(console: Console, lines: list[str]) -> None:
    """Print lines as they are."""
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
