"""Manifest to shards: read, check, resample, encode, write; count everything that is left out, by reason."""

import csv
import hashlib
import json
import logging
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import track

from speechssl.audio.reading import read_audio
from speechssl.config import ShardConfig
from speechssl.data.index import file_sha256, read_index
from speechssl.data.writer import PARTIAL, EncodedSample, ShardWriter, encode_audio
from speechssl.errors import ConfigError, DataError
from speechssl.text.normalisation import normalize_text

logger = logging.getLogger(__name__)

REPORT_FILE = "report.json"


class Recording(NamedTuple):
    """One line of a manifest."""

    key: str
    path: Path
    text: str
    speaker: str
    language: str


class Skipped(NamedTuple):
    """A recording that is in no shard."""

    path: str
    reason: str
    """Short and the same for all of its kind, to count by."""
    detail: str


@dataclass
class ShardReport:
    """What a set of shards holds, and what was left out. Its file marks the set as whole."""

    fingerprint: str
    """Of the manifest and the options."""
    sample_rate: int
    num_samples: int = 0
    """Utterances."""
    seconds: float = 0.0
    num_speakers: int = 0
    shards: list[str] = field(default_factory=list)
    num_skipped: dict[str, int] = field(default_factory=dict)
    """Recordings left out, by reason."""
    skipped: list[Skipped] = field(default_factory=list)


def run(config: ShardConfig) -> ShardReport:
    """Make shards, unless the folder already holds these very ones.

    Raises:
        ConfigError: the limits make no sense.
        DataError: the manifest cannot be read, no recording is usable, the folder holds other shards, the disk is full.
    """
    if config.min_seconds > config.max_seconds:
        raise ConfigError(f"min_seconds ({config.min_seconds:g}) is above max_seconds ({config.max_seconds:g})")
    console = Console(stderr=True)
    recordings = read_manifest(config.manifest)
    fingerprint = make_fingerprint(config)
    existing = read_report(config.output)
    if existing is not None and existing.fingerprint == fingerprint and is_whole(config.output, existing):
        console.print(f"{config.output}: already made from this list with these options", markup=False, soft_wrap=True)
        if existing.num_skipped:
            print_summary(config, existing, console)
        return existing
    prepare_folder(config.output, existing)
    report = write_shards(config, recordings, fingerprint)
    print_summary(config, report, console)
    if report.num_samples == 0:
        raise DataError(
            f"{config.manifest}: none of its {len(recordings)} recordings can be used; the reasons are above"
        )
    save_report(config.output, report)
    return report


def read_manifest(path: Path) -> list[Recording]:
    """Read a tab-separated list with a header.

    Raises:
        DataError: names every line that is wrong.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a UTF-8 manifest ({error})") from error
    if not rows or "path" not in rows[0]:
        found = " ".join(rows[0]) if rows else "nothing"
        raise DataError(f"{path}: the header is {found!r}, expected tab-separated columns with `path` among them")
    header, problems, recordings = rows[0], [], []
    line_of_key: dict[str, int] = {}
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(header):
            problems.append(f"{path}:{line}: {len(row)} columns, expected {len(header)} ({', '.join(header)})")
            continue
        recording = make_recording(dict(zip(header, row, strict=True)), path.parent)
        earlier = line_of_key.setdefault(recording.key, line)
        if earlier != line:
            problems.append(f"{path}:{line}: key {recording.key!r} is that of line {earlier}; add an id column")
        recordings.append(recording)
    if problems:
        more = f"\nand {len(problems) - 20} more" if len(problems) > 20 else ""
        raise DataError("\n".join(problems[:20]) + more)
    if not recordings:
        raise DataError(f"{path}: lists no recordings")
    return recordings


def make_recording(fields: dict[str, str], folder: Path) -> Recording:
    """One line's fields; the key is the id, or the path without its suffix, in characters that keys may have."""
    identity = fields.get("id") or str(Path(fields["path"]).with_suffix(""))
    key = re.sub(r"[^A-Za-z0-9_-]+", "_", identity).strip("_") or "_"
    return Recording(
        key, folder / fields["path"], fields.get("text", ""), fields.get("speaker", ""), fields.get("language", "")
    )


def make_fingerprint(config: ShardConfig) -> str:
    """Digest of the manifest's content and of the options that shape the shards."""
    options = {name: str(value) for name, value in asdict(config).items() if name not in ("manifest", "output")}
    digest = hashlib.sha256(config.manifest.read_bytes())
    digest.update(json.dumps(options, sort_keys=True).encode())
    return digest.hexdigest()


