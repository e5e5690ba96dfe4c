"""The index beside each shard: what it holds and where, so that nothing is read to know how long it is."""

import glob
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from speechssl.errors import DataError

INDEX_SUFFIX = ".index.json"
VERSION = 1


class SampleRef(NamedTuple):
    """Where one sample is, and how long."""

    shard: str
    """Path of the tar."""
    key: str
    """Its name in the shard, unique in a corpus."""
    offset: int
    """First byte of its first tar header."""
    size: int
    """Bytes of its members, headers and padding included."""
    num_samples: int
    """Audio samples."""


class Corpus(NamedTuple):
    """Samples of one or more shards."""

    refs: Sequence[SampleRef]
    sample_rate: int


@dataclass(frozen=True)
class ShardIndex:
    """Index of one shard."""

    shard: Path
    sample_rate: int
    shard_bytes: int
    """Size of the tar."""
    sha256: str
    """Checksum of the tar."""
    refs: list[SampleRef]


def index_path(shard: Path) -> Path:
    """Where the index of a shard lies."""
    return shard.with_name(shard.name + INDEX_SUFFIX)


def write_index(shard: Path, sample_rate: int, refs: Sequence[SampleRef], path: Path) -> None:
    """Write the index of a shard to ``path``."""
    content = {
        "version": VERSION,
        "sample_rate": sample_rate,
        "shard_bytes": shard.stat().st_size,
        "sha256": file_sha256(shard),
        "samples": [[ref.key, ref.offset, ref.size, ref.num_samples] for ref in refs],
    }
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())


def read_index(shard: Path) -> ShardIndex:
    """Read the index beside a shard.

    Raises:
        DataError: absent, damaged, or of a shard of another size.
    """
    path = index_path(shard)
    if not path.is_file():
        raise DataError(f"{shard}: has no index {path.name}; make the shards with `speechssl shard`")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        refs = [SampleRef(str(shard), *sample) for sample in content["samples"]]
        index = ShardIndex(shard, content["sample_rate"], content["shard_bytes"], content["sha256"], refs)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{path}: is not a shard index ({error!r}); make the shards again") from error
    found = shard.stat().st_size
    if found != index.shard_bytes:
        raise DataError(
            f"{shard}: {found} bytes, expected {index.shard_bytes} as its index says; "
            "the shard is cut off or was replaced, make it again"
        )
    return index


def find_shards(patterns: Sequence[str]) -> list[Path]:
    """Shard files of files, folders and globs, in order of path.

    Raises:
        DataError: names every pattern that matches nothing.
    """
    found: set[Path] = set()
    missing = []
    for pattern in patterns:
        path = Path(pattern)
        names = sorted(path.glob("*.tar")) if path.is_dir() else sorted(glob.glob(pattern))  # noqa: PTH207, absolute too
        matches = [Path(name) for name in names]
        if not matches:
            missing.append(
                f"{pattern}: no shards here ({'a folder without .tar files' if path.is_dir() else 'not found'})"
            )
        found.update(matches)
    if missing:
        raise DataError("\n".join(missing) + "\nMake them with `speechssl shard MANIFEST OUTPUT`.")
    return sorted(found)


def load_refs(patterns: Sequence[str]) -> Corpus:
    """Index of all shards that the patterns name, as one corpus.

    Raises:
        DataError: shards are missing or damaged, differ in sample rate, or share keys.
    """
    indexes = [read_index(shard) for shard in find_shards(patterns)]
    rates = {index.sample_rate: index.shard for index in indexes}
    if len(rates) > 1:
        listed = ", ".join(f"{shard} {rate} Hz" for rate, shard in sorted(rates.items()))
        raise DataError(f"the shards differ in sample rate: {listed}; make them again with one --sample_rate")
    refs = [ref for index in indexes for ref in index.refs]
    if not refs:
        raise DataError(f"{', '.join(patterns)}: the shards hold no samples")
    first: dict[str, str] = {}
    for ref in refs:
        if first.setdefault(ref.key, ref.shard) != ref.shard:
            raise DataError(f"{ref.key}: in {first[ref.key]} and in {ref.shard}; a key must occur once")
    return Corpus(refs, indexes[0].sample_rate)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
