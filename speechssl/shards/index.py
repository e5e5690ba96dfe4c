"""The index beside each shard: what it holds and where, so that nothing is read to know how long it is.

An index is a safetensors file of the columns of ``table.py``, one row per sample in the order of the shard; those of
texts are UTF-8, one after the other, with a column that says where each ends (``keys`` and ``key_ends``). The format's
version, the sample rate, and the size and SHA-256 of the tar are JSON in its metadata. Columns, since the index of
10,000 hours has to be read in a second.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from speechssl.errors import DataError
from speechssl.files import written_whole
from speechssl.shards.table import COLUMNS, OPTIONAL, SampleEntry, SampleTable, StringColumn, columns_of_entries

INDEX_SUFFIX = ".index"
VERSION = 3
METADATA_KEY = "speechssl_index"


@dataclass(frozen=True, eq=False, kw_only=True)
class ShardIndex(SampleTable):
    """Index of one shard."""

    shard: Path | str
    """Path, or the name of a shard that is elsewhere."""
    sample_rate: int
    """Hz."""
    shard_bytes: int
    """Size of the tar."""
    sha256: str
    """Checksum of the tar."""


def index_path(shard: Path) -> Path:
    """Where the index of a shard lies."""
    return shard.with_name(shard.name + INDEX_SUFFIX)


def write_index(shard: Path, sample_rate: int, entries: Sequence[SampleEntry], path: Path, sha256: str = "") -> None:
    """Write the index of a shard to ``path``; without ``sha256`` the shard is read for it."""
    columns: dict[str, np.ndarray] = {}
    for name, column in columns_of_entries(entries).items():
        if isinstance(column, StringColumn):
            columns |= {name: column.data, _ends_of(name): column.ends}
        else:
            columns[name] = column
    facts = {
        "version": VERSION,
        "sample_rate": sample_rate,
        "shard_bytes": shard.stat().st_size,
        "sha256": sha256 or file_sha256(shard),
    }
    with written_whole(path) as partial:
        # One entry, since safetensors writes several in any order, and the same shard should have the same index.
        partial.write_bytes(save(columns, {METADATA_KEY: json.dumps(facts)}))


def _ends_of(name: str) -> str:
    return f"{name.removesuffix('s')}_ends"


def read_index(shard: Path, *, with_texts: bool = True) -> ShardIndex:
    """Read the index beside a shard; speakers and languages are with the texts.

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
        said = f"{found} bytes, expected {index.shard_bytes} as its index says"
        raise DataError(str(shard), said, "the shard is cut off or was replaced, make it again")
    return index


def load_index(path: Path, shard: Path | str, *, with_texts: bool = True) -> ShardIndex:
    """Read the index in a file, wherever its shard is.

    Raises:
        DataError: damaged; names the file, or the shard if that is elsewhere.
    """
    try:
        return _read(shard, path, with_texts=with_texts)
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        name = path if isinstance(shard, Path) else f"{shard}{INDEX_SUFFIX}"
        raise DataError(
            f"{name}: is not an index of version {VERSION} ({error}); make it again with "
            "`speechssl verify --write_index`"
        ) from error


def _read(shard: Path | str, path: Path, *, with_texts: bool) -> ShardIndex:
    columns: dict[str, Any] = {}
    with safe_open(path, framework="numpy") as file:
        facts: dict[str, Any] = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
        if not isinstance(facts, dict):
            raise ValueError(f"its facts are a {type(facts).__name__}")
        if facts.get("version") != VERSION:
            raise ValueError(f"its version is {facts.get('version')}")
        if type(facts["sample_rate"]) is not int:
            raise ValueError(f"its sample rate is {facts['sample_rate']!r}")
        for name, dtype in ((column.name, column.metadata["dtype"]) for column in COLUMNS):
            if name in OPTIONAL and not with_texts:
                continue
            if dtype:
                columns[name] = _column(file, name, dtype)
            else:
                columns[name] = StringColumn(_column(file, name, "uint8"), _column(file, _ends_of(name), "int64"))
    if len({len(column) for column in columns.values()}) != 1:
        raise ValueError("its columns differ in length")
    about = {name: facts[name] for name in ("sample_rate", "shard_bytes", "sha256")}
    return ShardIndex(shard=shard, **about, **columns)


def _column(file: Any, name: str, dtype: str) -> np.ndarray:
    """A column of the type that is written; another would be a wrong number sooner or later."""
    column: np.ndarray = file.get_tensor(name)
    if column.dtype != dtype:
        raise ValueError(f"its column {name} is of type {column.dtype}, expected {dtype}")
    return column


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