def prepare_folder(folder: Path, existing: ShardReport | None) -> None:
    """Make the folder, and clear what an interrupted run left; never touch shards of something else."""
    if existing is not None:
        raise DataError(
            f"{folder}: holds shards of another list or made with other options, or some that were changed since; "
            "delete the folder or choose another one"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror})") from error
    for pattern in (f"{PARTIAL}*", "shard-*.tar", "shard-*.tar.index.json"):
        for path in folder.glob(pattern):
            path.unlink()


def write_shards(config: ShardConfig, recordings: list[Recording], fingerprint: str) -> ShardReport:
    """Prepare on all cores, write in the manifest's order."""
    report = ShardReport(fingerprint, config.sample_rate)
    counts: Counter[str] = Counter()
    speakers: set[str] = set()
    writer = ShardWriter(
        config.output,
        sample_rate=config.sample_rate,
        audio_format=config.format,
        max_bytes=config.max_shard_megabytes * 1e6,
    )
    results = track(
        in_order(config, recordings), total=len(recordings), description="shards", console=Console(stderr=True)
    )
    for recording, result in zip(recordings, results, strict=True):
        if isinstance(result, Skipped):
            counts[result.reason] += 1
            report.skipped.append(result)
            continue
        writer.write(result)
        report.num_samples += 1
        report.seconds += result.num_samples / config.sample_rate
        if recording.speaker:
            speakers.add(recording.speaker)
    writer.close()
    report.num_speakers = len(speakers)
    report.num_skipped = dict(counts)
    report.shards = [shard.name for shard in writer.shards]
    return report


def in_order(config: ShardConfig, recordings: Iterable[Recording]) -> Iterator[EncodedSample | Skipped]:
    """Prepare recordings in threads (decoders release the interpreter), a bounded number ahead."""
    workers = os.cpu_count() or 1
    pending: deque[Future[EncodedSample | Skipped]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for recording in recordings:
                pending.append(pool.submit(prepare, config, recording))
                if len(pending) >= 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def prepare(config: ShardConfig, recording: Recording) -> EncodedSample | Skipped:
    """Read, check and encode one recording."""
    text = normalize_text(recording.text, config.text_case)
    path = str(recording.path)
    if config.require_text and not text:
        return Skipped(path, "no transcript", "its text column is empty")
    try:
        samples = read_audio(recording.path, config.sample_rate)
    except DataError as error:
        return Skipped(path, "unreadable audio", str(error))
    seconds = len(samples) / config.sample_rate
    if seconds < config.min_seconds:
        return Skipped(path, "too short", f"{seconds:.2f} s, min_seconds is {config.min_seconds:g}")
    if seconds > config.max_seconds:
        return Skipped(path, "too long", f"{seconds:.2f} s, max_seconds is {config.max_seconds:g}")
    metadata: dict[str, str | float] = {"seconds": round(seconds, 4), "source": recording.path.name}
    for name, value in (("text", text), ("speaker", recording.speaker), ("language", recording.language)):
        if value:
            metadata[name] = value
    audio = encode_audio(samples, config.sample_rate, config.format)
    return EncodedSample(recording.key, audio, len(samples), metadata)


def read_report(folder: Path) -> ShardReport | None:
    """The report of a finished set; None if there is none."""
    try:
        content = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        content["skipped"] = [Skipped(**item) for item in content["skipped"]]
        return ShardReport(**content)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{folder / REPORT_FILE}: is not a report of shards ({error!r}); delete the folder") from error


def save_report(folder: Path, report: ShardReport) -> None:
    """Write the report last: it marks the set as whole."""
    content = asdict(report) | {"skipped": [item._asdict() for item in report.skipped]}
    partial = folder / f"{PARTIAL}{REPORT_FILE}"
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(folder / REPORT_FILE)


def is_whole(folder: Path, report: ShardReport) -> bool:
    """Whether every shard is there and has the checksum in its index."""
    try:
        return all(read_index(folder / name).sha256 == file_sha256(folder / name) for name in report.shards)
    except (DataError, OSError):
        return False


def print_summary(config: ShardConfig, report: ShardReport, console: Console) -> None:
    """Say what was made and what was left out."""
    minutes = report.seconds / 60
    lines = [
        f"{config.output}: {report.num_samples} recordings, {minutes:.1f} minutes, "
        f"{report.num_speakers} speakers, {len(report.shards)} shards"
    ]
    for reason, count in sorted(report.num_skipped.items()):
        examples = [item for item in report.skipped if item.reason == reason][:3]
        lines.append(f"  left out, {reason}: {count}")
        lines += [f"    {item.path}: {item.detail}" for item in examples]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
