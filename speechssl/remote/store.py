"""Shards that are not on this machine: fetched whole into a cache, checked against their index, read from there.

A shard's key in the cache is a digest of its address and its checksum, so that one that was replaced is not mixed with
the old one. Addresses go through fsspec: credentials belong into its configuration or that of the cloud, and where an
address has them, messages do not.
"""

import functools
import hashlib
import logging
import tempfile
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from speechssl.config import EvaluationSetConfig, StreamConfig
from speechssl.errors import DataError
from speechssl.remote.cache import ShardCache
from speechssl.remote.failures import InterruptedFetchError, NotFoundError, UnreachableError
from speechssl.remote.fetching import Fetcher, RemoteShard
from speechssl.remote.opening import CHUNK, open_address
from speechssl.remote.waiting import abandonable, heed, result_of
from speechssl.shards.addresses import opening_hint, redact, split_query
from speechssl.shards.index import INDEX_SUFFIX, ShardIndex, file_sha256, load_index

logger = logging.getLogger(__name__)

INDEXES_AT_ONCE = 16


class ShardStore:
    """Remote shards of one corpus by name, and the cache in which they are read. Threads may share it.

    Args:
        cache: folder; None: ``$XDG_CACHE_HOME/speechssl/shards``, or the same in ``~/.cache``.
        gigabytes: limit on the cache, in 10**9 bytes.
        backoff_seconds: wait after the first failure; each that follows doubles it.

    Raises:
        ConfigError: a limit that makes no sense.
    """

    def __init__(self, cache: Path | None = None, gigabytes: float = 100.0, *, backoff_seconds: float = 1.0) -> None:
        self._cache = ShardCache(cache, gigabytes)
        self._fetcher = Fetcher(self._cache, backoff_seconds)
        self._shards: dict[str, RemoteShard] = {}

    @property
    def folder(self) -> Path:
        """Of the cache."""
        return self._cache.folder

    def read(self, url: str) -> bytes:
        """Content of a small file.

        Raises:
            NotFoundError: it is not there.
            ShardError: it cannot be fetched.
        """

        def content() -> bytes:
            body, _, total = open_address(url, 0)
            with closing(body):
                whole = b"".join(iter(functools.partial(body.read, CHUNK), b""))
            if total not in (None, len(whole)):
                raise EOFError(f"{len(whole)} of {total} bytes")
            return whole

        return self._fetcher.retry(redact(url), lambda: abandonable(content))

    def add(self, urls: Sequence[str], *, with_texts: bool) -> list[ShardIndex]:
        """Fetch the indexes of shards, and make the shards known under the names in their indexes.

        Raises:
            DataError: names those that have none, or a damaged one.
        """
        self._cache.make_folder()
        leaving = threading.Event()
        pool = ThreadPoolExecutor(min(INDEXES_AT_ONCE, len(urls)), initializer=heed, initargs=(leaving,))
        futures = [pool.submit(self._add, *item, with_texts) for item in zip(urls, self._name(urls), strict=True)]
        problems, indexes = [], []
        try:
            for future in futures:
                try:
                    indexes.append(result_of(future))
                except (UnreachableError, InterruptedFetchError):
                    raise  # the others would wait as long, and in vain
                except DataError as error:
                    problems.append(str(error))
        finally:
            leaving.set()
            pool.shutdown(cancel_futures=True)
        if problems:
            more = [f"and {len(problems) - 5} more shards"] if len(problems) > 5 else []
            raise DataError("\n".join(problems[:5] + more))
        return indexes

    def open(self, name: str) -> BinaryIO:
        """Open a shard for reading, once it is in the cache; a name that was not added is a path.

        Raises:
            ShardError: it cannot be fetched.
        """
        shard = self._shards.get(name)
        if shard is None:
            return open(name, "rb")  # noqa: PTH123, a Path per sample costs more than the read
        path = self._cache.path(shard.key)
        while True:
            try:
                file = open(path, "rb")  # noqa: PTH123, SIM115
            except FileNotFoundError:
                self._fetcher.fetch(shard, must=True)  # another process may evict it before it is open: then again
                continue
            self._cache.touch(shard.key)
            return file

    def prefetch(self, name: str) -> bool:
        """Fetch a shard unless others in use would have to make room for it; whether it is in the cache now.

        Raises:
            ShardError: it cannot be fetched.
        """
        shard = self._shards.get(name)
        return shard is None or self._fetcher.fetch(shard, must=False)

    def keep(self, names: Collection[str]) -> None:
        """Say which shards this process works on: what is fetched ahead does not evict them. Replaces what was said."""
        self._cache.keep({self._shards[name].key for name in names if name in self._shards})

    def discard_damaged(self, name: str) -> bool:
        """Remove a shard from the cache if it is not what was fetched, as after a disk error; whether it was."""
        shard = self._shards.get(name)
        if shard is None:
            return False
        path = self._cache.path(shard.key)
        with self._cache.lock(shard.key):
            if path.is_file() and file_sha256(path) == shard.sha256:
                return False
            path.unlink(missing_ok=True)
        logger.warning("%s: damaged in the cache (%s); it is fetched again", name, path)
        return True

    def _name(self, urls: Sequence[str]) -> list[str]:
        """Names for messages, numbered where addresses differ in their credentials only."""
        taken = {name: shard.url for name, shard in self._shards.items()}
        names = []
        for url in urls:
            name, number = redact(url), 1
            while taken.setdefault(name, url) != url:
                number += 1
                name = f"{redact(url)} ({number})"
            names.append(name)
        return names

    def _add(self, url: str, name: str, with_texts: bool) -> ShardIndex:
        path, query = split_query(url)
        try:
            content = self.read(path + INDEX_SUFFIX + query)
        except NotFoundError as error:
            hint = "" if path.endswith(".tar") else " The address of a folder of shards ends in a slash."
            raise NotFoundError(
                f"{name}: has no index at {redact(path)}{INDEX_SUFFIX}; put there the one that `speechssl shard` has "
                f"made, or for shards from elsewhere `speechssl verify --write_index`.{hint}{opening_hint(name)}"
            ) from error
        with tempfile.NamedTemporaryFile(suffix=INDEX_SUFFIX) as file:
            file.write(content)
            file.flush()
            index = load_index(Path(file.name), name, with_texts=with_texts)
        key = hashlib.sha256(f"{redact(url)}\n{index.sha256}".encode()).hexdigest()[:32]
        self._shards[name] = RemoteShard(name, url, key, index.shard_bytes, index.sha256)
        return index


def make_store(config: StreamConfig | EvaluationSetConfig, training: StreamConfig | None = None) -> ShardStore:
    """Store for the shards of a configuration; what an evaluation set leaves open is as in the training data."""
    others = training or StreamConfig()
    gigabytes = others.cache_gigabytes if config.cache_gigabytes is None else config.cache_gigabytes
    return ShardStore(config.cache or others.cache, gigabytes)
