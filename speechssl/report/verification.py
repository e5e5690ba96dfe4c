"""What verifying shards has found, in words and in a table."""

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from speechssl.shards.tar_scan import Finding
from speechssl.shards.tar_walk import printable


@dataclass
class VerificationReport:
    """Outcome over all shards."""

    num_shards: int
    num_samples: int
    """Utterances."""
    seconds: float
    num_indexes_written: int
    findings: list[Finding]
    """In order of shard and offset."""


def summary(report: VerificationReport, path: Path | None) -> str:
    """Every kind of problem with its count and its first three, over all shards."""
    num_bad = len({finding.shard for finding in report.findings})
    lines = [f"{len(report.findings)} problems in {num_bad} files; {_totals(report)} in all:"]
    for kind, count in Counter(finding.kind for finding in report.findings).most_common():
        lines.append(f"  {kind}: {count}")
        examples = [finding for finding in report.findings if finding.kind == kind][:3]
        lines += [f"    {finding.shard}: {_place(finding)}{finding.detail}" for finding in examples]
    lines.append(f"All of them are in {path}." if path else "--report FILE writes all of them to a JSON file.")
    return "\n".join(lines)


def _place(finding: Finding) -> str:
    words = [printable(finding.key)] if finding.key else []
    words += [] if finding.offset is None else [f"at byte {finding.offset}"]
    return f"{' '.join(words)}: " if words else ""


def _totals(report: VerificationReport) -> str:
    return f"{report.num_shards} shards, {report.num_samples} samples, {report.seconds / 3600:,.2f} hours"


def show_findings(report: VerificationReport, console: Console) -> None:
    """A table of the files with problems, or that all is well."""
    if report.num_indexes_written:
        console.print(f"wrote {report.num_indexes_written} indexes", markup=False, highlight=False)
    if not report.findings:
        console.print(f"{_totals(report)}: sound", markup=False, highlight=False)
        return
    table = Table("file", "problem", "count", "first")
    in_order = sorted(report.findings, key=lambda finding: (finding.shard, finding.kind))
    for (shard, kind), group in groupby(in_order, key=lambda finding: (finding.shard, finding.kind)):
        findings = list(group)
        names = ", ".join(_place(finding).removesuffix(": ") for finding in findings[:3])
        table.add_row(Text(shard, overflow="fold"), kind, str(len(findings)), Text(names, overflow="fold"))
    console.print(table)
