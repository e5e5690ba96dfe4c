"""One or more shards as one corpus, in columns: 10,000 hours fit into some hundred megabytes."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from speechssl.errors import ConfigError, DataError
from speechssl.remote.expansion import find_remote
from speechssl.remote.store import ShardStore
from speechssl.shards.addresses import is_remote, redact_all
from speechssl.shards.index import ShardIndex, read_index
from speechssl.shards.listing import find_shards, set_of
from speechssl.shards.table import SampleEntry, SampleTable, StringColumn, equal_rows, joined

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleRef(SampleEntry):
    """Where one sample is, and how long; its key is that of the corpus."""

    shard: str = ""
    """Path of the tar, or its name in the store."""
    store: ShardStore | None = None
    """Where the shard is read; None: at its path."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Corpus(SampleTable):
    """Samples of one or more shards."""

    sample_rate: int
    """Hz."""
    shards: Sequence[str]
    """Paths of the tars, or their names in the store."""
    shard_sources: np.ndarray
    """Position of the pattern that named each shard first, (shards,)."""
    shard_numbers: np.ndarray
    """Position of each sample's shard in ``shards``."""
    store: ShardStore | None = None
    """Where shards that are not on this machine are read; None if all are."""

    def __getitem__(self, i: int) -> SampleRef:
        return SampleRef(**self.row(i), shard=self.shards[self.shard_numbers[i]], store=self.store)

    @property
    def seconds(self) -> float:
        """Audio of all samples."""
        return int(self.num_samples.sum()) / self.sample_rate

    @cached_property
    def identities(self) -> np.ndarray:
        """What tells samples apart by what they hold, wherever they lie: checksum and length, uint64 (N,)."""
        return self.checksums.astype(np.uint64) << 32 | self.num_samples.astype(np.uint64)

    def digest(self, *, in_order: bool = False) -> str:
        """SHA-256 of keys and checksums, the same wherever the samples lie, in whatever order unless ``in_order``."""
        order = np.arange(len(self)) if in_order else np.argsort(self.key_hashes, kind="stable")
        digest = hashlib.sha256(str(self.sample_rate).encode())
        for column in (self.key_hashes, self.checksums):
            digest.update(np.ascontiguousarray(column[order]).data)
        return digest.hexdigest()

    def subset(self, chosen: np.ndarray) -> "Corpus":
        """Corpus of some rows, (M,), in their order."""
        return replace(self, **self.taken(chosen), shard_numbers=self.shard_numbers[chosen])


