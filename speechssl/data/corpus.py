"""One or more shards as one corpus, in columns: 10,000 hours fit into some hundred megabytes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from speechssl.data.index import NUMBERS, ShardIndex, StringColumn, read_index
from speechssl.data.listing import find_shards
from speechssl.data.remote.addresses import is_remote, shown_all
from speechssl.data.remote.listing import find_remote
from speechssl.data.remote.store import ShardStore
from speechssl.errors import DataError


class SampleRef(NamedTuple):
    """Where one sample is, and how long."""

    shard: str
    """Path of the tar, or its name in the store."""
    key: str
    """Its name in the shard, unique in a corpus."""
    offset: int
    """First byte of its first tar header."""
    size: int
    """Bytes of its members, headers and padding included."""
    num_samples: int
    """Audio samples."""
    checksum: int
    """CRC-32 of its bytes."""
    audio_start: int
    """First byte of its encoded audio, counted from offset."""
    audio_size: int
    """Bytes of it."""
    text: str | None
    """Transcript, empty if there is none; None if transcripts were not asked for."""
    store: ShardStore | None = None
    """Where the shard is read; None: at its path."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Samples of one or more shards; the columns have one row per sample, (N,), in order of shards and offsets."""

    sample_rate: int
    """Hz."""
    shards: Sequence[str]
    """Paths of the tars, or their names in the store."""
    shard_sources: np.ndarray
    """Position of the pattern that named each shard first, (shards,)."""
    shard_numbers: np.ndarray
    """Position of each sample's shard in ``shards``."""
    offsets: np.ndarray
    sizes: np.ndarray
    audio_starts: np.ndarray
    audio_sizes: np.ndarray
    num_samples: np.ndarray
    checksums: np.ndarray
    key_hashes: np.ndarray
    keys: StringColumn
    texts: StringColumn | None = None
    """Transcripts, empty where there is none; None if they were not asked for."""
    store: ShardStore | None = None
    """Where shards that are not on this machine are read; None if all are."""

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, i: int) -> SampleRef:
        return SampleRef(
            self.shards[self.shard_numbers[i]],
            self.keys[i],
            int(self.offsets[i]),
            int(self.sizes[i]),
            int(self.num_samples[i]),
            int(self.checksums[i]),
            int(self.audio_starts[i]),
            int(self.audio_sizes[i]),
            None if self.texts is None else self.texts[i],
            self.store,
        )

    @property
    def seconds(self) -> float:
        """Audio of all samples."""
        return int(self.num_samples.sum()) / self.sample_rate

    def digest(self, *, in_order: bool = False) -> str:
        """SHA-256 of keys and checksums, the same wherever the samples lie, in whatever order unless ``in_order``."""
        order = np.arange(len(self)) if in_order else np.argsort(self.key_hashes, kind="stable")
        digest = hashlib.sha256(str(self.sample_rate).encode())
        for column in (self.key_hashes, self.checksums):
            digest.update(np.ascontiguousarray(column[order]).data)
        return digest.hexdigest()

    def subset(self, chosen: np.ndarray) -> "Corpus":
        """Corpus of some rows, (M,), in their order."""
        columns = {name: getattr(self, name)[chosen] for name in ("shard_numbers", *NUMBERS)}
        keys = StringColumn.of([self.keys[i] for i in chosen])
        texts = None if self.texts is None else StringColumn.of([self.texts[i] for i in chosen])
        return replace(self, **columns, keys=keys, texts=texts)


def read_corpus(patterns: Sequence[str], *, with_texts: bool = False, store: ShardStore | None = None) -> Corpus:
    """Read the indexes of all shards that the patterns name; no shard is read, unless a command has to say what it is.

    Args:
        patterns: what ``find_shards`` and ``find_remote`` take.
        with_texts: read the transcripts too.
        store: for shards that are not on this machine; one with the usual cache if absent.

    Raises:
        DataError: shards are missing or damaged, differ in sample rate, or share keys.
    """
    local = [number for number, pattern in enumerate(patterns) if not is_remote(pattern)]
    paths = {path: local[i] for path, i in find_shards([patterns[number] for number in local]).items()}
    indexes = [read_index(shard, with_texts=with_texts) for shard in paths]
    sources = list(paths.values())
    if len(local) < len(patterns):
        store = store or ShardStore()
        urls = find_remote({number: p for number, p in enumerate(patterns) if is_remote(p)}, store)
        indexes += store.add(list(urls), with_texts=with_texts)
        sources += urls.values()
    rates = {index.sample_rate: index.shard for index in indexes}
    if len(rates) > 1:
        listed = ", ".join(f"{shard} {rate} Hz" for rate, shard in sorted(rates.items()))
        raise DataError(f"the shards differ in sample rate: {listed}; make them again with one --sample_rate")
    if not sum(map(len, indexes)):
        raise DataError(f"{shown_all(patterns)}: the shards hold no samples")
    corpus = join(indexes, sources)
    check_keys(corpus)
    return corpus if len(local) == len(patterns) else replace(corpus, store=store)


def join(indexes: Sequence[ShardIndex], sources: Sequence[int] | None = None) -> Corpus:
    """Indexes of one sample rate as one corpus; ``sources`` says which pattern named each, one for all if absent."""
    columns: dict[str, Any] = {name: np.concatenate([getattr(index, name) for index in indexes]) for name in NUMBERS}
    texts = [index.texts for index in indexes if index.texts is not None]
    return Corpus(
        indexes[0].sample_rate,
        [str(index.shard) for index in indexes],
        np.array([0] * len(indexes) if sources is None else sources, dtype=np.int32),
        np.repeat(np.arange(len(indexes), dtype=np.int32), [len(index) for index in indexes]),
        **columns,
        keys=StringColumn.joined([index.keys for index in indexes]),
        texts=StringColumn.joined(texts) if len(texts) == len(indexes) else None,
    )


def check_keys(corpus: Corpus) -> None:
    """Raise DataError for a key that occurs twice."""
    ordered = np.sort(corpus.key_hashes)
    if not (ordered[1:] == ordered[:-1]).any():
        return
    order = np.argsort(corpus.key_hashes, kind="stable")
    hashes = corpus.key_hashes[order]
    for i in np.flatnonzero(hashes[1:] == hashes[:-1]):
        one, other = corpus[order[i]], corpus[order[i + 1]]
        if one.key == other.key:
            where = f"twice in {one.shard}" if one.shard == other.shard else f"in {one.shard} and in {other.shard}"
            raise DataError(f"{one.key}: {where}; a key must occur once")
