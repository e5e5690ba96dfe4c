"""``speechssl verify``: prove that shards and indexes are whole, name what is not, index shards made elsewhere."""

import hashlib
import io
import json
import multiprocessing
import os
import re
import signal
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from speechssl.config import VerifyConfig
from speechssl.data.corpus import REPORT_FILE, UNFINISHED, find_shards
from speechssl.data.engines import num_cores
from speechssl.data.index import (
    INDEX_SUFFIX,
    SampleEntry,
    ShardIndex,
    StringColumn,
    file_sha256,
    index_path,
    key_hash,
    read_index,
    write_index,
)
from speechssl.data.reading import TEXT_SUFFIXES, metadata_of, transcript_of
from speechssl.data.tar_scan import KEY_PATTERN, Finding, ScannedSample, scan_tar, shown
from speechssl.data.writer import PARTIAL
from speechssl.errors import ConfigError, DataError

_DECODED_AT_ONCE = 1 << 18
# Programs that write a WAV file to a pipe put the largest number there is, signed or not, less some header.
_LENGTH_UNKNOWN = 0x7FFF0000
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_MAKE_AGAIN = "make the shard again"
_NEW_INDEX = "if the shard is right, give it a new index with `speechssl verify --write_index`"


class ShardTask(NamedTuple):
    """What to do with one shard."""

    shard: Path
    decode: bool
    write_index: bool


class RateUse(NamedTuple):
    """Samples of one rate in a shard."""

    num_samples: int
    """Utterances."""
    key: str
    """The first of them."""
    offset: int


@dataclass
class ShardResult:
    """What one shard holds, and what is wrong with it."""

    shard: Path
    keys: StringColumn = field(default_factory=lambda: StringColumn.of([]))
    """Those that are allowed, once or more, in order of the shard."""
    offsets: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """First byte of each of these samples, (N,)."""
    num_samples: int = 0
    """Utterances."""
    seconds: float = 0.0
    rates: dict[int, RateUse] = field(default_factory=dict)
    """By samples per second."""
    findings: list[Finding] = field(default_factory=list)
    """What is wrong with the shard."""
    index_findings: list[Finding] = field(default_factory=list)
    """What a new index would mend."""
    index_is_ready: bool = False
    """A new index waits under its partial name."""

    def name(self, kind: str, detail: str, key: str = "", offset: int | None = None) -> None:
        """Add something that is wrong with the shard."""
        self.findings.append(Finding(str(self.shard), kind, key, offset, detail))

    def name_in_index(self, kind: str, detail: str, key: str = "", offset: int | None = None) -> None:
        """Add something that a new index would mend."""
        self.index_findings.append(Finding(str(self.shard), kind, key, offset, f"{detail}; {_NEW_INDEX}"))


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


class _AudioFacts(NamedTuple):
    num_samples: int
    sample_rate: int


class _CheckedSample(NamedTuple):
    key: str
    offset: int
    size: int
    checksum: int
    audio: _AudioFacts | None
    """None if there is none that can be used."""
    text: str | None
    """None if it cannot be read."""
    audio_start: int
    """First byte of its audio, counted from offset."""
    audio_size: int