def read_corpus(patterns: Sequence[str], *, with_texts: bool = False, store: ShardStore | None = None) -> Corpus:
    """Read the indexes of all shards that the patterns name; no shard is read, unless a command has to say what it is.

    Args:
        patterns: what ``find_shards`` and ``find_remote`` take.
        with_texts: read the transcripts too.
        store: for shards that are not on this machine; one with the usual cache if absent.

    Raises:
        DataError: shards are missing or damaged, or differ in sample rate; a key occurs twice in a set, or a sample in
            two sets.
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
        raise DataError(f"{redact_all(patterns)}: the shards hold no samples")
    corpus = tell_sets_apart(join(indexes, sources), [set_of(index.shard) for index in indexes])
    return corpus if len(local) == len(patterns) else replace(corpus, store=store)


def check_rate(corpus: Corpus, sample_rate: int, *, name: str, by: str) -> None:
    """Refuse shards of another sample rate than a model hears.

    Args:
        corpus: read from them.
        sample_rate: that is needed, in Hz.
        name: of the shards, for the message.
        by: what the needed one belongs to, with its verb: "the encoder hears".

    Raises:
        ConfigError: they are of another one.
    """
    if corpus.sample_rate != sample_rate:
        raise ConfigError(
            f"{name} hold {corpus.sample_rate} Hz audio, {by} {sample_rate} Hz; make the shards again with "
            f"--sample_rate {sample_rate}"
        )


def digests_of(patterns: Sequence[str], store: ShardStore | None = None) -> list[str]:
    """Digest of the samples that each pattern names, by itself; arguments and errors as of ``read_corpus``."""
    return [read_corpus([pattern], store=store).digest() for pattern in patterns]


def warn_shared(train: np.ndarray, scored: Corpus, *, name: str, by: str = "") -> None:
    """Warn of samples of a set that are learned from too.

    Args:
        train: what is learned from, uint64 (N,) as of ``Corpus.identities``.
        scored: what is scored.
        name: of that set.
        by: what learns.
    """
    num_shared = int(np.isin(scored.identities, train).sum())
    if num_shared:
        logger.warning(
            "%s: %d of its %d samples are among those that are learned from%s; scores on them say little of others",
            name,
            num_shared,
            len(scored),
            f" by {by}" if by else "",
        )


def join(indexes: Sequence[ShardIndex], sources: Sequence[int] | None = None) -> Corpus:
    """Indexes of one sample rate as one corpus; ``sources`` says which pattern named each, one for all if absent."""
    return Corpus(
        **joined(indexes),
        sample_rate=indexes[0].sample_rate,
        shards=[str(index.shard) for index in indexes],
        shard_sources=np.array([0] * len(indexes) if sources is None else sources, dtype=np.int32),
        shard_numbers=np.repeat(np.arange(len(indexes), dtype=np.int32), [len(index) for index in indexes]),
    )


def tell_sets_apart(corpus: Corpus, sets: Sequence[str]) -> Corpus:
    """Names and hashes of their own for samples of different sets that have one key, as ``0001`` of many corpora.

    Samples whose key is in one set only keep what they have, so that nothing changes where no key is shared.

    Args:
        corpus: samples of several sets.
        sets: of each shard.

    Raises:
        DataError: a key that occurs twice in a set, or a sample that is in two sets.
    """
    hashes = np.sort(corpus.key_hashes)
    repeated = hashes[1:][hashes[1:] == hashes[:-1]]
    if not len(repeated):
        return corpus
    shared = np.isin(corpus.key_hashes, repeated)
    _, numbers = np.unique(sets, return_inverse=True)
    set_numbers = numbers[corpus.shard_numbers]
    _check_repetitions(corpus, np.flatnonzero(shared), set_numbers)
    hashes = corpus.key_hashes.copy()
    # The product with an odd number is another one for each checksum.
    hashes[shared] ^= corpus.checksums[shared].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    sharing = [sets[i] for i in np.unique(corpus.shard_numbers[shared])]
    names = dict(zip(sorted(set(sharing)), distinct_ends(sorted(set(sharing))), strict=True))
    prefixes = [f"{names[name]}/" if name in names else "" for name in sets]
    shards = np.where(shared, corpus.shard_numbers, -1).tolist()
    keys = [key if shard < 0 else prefixes[shard] + key for key, shard in zip(corpus.keys, shards, strict=True)]
    return replace(corpus, key_hashes=hashes, keys=StringColumn.of(keys))


def distinct_ends(folders: Sequence[str]) -> list[str]:
    """As many of the last parts of the folders' paths as tell all of them apart: set names that do not depend on where
    a corpus lies."""
    parts = [folder.strip("/").split("/") for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        ends = ["/".join(part[-depth:]) for part in parts]
        if len(set(ends)) == len(ends):
            return ends
    return list(folders)


def _check_repetitions(corpus: Corpus, rows: np.ndarray, set_numbers: np.ndarray) -> None:
    """Raise DataError for a key that occurs twice in a set, or a sample that is in two; rows share their key's hash."""
    if pairs := _equal_pairs(corpus, rows, (set_numbers,)):
        raise DataError(f"{_named(corpus, pairs)}; a key must occur once in a set: make the set again")
    if pairs := _equal_pairs(corpus, rows, (corpus.checksums, corpus.sizes, corpus.num_samples)):
        raise DataError(
            f"{_named(corpus, pairs)}, the same sample twice; leave one of the sets out, or make one set of all "
            "sources, in which `speechssl shard` keeps one of each recording"
        )


def _equal_pairs(corpus: Corpus, rows: np.ndarray, columns: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Pairs of rows with one key whose values in some columns are the same, in order of the corpus."""
    pairs = rows[equal_rows(*(column[rows] for column in (*columns, corpus.key_hashes)))].tolist()
    return sorted((one, other) for one, other in pairs if corpus.keys[one] == corpus.keys[other])


def _named(corpus: Corpus, pairs: Sequence[tuple[int, int]]) -> str:
    """Where the first of some pairs is, and how many there are."""
    one, other = (corpus[i] for i in pairs[0])
    where = f"twice in {one.shard}" if one.shard == other.shard else f"in {one.shard} and in {other.shard}"
    more = f" and {len(pairs) - 1} more samples" if len(pairs) > 1 else ""
    return f"{one.key}{more}: {where}"
