"""The folder that the processes of a machine share, with the shards that they have fetched. It holds of each::

    KEY.tar, KEY.tar.index    the shard and its index, as ``speechssl shard`` would have left them
    .partial_KEY.tar          what has arrived so far
    KEY.lock                  there while it is fetched or evicted

Room for a shard is reserved before it is fetched, so that what is there and what is on its way stay within the limit. A
shard that is read now is always let in: alone it may exceed the limit, and others make room for it, what was used
longest ago first, if need be even what is in use, which then comes again. What is fetched ahead evicts nothing in use.
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from speechssl.errors import ConfigError
from speechssl.remote.failures import ShardError
from speechssl.remote.locks import FileLock, locked
from speechssl.remote.usage import OwnUse, use_of_all
from speechssl.remote.waiting import POLL_SECONDS, pause

logger = logging.getLogger(__name__)

TOUCH_SECONDS = 60.0
"""How exactly the cache knows when a shard was used."""
_KEY = re.compile(r"(?:^|_)([0-9a-f]{32})\.tar")


class CachedFile(NamedTuple):
    """A shard, its index, or a part of a shard in the cache."""

    key: str
    path: Path
    num_bytes: int
    last_used: float
    """Seconds since the epoch."""


class ShardCache:
    """Fetched shards by key. Threads may share it.

    Args:
        folder: of the cache; None: ``$XDG_CACHE_HOME/speechssl/shards``, or the same in ``~/.cache``.
        gigabytes: limit, in 10**9 bytes.

    Raises:
        ConfigError: a limit that makes no sense.
    """

    def __init__(self, folder: Path | None, gigabytes: float) -> None:
        if not gigabytes > 0:
            raise ConfigError(f"cache_gigabytes is {gigabytes:g}, expected more than 0")
        self.folder = folder or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "speechssl" / "shards"
        self.folder = self.folder.expanduser()
        self._limit = gigabytes * 1e9
        self._touched: dict[str, float] = {}
        self._own_use = OwnUse(self.folder)
        self._has_warned = False

    def keep(self, keys: set[str]) -> None:
        """Say which shards this process works on: what is fetched ahead does not evict them. Replaces what was said."""
        if keys != self._own_use.keys:
            self.make_folder()
            with self.lock("evict", always=True):
                self._own_use.work_on(keys)

    @contextmanager
    def room(self, num_bytes: int, key: str, *, must: bool) -> Iterator[bool]:
        """Reserve room for a shard while it is fetched; False if it ``must`` not be, and does not fit.

        Args:
            num_bytes: of the whole shard; 0 if that is not known.
            key: of the shard.
            must: it is needed now: wait for what is being fetched, and evict what is in use, or exceed the limit by it.
        """
        while (granted := self._make_room(num_bytes, key, must=must)) is None:
            pause(POLL_SECONDS)
        try:
            yield granted
        finally:
            if granted:
                with self.lock("evict", always=True):
                    self._own_use.release(key)

    def _make_room(self, num_bytes: int, key: str, *, must: bool) -> bool | None:
        """Evict until a shard fits, and reserve its room; None if others have to be fetched before it does."""
        with self.lock("evict"):
            files, use = cached_files(self.folder), use_of_all(self.folder)
            arrived = {file.key: file.num_bytes for file in files if file.path.suffix == ".tar"}
            expected = use.fetching | {key: num_bytes}
            on_its_way = sum(max(0, size - arrived.get(other, 0)) for other, size in expected.items())
            excess = sum(file.num_bytes for file in files) + on_its_way - self._limit
            others = use.fetching.keys() - {key}
            files = sorted((file for file in files if file.key not in {key, *others}), key=lambda file: file.last_used)
            idle = [file for file in files if file.key not in use.keys]
            if not must and sum(file.num_bytes for file in idle) < excess:
                return False
            excess -= _evict(idle, excess)
            if excess > 0 and must:
                self._warn_once()
                excess -= _evict(
                    [file for file in files if file.key in use.keys and file.path.suffix == ".tar"], excess
                )
            if excess > 0 and (others or not must):
                return None if must else False
            self._own_use.reserve(key, num_bytes)
            return True

    def _warn_once(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s: the shards in use do not fit into cache_gigabytes (%g), so that some have to be fetched again and "
                "again; raise it, or lower shuffle_hours or num_streams",
                *(self.folder, self._limit / 1e9),
            )

    @contextmanager
    def lock(self, name: str, *, always: bool = False) -> Iterator[None]:
        """Hold a lock against other threads and processes, be it of a shard, by its key; errors are of the disk."""
        with disk_errors_named(self.folder), locked(self.folder / f"{name}.lock", always=always):
            yield

    def make_folder(self) -> None:
        with disk_errors_named(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.tar"

    def touch(self, key: str) -> None:
        now = time.monotonic()
        if now - self._touched.get(key, -TOUCH_SECONDS) >= TOUCH_SECONDS:
            self._touched[key] = now
            with contextlib.suppress(OSError):
                os.utime(self.path(key))


def cached_files(folder: Path) -> list[CachedFile]:
    """What a cache holds."""
    files = []
    for path in folder.iterdir():
        if match := _KEY.search(path.name):
            with contextlib.suppress(FileNotFoundError):  # gone, or renamed, in this moment
                facts = path.stat()
                files.append(CachedFile(match[1], path, facts.st_size, facts.st_mtime))
    return files


def _evict(files: list[CachedFile], num_bytes: float) -> int:
    """Remove files from the cache, the first ones first, until so many bytes are free; returns how many are."""
    freed = 0
    for file in files:
        if freed >= num_bytes:
            break
        lock = FileLock(file.path.with_name(f"{file.key}.lock"))
        if lock.try_acquire():  # else someone is about to fetch its shard
            file.path.unlink(missing_ok=True)
            lock.release()
            freed += file.num_bytes
            logger.info("evicted %s, %.3g GB", file.path, file.num_bytes / 1e9)
    return freed


@contextmanager
def disk_errors_named(folder: Path) -> Iterator[None]:
    """Tell errors of this machine's disk from those of the network."""
    try:
        yield
    except OSError as error:
        raise ShardError(
            f"{folder}: the cache of shards cannot be used ({error.strerror or str(error) or type(error).__name__}); "
            "free some space, lower cache_gigabytes, or choose another folder with the option cache"
        ) from error