class _ContentError(Exception):
    """A member that cannot be used."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def run(config: VerifyConfig) -> VerificationReport:
    """Check every shard, and the set as a whole; write indexes if asked to.

    Raises:
        ConfigError: nothing to verify, or a report that cannot be written there.
        DataError: something is wrong; the message is the summary.
    """
    shards, folders = _prepare(config)
    decode = config.decode or config.write_index
    tasks = [ShardTask(shard, decode, config.write_index) for shard in shards]
    console = Console(stderr=True)
    try:
        checks = check_in_processes(tasks, config.num_workers)
        progress = track(checks, total=len(tasks), description="shards", console=console)
        results = sorted(progress, key=lambda result: result.shard)
        check_set(results)
        num_written = sum(_publish_index(result) for result in results)
    finally:
        if config.write_index:
            for shard in shards:
                _partial_index(shard).unlink(missing_ok=True)
    findings = [finding for result in results for finding in (*result.findings, *result.index_findings)]
    findings += dict.fromkeys(finding for folder in folders for finding in check_folder(folder))
    report = VerificationReport(
        len(shards), sum(r.num_samples for r in results), sum(r.seconds for r in results), num_written, findings
    )
    _print(report, console)
    if config.report is not None:
        _save(report, config.report)
    if findings:
        raise DataError(summary(report, config.report))
    return report


def _prepare(config: VerifyConfig) -> tuple[list[Path], list[Path]]:
    """Refuse what cannot work; shards, and folders that are to be checked as a whole."""
    if not config.shards:
        raise ConfigError("shards is empty; name shard files, folders of shards, or globs")
    if config.num_workers < 0:
        raise ConfigError(f"num_workers is {config.num_workers}, expected 0 (one per core) or more")
    shards, folders = find_all(config.shards)
    if config.report is not None:
        sets = {place.resolve() for shard in shards for place in (shard.parent, shard.parent.parent)}
        if config.report.name == REPORT_FILE and config.report.parent.resolve() in sets:
            raise ConfigError(f"report: {config.report} is where the set's own report lies; choose another name")
        if config.report.is_dir():
            raise ConfigError(f"report: {config.report} is a folder, expected a file to write")
        try:
            config.report.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"report: {config.report.parent} cannot be made ({error.strerror})") from error
    return shards, folders


def find_all(patterns: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Shards of files, folders and globs, and the folders among them, with the parts of a set that is split.

    Unlike ``find_shards`` it takes a folder that is not whole: what is missing there is one finding among others.

    Raises:
        DataError: names what holds no shards.
    """
    shards: set[Path] = set()
    folders: list[Path] = []
    others = []
    for pattern in patterns:
        top = Path(pattern)
        found = _visible(top, "*.tar") or _visible(top, "*/*.tar")
        shards.update(found)
        if found:
            folders += sorted({top, *(shard.parent for shard in found)})
        else:
            others.append(pattern)
    return sorted(shards.union(find_shards(others))), folders


