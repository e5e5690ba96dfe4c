"""An index against what its shard holds; and the writing of a new one."""

from collections.abc import Sequence
from pathlib import Path

from speechssl.errors import DataError
from speechssl.outputs import PARTIAL
from speechssl.shards.index import (
    SampleEntry,
    ShardIndex,
    StringColumn,
    file_sha256,
    index_path,
    key_hash,
    read_index,
    write_index,
)
from speechssl.shards.verify.results import CheckedSample, ShardResult


def check_index(samples: Sequence[CheckedSample], result: ShardResult) -> None:
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
    samples: Sequence[CheckedSample],
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


def _differences(sample: CheckedSample, entry: SampleEntry, checksum: int, hashed: int) -> list[str]:
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


def leave_index(samples: Sequence[CheckedSample], result: ShardResult) -> None:
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
        write_index(result.shard, next(iter(result.rates)), entries, partial_index(result.shard))
    except OSError as error:
        detail = f"its new index cannot be written ({error.strerror or error}); free some space or see to permissions"
        result.name("index not written", detail)
    else:
        result.index_is_ready = True


def publish_index(result: ShardResult) -> bool:
    """Give a waiting index its name if the shard is still without problems; whether that was done."""
    if not result.index_is_ready or result.findings:
        return False
    partial_index(result.shard).replace(index_path(result.shard))
    result.index_findings.clear()
    return True


def partial_index(shard: Path) -> Path:
    return shard.with_name(f"{PARTIAL}verify_{index_path(shard).name}")
