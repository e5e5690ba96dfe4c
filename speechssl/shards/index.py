"""The index beside each shard: what it holds and where, so that nothing is read to know how long it is.

An index is a safetensors file of columns, one row per sample in the order of the shard::

    offsets, sizes    bytes of the sample's members in the tar, headers and padding included
    audio_starts,     where in those bytes the encoded audio is, and how long
    audio_sizes
    num_samples       audio samples
    checksums         CRC-32 of all of a sample's bytes
    key_hashes        first 8 bytes of the key's BLAKE2b, to find equal keys in different shards
    keys, texts       UTF-8 of all keys, and of all transcripts, one after the other; *_ends say where each ends

with the format's version, the sample rate, and the size and SHA-256 of the tar as JSON in its metadata. Columns, since
the index of 10,000 hours has to be read in a second.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from speechssl.errors import DataError

INDEX_SUFFIX = ".index"
VERSION = 3
METADATA_KEY = "speechssl_index"
NUMBERS = ("offsets", "sizes", "audio_starts", "audio_sizes", "num_samples", "checksums", "key_hashes")
"""Columns of numbers."""
_COLUMNS = (*NUMBERS, "keys", "key_ends", "texts", "text_ends")


class SampleEntry(NamedTuple):
    """One sample of a shard."""

    key: str
    """Its name in the shard, unique in a corpus."""
    offset: int
    """First byte of its first tar header."""
    size: int
    """Bytes of its members, headers and padding included."""
    num_samples: int
    """Audio samples."""
    text: str
    """Transcript; empty if there is none."""
    audio_start: int
    """First byte of its encoded audio, counted from offset."""
    audio_size: int
    """Bytes of it."""


class StringColumn:
    """Many short texts in one block of UTF-8.

    Args:
        data: the texts one after the other, uint8 (bytes,).
        ends: where each ends in data, int64 (N,).
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray) -> None:
        self.data = data
        self.ends = ends

    @classmethod
    def of(cls, texts: Sequence[str]) -> "StringColumn":
        """Column of these texts."""
        encoded = [text.encode() for text in texts]
        ends = np.cumsum([len(item) for item in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    @classmethod
    def joined(cls, columns: Sequence["StringColumn"]) -> "StringColumn":
        """One column after the other."""
        shifts = np.cumsum([0, *(column.data.size for column in columns[:-1])])
        ends = [column.ends + shift for column, shift in zip(columns, shifts, strict=True)]
        return cls(np.concatenate([column.data for column in columns]), np.concatenate(ends))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, i: int) -> str:
        start = self.ends[i - 1] if i else 0
        return self.data[start : self.ends[i]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Index of one shard; the columns have one row per sample, (N,)."""

    shard: Path | str
    """Path, or the name of a shard that is elsewhere."""
    sample_rate: int
    """Hz."""
    shard_bytes: int
    """Size of the tar."""
    sha256: str
    """Checksum of the tar."""
    offsets: np.ndarray
    sizes: np.ndarray
    audio_starts: np.ndarray
    audio_sizes: np.ndarray
    num_samples: np.ndarray
    checksums: np.ndarray
    key_hashes: np.ndarray
    keys: StringColumn
    texts: StringColumn | None
    """None if they were not asked for."""

    def __len__(self) -> int:
        return len(self.offsets)

    def entries(self) -> list[SampleEntry]:
        """Every row; the transcripts are empty if they were not read."""
        texts = self.texts or [""] * len(self)
        before = (self.offsets, self.sizes, self.num_samples)
        after = (self.audio_starts, self.audio_sizes)
        rows = zip(self.keys, *(c.tolist() for c in before), texts, *(c.tolist() for c in after), strict=True)
        return [SampleEntry(*row) for row in rows]


def index_path(shard: Path) -> Path:
    """Where the index of a shard lies."""
    return shard.with_name(shard.name + INDEX_SUFFIX)


class ShardSums(NamedTuple):
    """What proves that a shard is the one that was indexed."""

    num_bytes: int
    """Of the tar."""
    sha256: str
    """Of the tar, hexadecimal."""
    checksums: np.ndarray
    """CRC-32 of each sample's bytes, uint32 (N,)."""


def write_index(
    shard: Path, sample_rate: int, entries: Sequence[SampleEntry], path: Path, sums: ShardSums | None = None
) -> None:
    """Write the index of a shard to ``path``, and sync it; without ``sums`` the shard is read for them."""
    sums = sums or ShardSums(shard.stat().st_size, file_sha256(shard), checksums_of(shard, entries))
    keys, texts = (StringColumn.of(column) for column in ([e.key for e in entries], [e.text for e in entries]))
    columns: dict[str, np.ndarray] = {
        "offsets": np.array([entry.offset for entry in entries], dtype=np.int64),
        "sizes": np.array([entry.size for entry in entries], dtype=np.int64),
        "audio_starts": np.array([entry.audio_start for entry in entries], dtype=np.int64),
        "audio_sizes": np.array([entry.audio_size for entry in entries], dtype=np.int64),
        "num_samples": np.array([entry.num_samples for entry in entries], dtype=np.int64),
        "checksums": sums.checksums,
        "key_hashes": np.array([key_hash(entry.key) for entry in entries], dtype=np.uint64),
        "keys": keys.data,
        "key_ends": keys.ends,
        "texts": texts.data,
        "text_ends": texts.ends,
    }
    facts = {
        "version": VERSION,
        "sample_rate": sample_rate,
        "shard_bytes": sums.num_bytes,
        "sha256": sums.sha256,
    }
    with path.open("wb") as file:
        # One entry, since safetensors writes several in any order, and the same shard should have the same index.
        file.write(save(columns, {METADATA_KEY: json.dumps(facts)}))
        file.flush()
        os.fsync(file.fileno())


def read_index(shard: Path, *, with_texts: bool = True) -> ShardIndex:
    """Read the index beside a shard.

    Raises:
        DataError: absent, damaged, or of a shard of another size.
    """
    path = index_path(shard)
    if not path.is_file():
        raise DataError(
            f"{shard}: has no index {path.name}; make the shards with `speechssl shard`, or give shards from elsewhere "
            "their index with `speechssl verify --write_index`"
        )
    index = load_index(path, shard, with_texts=with_texts)
    found = shard.stat().st_size
    if found != index.shard_bytes:
        raise DataError(
            f"{shard}: {found} bytes, expected {index.shard_bytes} as its index says; "
            "the shard is cut off or was replaced, make it again"
        )
    return index


def load_index(path: Path, shard: Path | str, *, with_texts: bool = True) -> ShardIndex:
    """Read the index in a file, wherever its shard is.

    Raises:
        DataError: damaged; names the file, or the shard if that is elsewhere.
    """
    try:
        return _read_columns(shard, path, with_texts=with_texts)
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        name = path if isinstance(shard, Path) else f"{shard}{INDEX_SUFFIX}"
        raise DataError(
            f"{name}: is not an index of version {VERSION} ({error}); make it again with "
            "`speechssl verify --write_index`"
        ) from error


def _read_columns(shard: Path | str, path: Path, *, with_texts: bool) -> ShardIndex:
    with safe_open(path, framework="numpy") as file:
        facts: dict[str, Any] = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
        if not isinstance(facts, dict):
            raise ValueError(f"its facts are a {type(facts).__name__}")
        if facts.get("version") != VERSION:
            raise ValueError(f"its version is {facts.get('version')}")
        wanted = _COLUMNS if with_texts else _COLUMNS[:-2]
        columns: dict[str, Any] = {name: file.get_tensor(name) for name in wanted}
    if len({len(columns[name]) for name in wanted if name not in ("keys", "texts")}) != 1:
        raise ValueError("its columns differ in length")
    keys, key_ends = columns.pop("keys"), columns.pop("key_ends")
    texts = StringColumn(columns.pop("texts"), columns.pop("text_ends")) if with_texts else None
    return ShardIndex(
        shard,
        facts["sample_rate"],
        facts["shard_bytes"],
        facts["sha256"],
        **columns,
        keys=StringColumn(keys, key_ends),
        texts=texts,
    )


def checksums_of(shard: Path, entries: Sequence[SampleEntry]) -> np.ndarray:
    """CRC-32 of each sample's bytes in a shard, uint32 (N,)."""
    checksums = np.empty(len(entries), dtype=np.uint32)
    with shard.open("rb") as file:
        for i, entry in enumerate(entries):
            file.seek(entry.offset)
            checksums[i] = zlib.crc32(file.read(entry.size))
    return checksums


def key_hash(key: str) -> int:
    """Unsigned 64-bit hash of a key, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