def _visible(folder: Path, pattern: str) -> list[Path]:
    return [
        path
        for path in (folder.glob(pattern) if folder.is_dir() else ())
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def check_shard(task: ShardTask) -> ShardResult:
    """Check one shard and its index; if asked to, and all is well but the index, leave a new one to be published."""
    result = ShardResult(task.shard)
    try:
        _check_shard(task, result)
    except OSError as error:
        detail = f"cannot be read ({error.strerror or error}); check the disk and the permissions"
        result.name("unreadable shard", detail)
    result.findings.sort(key=lambda finding: finding.offset or 0)
    return result


def _check_shard(task: ShardTask, result: ShardResult) -> None:
    scan = scan_tar(task.shard)
    result.findings += scan.findings
    with task.shard.open("rb") as file:
        samples = [_check_sample(file, sample, task.decode, result) for sample in scan.samples]
    allowed = [sample for sample in samples if KEY_PATTERN.fullmatch(sample.key)]
    result.keys = StringColumn.of([sample.key for sample in allowed])
    result.offsets = np.array([sample.offset for sample in allowed], dtype=np.int64)
    result.num_samples = len(samples)
    for sample in samples:
        if sample.audio is not None:
            rate = sample.audio.sample_rate
            result.seconds += sample.audio.num_samples / rate
            use = result.rates.get(rate, RateUse(0, sample.key, sample.offset))
            result.rates[rate] = use._replace(num_samples=use.num_samples + 1)
    _check_index(samples, result)
    if task.write_index and result.index_findings and not result.findings and len(result.rates) == 1:
        _leave_index(samples, result)


def _check_sample(file: BinaryIO, sample: ScannedSample, decode: bool, result: ShardResult) -> _CheckedSample:
    """Read one sample, and name what is wrong with its members."""
    file.seek(sample.offset)
    data = file.read(sample.size)

    def content(suffix: str) -> bytes:
        start = sample.members[suffix].offset - sample.offset
        return data[start : start + sample.members[suffix].size]

    name, audio, text = f"{result.shard}: {shown(sample.key)}", None, None
    if sample.audio_suffix is not None:
        try:
            audio = check_audio(content(sample.audio_suffix), decode=decode)
        except _ContentError as error:
            result.name(error.kind, str(error), sample.key, sample.offset)
    texts = {suffix: content(suffix) for suffix in ("json", *TEXT_SUFFIXES) if suffix in sample.members}
    kind = "wrong JSON"
    try:
        metadata = metadata_of(texts, name=name)
        kind = "wrong text"
        text = transcript_of(texts, metadata, name=name) or ""
    except DataError as error:
        result.name(kind, str(error).removeprefix(f"{name}: "), sample.key, sample.offset)
    place = sample.members.get(sample.audio_suffix or "")
    start, size = (place.offset - sample.offset, place.size) if place else (0, 0)
    return _CheckedSample(sample.key, sample.offset, sample.size, zlib.crc32(data), audio, text, start, size)


def _check_index(samples: Sequence[_CheckedSample], result: ShardResult) -> None:
    """Compare the index with what the shard holds."""
    if not index_path(result.shard).is_file():
        result.name_in_index("no index", f"no {index_path(result.shard).name} beside it")
        return
    try:
        index = read_index(result.shard)
        _check_types(index)
        rows = list(zip(index.entries(), index.checksums.tolist(), index.key_hashes.tolist(), strict=True))
    except (DataError, ValueError, AttributeError) as error:
        # Damage is what read_index found in another error; by itself it finds only that the sizes differ.
        if isinstance(error, DataError) and error.__cause__ is None:
            result.name_in_index("stale index", str(error).removeprefix(f"{result.shard}: "))
        else:
            result.name_in_index("unreadable index", f"not an index ({error.__cause__ or error})")
        return
    is_same_file = index.sha256 == file_sha256(result.shard)
    if not is_same_file:
        result.name_in_index("stale index", f"the shard's SHA-256 is not the one in its index, {_short(index.sha256)}")
    for rate in sorted(rate for rate in result.rates if rate != index.sample_rate):
        _, key, offset = result.rates[rate]
        result.name_in_index("stale index", f"{rate} Hz, but {index.sample_rate} Hz in the index", key, offset)
    _compare_rows(samples, rows, result, is_same_file=is_same_file)


def _check_types(index: ShardIndex) -> None:
    """Raise ValueError for another type than is written, which would be a wrong number sooner or later."""
    if type(index.sample_rate) is not int:
        raise ValueError(f"a sample rate {index.sample_rate!r}, expected a whole number")
    texts = index.texts or StringColumn.of([])
    types = {
        "int64": (
            *(index.offsets, index.sizes, index.audio_starts, index.audio_sizes),
            *(index.num_samples, index.keys.ends, texts.ends),
        ),
        "uint64": (index.key_hashes,),
        "uint32": (index.checksums,),
        "uint8": (index.keys.data, texts.data),
    }
    for expected, columns in types.items():
        for column in columns:
            if column.dtype != expected:
                raise ValueError(f"a column of type {column.dtype}, expected {expected}")


def _compare_rows(
    samples: Sequence[_CheckedSample],
    rows: list[tuple[SampleEntry, int, int]],
    result: ShardResult,
    *,
    is_same_file: bool,
) -> None:
    """Compare row by row; a sample that was changed after it was indexed is the shard's fault, not the index's."""
    num_before = len(result.findings) + len(result.index_findings)
    row_of_key = {entry.key: (entry, checksum, hashed) for entry, checksum, hashed in rows}
    for sample in samples:
        row = row_of_key.pop(sample.key, None)
        if row is None:
            result.name_in_index("wrong index row", "in the shard, but not in its index", sample.key, sample.offset)
            continue
        entry, checksum, hashed = row
        if not is_same_file and entry[1:3] == sample[1:3] and checksum != sample.checksum:
            detail = (
                "its bytes are not those that were indexed, though in the same place: the shard is damaged or was "
                "edited; restore it, or delete the index if the change is wanted"
            )
            result.name("changed since indexed", detail, sample.key, sample.offset)
            continue
        if differences := _differences(sample, entry, checksum, hashed):
            result.name_in_index("wrong index row", ", ".join(differences), sample.key, sample.offset)
    for entry, _, _ in row_of_key.values():
        detail = "in the index, but not in the shard as far as it can be read"
        result.name_in_index("wrong index row", detail, entry.key, entry.offset)
    in_order = [entry.key for entry, _, _ in rows] == [sample.key for sample in samples]
    if not in_order and num_before == len(result.findings) + len(result.index_findings):
        result.name_in_index("wrong index row", "its rows are not in the order of the shard, or one is there twice")


def _differences(sample: _CheckedSample, entry: SampleEntry, checksum: int, hashed: int) -> list[str]:
    """Fields of an index row that are not as in the shard."""
    pairs: list[tuple[str, object, object]] = [
        ("offset", entry.offset, sample.offset),
        ("size", entry.size, sample.size),
        ("CRC-32", checksum, sample.checksum),
        ("key hash", hashed, key_hash(entry.key)),
    ]
    if sample.audio is not None:
        pairs.append(("number of audio samples", entry.num_samples, sample.audio.num_samples))
        pairs.append(("audio start", entry.audio_start, sample.audio_start))
        pairs.append(("audio size", entry.audio_size, sample.audio_size))
    if sample.text is not None:
        pairs.append(("text", entry.text, sample.text))
    return [f"{name} {_short(found)}, expected {_short(wanted)}" for name, found, wanted in pairs if found != wanted]


def _short(value: object) -> str:
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _leave_index(samples: Sequence[_CheckedSample], result: ShardResult) -> None:
    """Write the index under its partial name: the set as a whole may still have a say."""
    entries = [
        SampleEntry(
            sample.key,
            sample.offset,
            sample.size,
            sample.audio.num_samples,
            sample.text or "",
            sample.audio_start,
            sample.audio_size,
        )
        for sample in samples
        if sample.audio is not None
    ]
    try:
        write_index(result.shard, next(iter(result.rates)), entries, _partial_index(result.shard))
    except OSError as error:
        detail = f"its new index cannot be written ({error.strerror or error}); free some space or see to permissions"
        result.name("index not written", detail)
    else:
        result.index_is_ready = True


def _publish_index(result: ShardResult) -> bool:
    """Give a waiting index its name if the shard is still without problems; whether that was done."""
    if not result.index_is_ready or result.findings:
        return False
    _partial_index(result.shard).replace(index_path(result.shard))
    result.index_findings.clear()
    return True


def _partial_index(shard: Path) -> Path:
    return shard.with_name(f"{PARTIAL}verify_{index_path(shard).name}")


def check_audio(data: bytes, *, decode: bool) -> _AudioFacts:
    """Number of samples and rate of an encoded mono file.

    With ``decode`` it is decoded in pieces, and what the format itself carries as proof is used: the MD5 of the
    samples in FLAC, the checksums and numbers of the pages in Ogg, whose damaged pages decoders drop silently, and the
    length of a WAV file, which they shorten to what is there.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            facts = _AudioFacts(file.frames, file.samplerate)
            if file.channels != 1:
                raise _ContentError("not mono", f"{file.channels} channels, expected 1; {_MAKE_AGAIN}")
            if decode and file.format == "OGG":
                _check_pages(data)
            if decode and data[:4] == b"RIFF":
                _check_length(data)
            num_decoded = _decode(file, data) if decode else facts.num_samples
    except RuntimeError as error:
        reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
        raise _ContentError("corrupt audio", f"cannot be decoded ({reason}); {_MAKE_AGAIN}") from error
    if num_decoded != facts.num_samples:
        detail = f"{num_decoded} samples, expected {facts.num_samples} as its header says; {_MAKE_AGAIN}"
        raise _ContentError("corrupt audio", detail)
    if not num_decoded:
        raise _ContentError("corrupt audio", f"holds no samples; {_MAKE_AGAIN}")
    return facts


def _decode(file: soundfile.SoundFile, data: bytes) -> int:
    """Decode to the end and return the number of samples."""
    bits, wanted = _flac_proof(data)
    width = 16 if bits <= 16 else 32
    digest, num_samples = hashlib.md5(usedforsecurity=False), 0
    while len(block := file.read(_DECODED_AT_ONCE, dtype=f"int{width}" if bits else "float32")):
        num_samples += len(block)
        if bits:  # the MD5 is that of little-endian integers in as few bytes as hold them
            integers = (block >> (width - bits)).astype(f"<i{width // 8}", copy=False)
            digest.update(integers.view(np.uint8).reshape(len(block), -1)[:, : -(-bits // 8)].tobytes())
        elif not np.isfinite(block).all():
            raise _ContentError("corrupt audio", f"holds samples that are not finite numbers; {_MAKE_AGAIN}")
    if bits and digest.digest() != wanted:
        raise _ContentError("corrupt audio", f"its samples are not those of the MD5 in its header; {_MAKE_AGAIN}")
    return num_samples


def _flac_proof(data: bytes) -> tuple[int, bytes]:
    """Bits per sample and MD5 of the samples, from the STREAMINFO block of a FLAC file; 0 bits if it has no MD5."""
    md5 = data[26:42]
    if data[:4] != b"fLaC" or not any(md5):
        return 0, b""
    return (int.from_bytes(data[18:26], "big") >> 36 & 31) + 1, md5


def _check_length(data: bytes) -> None:
    """Check the length in a WAV file's header, unless it was written to a pipe, when nobody knew it yet."""
    expected = int.from_bytes(data[4:8], "little") + 8
    if len(data) + 1 < expected < _LENGTH_UNKNOWN:
        raise _ContentError("corrupt audio", f"{len(data)} bytes of {expected} in its header; {_MAKE_AGAIN}")


def _check_pages(data: bytes) -> None:
    """Check CRC-32 and number of every page of an Ogg file (RFC 3533, section 6)."""
    position, next_number = 0, dict[bytes, int]()
    while position < len(data):
        num_segments = data[position + 26] if position + 27 <= len(data) else 0
        size = 27 + num_segments + sum(data[position + 27 : position + 27 + num_segments])
        page = data[position : position + size]
        serial, number = page[14:18], int.from_bytes(page[18:22], "little")
        if page[:4] != b"OggS" or len(page) < size or _page_checksum(page) != page[22:26]:
            raise _ContentError("corrupt audio", f"its Ogg page at byte {position} is damaged; {_MAKE_AGAIN}")
        if number != next_number.get(serial, number):
            detail = f"Ogg page {number} at byte {position}, expected page {next_number[serial]}; {_MAKE_AGAIN}"
            raise _ContentError("corrupt audio", detail)
        next_number[serial] = number + 1
        position += size


def _page_checksum(page: bytes) -> bytes:
    """Ogg's CRC-32: zlib's polynomial with the bits of all bytes reversed, starting from 0, not inverted at the end."""
    reversed_page = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED_BITS)
    checksum = zlib.crc32(reversed_page, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return checksum.to_bytes(4, "big").translate(_REVERSED_BITS)


def check_in_processes(
    tasks: Sequence[ShardTask], num_workers: int, check: Callable[[ShardTask], ShardResult] = check_shard
) -> Iterator[ShardResult]:
    """Check shards in so many processes (0: one per core), and yield the results as they come.

    A process checks one shard at a time and is replaced if it dies, so that the shard that killed it is known.
    """
    count = min(num_workers or num_cores(), len(tasks))
    idle: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
    for _ in range(count):
        idle.put(_new_process())

    def check_next(task: ShardTask) -> ShardResult:
        process = idle.get()
        try:
            return process.submit(check, task).result()
        except BrokenProcessPool:
            process.shutdown(wait=False)
            process = _new_process()
            return _killed(task.shard)
        finally:
            idle.put(process)

    threads = ThreadPoolExecutor(count)
    try:
        for future in as_completed([threads.submit(check_next, task) for task in tasks]):
            yield future.result()
    finally:
        threads.shutdown(cancel_futures=True)
        for _ in range(count):
            idle.get().shutdown()


def _new_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_begin_process)


