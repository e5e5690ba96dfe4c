"""Shards that are not on this machine: fetched whole into a cache, checked against their index, read from there.

A shard's key in the cache is a digest of its address and its checksum, so that one that was replaced is not mixed with
the old one. Addresses go through fsspec: credentials belong into its configuration or that of the cloud, and where an
address has them, messages do not.
"""

import contextlib
import functools
import hashlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from speechssl.config import EvaluationSetConfig, StreamConfig
from speechssl.errors import DataError
from speechssl.files import PARTIAL
from speechssl.remote.cache import ShardCache
from speechssl.remote.failures import NotFoundError, UnreachableError
from speechssl.remote.fetching import Fetcher, RemoteShard
from speechssl.remote.notes import NOTE_SUFFIX, find_note, forget_old_notes, leave_note
from speechssl.remote.opening import CHUNK, file_system, open_address
from speechssl.remote.waiting import POLL_SECONDS, abandonable, check_wanted, heed
from speechssl.shards.addresses import PIPE, opening_hint, redact, split_query
from speechssl.shards.index import INDEX_SUFFIX, ShardIndex, file_sha256, index_path, load_index

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

    def glob(self, url: str) -> list[str]:
        """Addresses that match a pattern, where the file system can list.

        Raises:
            ShardError: they cannot be listed.
        """

        def matches() -> list[str]:
            system, path = file_system(url)
            return [system.unstrip_protocol(name) for name in system.glob(path)]

        return self._fetcher.retry(redact(url), lambda: abandonable(matches))

    def add(self, urls: Sequence[str], *, with_texts: bool) -> list[ShardIndex]:
        """Fetch the indexes of shards, and make the shards known under the names in their indexes.

        Raises:
            DataError: names those that have none, or a damaged one.
        """
        leaving = threading.Event()
        pool = ThreadPoolExecutor(min(INDEXES_AT_ONCE, len(urls)), initializer=heed, initargs=(leaving,))
        futures = [pool.submit(self._add, *item, with_texts) for item in zip(urls, self._name(urls), strict=True)]
        try:
            pending = set(futures)
            while pending:
                check_wanted()
                done, pending = wait(pending, POLL_SECONDS, FIRST_COMPLETED)
                for future in done:
                    if isinstance(error := future.exception(), UnreachableError) or not isinstance(error, DataError):
                        future.result()  # the others would wait as long, and in vain
        finally:
            leaving.set()
            pool.shutdown(cancel_futures=True)
        if problems := [str(error) for future in futures if (error := future.exception())]:
            more = [f"and {len(problems) - 5} more shards"] if len(problems) > 5 else []
            raise DataError("\n".join(problems[:5] + more))
        forget_old_notes(self.folder)
        return [future.result() for future in futures]

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
        self._cache.make_folder()
        return (self._add_command if url.startswith(PIPE) else self._add_address)(url, name, with_texts)

    def _add_address(self, url: str, name: str, with_texts: bool) -> ShardIndex:
        note = self.folder / f"{_digest(redact(url))}{NOTE_SUFFIX}"
        with self._cache.lock(note.stem):
            index = self._index_of_others(note, url, name, with_texts)
            if index is None:
                began = time.time()
                index = self._fetch_index(url, name, with_texts)
                leave_note(note, _key(url, index), began)
        self._shards[name] = RemoteShard(name, url, _key(url, index), index.shard_bytes, index.sha256)
        return index

    def _index_of_others(self, note: Path, url: str, name: str, with_texts: bool) -> ShardIndex | None:
        """The index of an address, if a process that was started with this one has fetched it."""
        if key := find_note(note):
            with contextlib.suppress(DataError, FileNotFoundError):
                index = load_index(index_path(self._cache.path(key)), name, with_texts=with_texts)
                return index if _key(url, index) == key else None
        return None

    def _fetch_index(self, url: str, name: str, with_texts: bool) -> ShardIndex:
        path, query = split_query(url)
        try:
            content = self.read(path + INDEX_SUFFIX + query)
        except NotFoundError as error:
            hint = "" if path.endswith(".tar") else " The address of a folder of shards ends in a slash."
            raise NotFoundError(
                f"{name}: has no index at {redact(path)}{INDEX_SUFFIX}; put there the one that `speechssl shard` has "
                f"made, or for shards from elsewhere `speechssl verify --write_index`.{hint}{opening_hint(name)}"
            ) from error
        fetched = self.folder / f"{PARTIAL}{uuid.uuid4().hex}{INDEX_SUFFIX}"
        fetched.write_bytes(content)
        try:
            index = load_index(fetched, name, with_texts=with_texts)
            fetched.replace(index_path(self._cache.path(_key(url, index))))
        finally:
            fetched.unlink(missing_ok=True)
        return index

    def _add_command(self, url: str, name: str, with_texts: bool) -> ShardIndex:
        """Run the command, unless the cache has the index of its shard: only the shard says what it holds."""
        key = _digest(url)
        self._shards[name] = RemoteShard(name, url, key)
        path = self._cache.path(key)
        while True:
            if not index_path(path).is_file():
                path.unlink(missing_ok=True)
                self._fetcher.fetch(self._shards[name], must=True)
            try:
                os.utime(index_path(path))
                index = load_index(index_path(path), name, with_texts=with_texts)
            except (DataError, FileNotFoundError):
                if index_path(path).is_file():
                    raise
                continue  # another process has evicted it
            self._shards[name] = RemoteShard(name, url, key, index.shard_bytes, index.sha256)
            return index


def _key(url: str, index: ShardIndex) -> str:
    return _digest(f"{redact(url)}\n{index.sha256}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def make_store(config: StreamConfig | EvaluationSetConfig, training: StreamConfig | None = None) -> ShardStore:
    """Store for the shards of a configuration; what an evaluation set leaves open is as in the training data."""
    others = training or StreamConfig()
    gigabytes = others.cache_gigabytes if config.cache_gigabytes is None else config.cache_gigabytes
    return ShardStore(config.cache or others.cache, gigabytes)
