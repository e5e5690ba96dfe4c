"""Samples in columns, and one sample of them; what a sample has is said here once, for files, checks and corpora."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np


def key_hash(key: str) -> int:
    """Unsigned 64-bit hash of a key, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class SampleEntry:
    """One sample of a shard."""

    key: str
    """Its name in the shard, unique in a set."""
    offset: int
    """First byte of its first tar header."""
    size: int
    """Bytes of its members, headers and padding included."""
    num_samples: int
    """Audio samples."""
    audio_start: int
    """First byte of its encoded audio, counted from offset."""
    audio_size: int
    """Bytes of its encoded audio."""
    checksum: int
    """CRC-32 of its bytes."""
    text: str | None = None
    """Transcript, empty if there is none; None if it is not known, as texts were not asked for."""
    speaker: str | None = None
    """Who speaks; the same."""
    language: str | None = None
    """The same."""

    @property
    def key_hash(self) -> int:
        """Hash of its key."""
        return key_hash(self.key)


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

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, i: int) -> str:
        start = self.ends[i - 1] if i else 0
        return self.data[start : self.ends[i]].tobytes().decode()

    item = __getitem__
    """As arrays have it."""

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def take(self, rows: np.ndarray) -> "StringColumn":
        """Column of some rows, (M,), in their order."""
        return StringColumn.of([self[i] for i in rows])


Column = np.ndarray | StringColumn


def _of(name: str, dtype: str = "") -> dict[str, str]:
    """About a column: the name that each sample has for it, and its type, if it is not of texts."""
    return {"of": name, "dtype": dtype}


@dataclass(frozen=True, eq=False, kw_only=True)
class SampleTable:
    """Samples in columns with one row each, (N,), in the order of shards and offsets.

    Those that may be None were not asked for.
    """

    offsets: np.ndarray = field(metadata=_of("offset", "int64"))
    sizes: np.ndarray = field(metadata=_of("size", "int64"))
    audio_starts: np.ndarray = field(metadata=_of("audio_start", "int64"))
    audio_sizes: np.ndarray = field(metadata=_of("audio_size", "int64"))
    num_samples: np.ndarray = field(metadata=_of("num_samples", "int64"))
    checksums: np.ndarray = field(metadata=_of("checksum", "uint32"))
    key_hashes: np.ndarray = field(metadata=_of("key_hash", "uint64"))
    """In a corpus, of the sample's checksum too where another set has the same key."""
    keys: StringColumn = field(metadata=_of("key"))
    """In a corpus, after the name of the set and a slash where another set has the same key."""
    texts: StringColumn | None = field(default=None, metadata=_of("text"))
    speakers: StringColumn | None = field(default=None, metadata=_of("speaker"))
    languages: StringColumn | None = field(default=None, metadata=_of("language"))

    def __len__(self) -> int:
        return len(self.offsets)

    def entries(self) -> list[SampleEntry]:
        """Every row."""
        return [SampleEntry(**self.row(i)) for i in range(len(self))]

    @cached_property
    def _columns(self) -> list[tuple[str, Any]]:
        columns = ((of, getattr(self, name)) for name, of in _OF_ENTRIES)
        return [(of, column) for of, column in columns if column is not None]

    def row(self, i: int) -> dict[str, Any]:
        """What is known of one row, by the names that a sample has for it."""
        return {of: column.item(i) for of, column in self._columns}

    def taken(self, rows: np.ndarray) -> dict[str, Any]:
        """Columns of some rows, (M,), in their order."""
        columns = {column.name: getattr(self, column.name) for column in COLUMNS}
        return {name: None if column is None else column.take(rows) for name, column in columns.items()}


COLUMNS = fields(SampleTable)
_OF_ENTRIES = [(column.name, column.metadata["of"]) for column in COLUMNS if column.name != "key_hashes"]
OPTIONAL = tuple(column.name for column in COLUMNS if column.default is None)


def columns_of_entries(entries: Sequence[SampleEntry]) -> dict[str, Any]:
    """Columns of rows."""
    found: dict[str, Any] = {}
    for column in COLUMNS:
        values = [getattr(entry, column.metadata["of"]) for entry in entries]
        dtype = column.metadata["dtype"]
        found[column.name] = (
            np.array(values, dtype=dtype) if dtype else StringColumn.of([text or "" for text in values])
        )
    return found


def joined(tables: Sequence[SampleTable]) -> dict[str, Any]:
    """Columns of one table after the other; None for those that one of them has not."""
    return {column.name: _joined([getattr(table, column.name) for table in tables]) for column in COLUMNS}


def _joined(parts: Sequence[Any]) -> Column | None:
    if any(part is None for part in parts):
        return None
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    shifts = np.cumsum([0, *(part.data.size for part in parts[:-1])])
    ends = [part.ends + shift for part, shift in zip(parts, shifts, strict=True)]
    return StringColumn(np.concatenate([part.data for part in parts]), np.concatenate(ends))


def equal_rows(*columns: np.ndarray) -> np.ndarray:
    """Pairs of rows that are the same in all of some columns, (N,), each row with the next one: (P, 2)."""
    order = np.lexsort(columns)
    same = np.all([column[order][1:] == column[order][:-1] for column in columns], axis=0)
    return np.stack([order[:-1], order[1:]], axis=1)[same]