def _begin_process() -> None:
    """Die with the parent and at Ctrl-C, without a word: the parent speaks."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _killed(shard: Path) -> ShardResult:
    detail = (
        "the process that checked it was killed: memory ran out (try a smaller --num_workers) or a decoder crashed; "
        f"if it happens again with --num_workers 1, {_MAKE_AGAIN}"
    )
    result = ShardResult(shard)
    result.name("killed its process", detail)
    return result


def check_set(results: Sequence[ShardResult]) -> None:
    """Add to the results what can be seen only across shards: keys in two of them, and more than one sample rate."""
    uses: Counter[int] = Counter()
    for result in results:
        uses.update({rate: use.num_samples for rate, use in result.rates.items()})
    usual_rate = max(uses, key=lambda rate: (uses[rate], rate), default=0)
    for result in results:
        for rate in sorted(result.rates.keys() - {usual_rate}):
            num_samples, key, offset = result.rates[rate]
            detail = (
                f"{num_samples} samples at {rate} Hz, this one the first; expected {usual_rate} Hz as most of the set "
                "has; make these shards again with that --sample_rate"
            )
            result.name("other sample rate", detail, key, offset)
    _check_shared_keys(results)
    for result in results:
        result.findings.sort(key=lambda finding: finding.offset or 0)


def _check_shared_keys(results: Sequence[ShardResult]) -> None:
    hashes = np.array([key_hash(key) for result in results for key in result.keys], dtype=np.uint64)
    counts = [len(result.keys) for result in results]
    owners, starts = np.repeat(np.arange(len(results)), counts), np.cumsum([0, *counts])
    order = np.argsort(hashes, kind="stable")
    for i in np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]]):
        (one, row), (other, other_row) = [
            (results[owners[n]], int(n - starts[owners[n]])) for n in (order[i], order[i + 1])
        ]
        key = one.keys[row]
        if one is not other and key == other.keys[other_row]:
            detail = f"is in {one.shard} too; a key must occur once in a set: rename or remove one"
            other.name("key in two shards", detail, key, int(other.offsets[other_row]))


def check_folder(folder: Path) -> list[Finding]:
    """Shards that are missing from a folder, and files that should not be there."""
    findings: list[Finding] = []

    def name(path: Path, kind: str, detail: str) -> None:
        findings.append(Finding(str(path), kind, "", None, detail))

    for work in (folder / UNFINISHED, folder.parent / UNFINISHED):
        if work.is_dir():
            name(work, "unfinished set", "these shards were never finished; give the command that makes them again")
    listed = _listed_shards(folder, findings)
    missing = sorted(path for path in listed if not path.is_file())
    for path in missing:
        name(path, "missing shard", f"{REPORT_FILE} lists it; copy it here again, or make the set again")
    known = {path.name for path in folder.glob("*.tar")} | {path.name for path in listed if path.parent == folder}
    for gap in _gaps(known):
        detail = "the numbering has a gap here; copy what is missing here again, or make the set again"
        name(folder / gap, "missing shard", detail)
    for path in sorted(folder.glob(f"*.tar{INDEX_SUFFIX}")):
        shard = path.name.removesuffix(INDEX_SUFFIX)
        if shard not in known and not shard.startswith(PARTIAL):
            name(path, "index without a shard", f"no {shard} beside it; copy the shard here again, or delete its index")
    for path in sorted(folder.glob(f"{PARTIAL}*")):
        detail = "something that was interrupted left it; give its command again, or delete the file"
        name(path, "leftover file", detail)
    return findings


def _listed_shards(folder: Path, findings: list[Finding]) -> set[Path]:
    """Shards of a folder in the reports of ``speechssl shard``: its own, and that above it, for a part of a split."""
    listed = set()
    for base in (folder, folder.parent):
        try:
            shards = json.loads((base / REPORT_FILE).read_text(encoding="utf-8"))["shards"]
            listed |= {base / name for name in shards if folder in (base / name).parents}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            if base == folder:  # the one above may be a report of something else
                detail = f"not a report of shards ({error!r}), so that missing ones cannot be seen; make the set again"
                findings.append(Finding(str(base / REPORT_FILE), "unreadable report", "", None, detail))
    return listed


def _gaps(names: set[str]) -> Iterator[str]:
    """Missing numbers of shard-NNNNNN.tar from 0 to the highest, runs of them as one."""
    found = sorted({int(match[1]) for name in names if (match := re.fullmatch(r"shard-(\d{6,})\.tar", name))})
    for before, after in zip([-1, *found], found, strict=False):
        first, last = f"shard-{before + 1:06d}.tar", f"shard-{after - 1:06d}.tar"
        if after > before + 1:
            yield first if first == last else f"{first} to {last}"


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
    words = [shown(finding.key)] if finding.key else []
    words += [] if finding.offset is None else [f"at byte {finding.offset}"]
    return f"{' '.join(words)}: " if words else ""


def _totals(report: VerificationReport) -> str:
    return f"{report.num_shards} shards, {report.num_samples} samples, {report.seconds / 3600:,.2f} hours"


def _print(report: VerificationReport, console: Console) -> None:
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


def _save(report: VerificationReport, path: Path) -> None:
    content = {
        "num_shards": report.num_shards,
        "num_samples": report.num_samples,
        "seconds": round(report.seconds, 3),
        "num_indexes_written": report.num_indexes_written,
        "findings": [finding._asdict() for finding in report.findings],
    }
    partial = path.with_name(PARTIAL + path.name)
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
