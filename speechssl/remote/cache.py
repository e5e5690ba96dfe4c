"""The folder that the processes of a machine share, with the shards that they have fetched. It holds of each::

    KEY.tar                   the shard
    .partial_KEY_BYTES.tar    what has arrived of it so far, and how many bytes it will have
    KEY.lock                  held while it is fetched or evicted

The name of a shard on its way reserves the room that it will need, so that all of them stay within the limit. A shard
that is read now is always let in: alone it may exceed the limit, and others make room for it, what was used longest ago
first. What is fetched ahead evicts nothing in use: nothing that this process works on, or that any has used just now.
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

import filelock

from speechssl.errors import ConfigError
from speechssl.files import PARTIAL
from speechssl.remote.failures import ShardError
from speechssl.remote.waiting import pause

logger = logging.getLogger(__name__)

TOUCH_SECONDS = 60.0
"""How exactly the cache knows when a shard was used."""
_IN_USE_SECONDS = 5 * TOUCH_SECONDS
_GIVEN_UP_SECONDS = 86400.0
"""By how much a shard that its process has given up looks older than it is."""
_LOCK_POLL_SECONDS = 0.05
_NAME = re.compile(rf"([0-9a-f]{{32}})\.tar|{re.escape(PARTIAL)}([0-9a-f]{{32}})_(\d+)\.tar")


class CachedFile(NamedTuple):
    """A shard in the cache, or on its way there."""

    key: str
    path: Path
    num_bytes: int
    """What it takes up, or will."""
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
        self.kept: set[str] = set()
        """Shards that this process works on."""
        self._touched: dict[str, float] = {}
        self._has_warned = False

    def path(self, key: str) -> Path:
        """Where a shard is once it is whole."""
        return self.folder / f"{key}.tar"

    def partial_path(self, key: str, num_bytes: int) -> Path:
        """Where a shard of so many bytes arrives."""
        return self.folder / f"{PARTIAL}{key}_{num_bytes}.tar"

    def make_folder(self) -> None:
        """Make the folder of the cache.

        Raises:
            ShardError: it cannot be made.
        """
        with disk_errors_named(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def keep(self, keys: set[str]) -> None:
        """Say which shards this process works on: what is fetched ahead does not evict them. Replaces what was said."""
        for key in self.kept - keys:
            self._touched.pop(key, None)
            self._note_use(key, time.time() - _GIVEN_UP_SECONDS)
        self.kept = set(keys)

    def touch(self, key: str) -> None:
        """Note that a shard is used, and with it all that this process works on."""
        now = time.monotonic()
        if now - self._touched.get(key, -TOUCH_SECONDS) >= TOUCH_SECONDS:
            for used in {key, *self.kept}:
                self._touched[used] = now
                self._note_use(used, time.time())

    def _note_use(self, key: str, when: float) -> None:
        with contextlib.suppress(OSError):
            os.utime(self.path(key), (when, when))

    def reserve(self, key: str, num_bytes: int, *, must: bool) -> bool | None:
        """Make room for a shard, and reserve it, by who has its lock; None if others have to be fetched before.

        Args:
            key: of the shard.
            num_bytes: of the whole shard.
            must: it is needed now: evict what is in use, or exceed the limit by it. Else False if it does not fit.
        """
        with self.lock("evict"):
            files = cached_files(self.folder)
            excess = num_bytes + sum(file.num_bytes for file in files if file.key != key) - self._limit
            others = [file for file in files if file.key != key and (must or not self._is_in_use(file))]
            if not must and sum(file.num_bytes for file in others) < excess:
                return False
            are_all_free = True
            for file in sorted(others, key=lambda file: (file.key in self.kept, file.last_used)):
                if excess > 0:
                    is_evicted = self._evict(file)
                    are_all_free &= is_evicted
                    excess -= file.num_bytes * is_evicted
            if excess > 0 and not (must and are_all_free):
                return None if must else False
            self.partial_path(key, num_bytes).touch()
            return True

    def _is_in_use(self, file: CachedFile) -> bool:
        return file.key in self.kept or file.last_used > time.time() - _IN_USE_SECONDS

    def _evict(self, file: CachedFile) -> bool:
        """Remove a shard from the cache, unless it is being fetched; whether that was done."""
        lock = filelock.FileLock(self.folder / f"{file.key}.lock")
        if not _is_acquired(lock):
            return False
        file.path.unlink(missing_ok=True)
        lock.release()
        logger.info("evicted %s, %.3g GB", file.path, file.num_bytes / 1e9)
        if file.key in self.kept and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s: the shards in use do not fit into cache_gigabytes (%g), so that some have to be fetched again and "
                "again; raise it, or lower shuffle_hours or num_streams",
                *(self.folder, self._limit / 1e9),
            )
        return True

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock against other threads and processes, be it of a shard, by its key; errors are of the disk."""
        self.make_folder()
        with disk_errors_named(self.folder):
            lock = filelock.FileLock(self.folder / f"{name}.lock")
            while not _is_acquired(lock):
                pause(_LOCK_POLL_SECONDS)
            try:
                yield
            finally:
                lock.release()


def _is_acquired(lock: filelock.BaseFileLock) -> bool:
    """Take a lock if nobody has it."""
    with contextlib.suppress(filelock.Timeout):
        lock.acquire(timeout=0)
    return lock.is_locked


def cached_files(folder: Path) -> list[CachedFile]:
    """What a cache holds."""
    files = []
    for path in folder.iterdir():
        if match := _NAME.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):  # gone, or renamed, in this moment
                facts = path.stat()
                num_bytes = max(facts.st_size, int(match[3] or 0))
                files.append(CachedFile(match[1] or match[2], path, num_bytes, facts.st_mtime))
    return files


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
