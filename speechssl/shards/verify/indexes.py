"""An index against what its shard holds; and the writing of a new one."""

from collections.abc import Sequence
from pathlib import Path

from speechssl.errors import DataError
from speechssl.files import PARTIAL
from speechssl.shards.index import file_sha256, index_path, read_index, write_index
from speechssl.shards.table import SampleEntry, key_hash
from speechssl.shards.verify.results import CheckedSample, ShardResult

_OF_AUDIO = ("num_samples", "audio_start", "audio_size")
_OF_TEXTS = ("text", "speaker", "language")


def check_index(samples: Sequence[CheckedSample], result: ShardResult) -> None:
    """Compare the index with what the shard holds."""
    if not index_path(result.shard).is_file():
        result.name_in_index("no index", f"no {index_path(result.shard).name} beside it")
        return
    try:
        index = read_index(result.shard)
        rows = index.entries()
    except (DataError, ValueError) as error:
        # Damage is what read_index found in another error; by itself it finds only that the sizes differ.
        if isinstance(error, DataError) and error.__cause__ is None:
            result.name_in_index("stale index", error.detail)
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
    for row, hashed in zip(rows, index.key_hashes.tolist(), strict=True):
        if hashed != key_hash(row.key):
            result.name_in_index("wrong index row", "its hash is not that of its key", row.key, row.offset)


def _compare_rows(
    samples: Sequence[CheckedSample], rows: Sequence[SampleEntry], result: ShardResult, *, is_same_file: bool
) -> None:
    """Compare row by row; a sample that was changed after it was indexed is the shard's fault, not the index's."""
    num_before = len(result.findings) + len(result.index_findings)
    row_of_key = {row.key: row for row in rows}
    for sample in samples:
        true = sample.entry
        row = row_of_key.pop(true.key, None)
        if row is None:
            result.name_in_index("wrong index row", "in the shard, but not in its index", true.key, true.offset)
            continue
        is_in_place = (row.offset, row.size) == (true.offset, true.size)
        if not is_same_file and is_in_place and row.checksum != true.checksum:
            detail = (
                "its bytes are not those that were indexed, though in the same place: the shard is damaged or was "
                "edited; restore it, or delete the index if the change is wanted"
            )
            result.name("changed since indexed", detail, true.key, true.offset)
            continue
        if differences := _differences(sample, row):
            result.name_in_index("wrong index row", ", ".join(differences), true.key, true.offset)
    for row in row_of_key.values():
        detail = "in the index, but not in the shard as far as it can be read"
        result.name_in_index("wrong index row", detail, row.key, row.offset)
    in_order = [row.key for row in rows] == [sample.entry.key for sample in samples]
    if not in_order and num_before == len(result.findings) + len(result.index_findings):
        result.name_in_index("wrong index row", "its rows are not in the order of the shard, or one is there twice")


def _differences(sample: CheckedSample, row: SampleEntry) -> list[str]:
    """Fields of an index row that are not as in the shard, of those that can be known."""
    unknown = {*(_OF_AUDIO if sample.audio is None else ()), *(() if sample.is_readable else _OF_TEXTS)}
    found = vars(row)
    return [
        f"{name} {_short(found[name])}, expected {_short(wanted)}"
        for name, wanted in vars(sample.entry).items()
        if name not in unknown and found[name] != wanted
    ]


def _short(value: object) -> str:
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def leave_index(samples: Sequence[CheckedSample], result: ShardResult) -> None:
    """Write the index under its partial name: the set as a whole may still have a say."""
    entries = [sample.entry for sample in samples if sample.audio is not None]
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
