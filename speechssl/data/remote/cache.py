"""The folder that the processes of a machine share, with the shards that they have fetched. It holds of each::

    KEY.tar, KEY.tar.index    the shard and its index, as ``speechssl shard`` would have left them
    .partial_KEY.tar          what has arrived so far
    KEY.lock                  held by who fetches it; the system lets go of it when its owner dies

``ID.using`` lists what a process works on, for as long as it holds ``ID.alive``; the rest is evicted when the cache is
full, what was used longest ago first.
"""

import contextlib
import json
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from speechssl.data.remote.failures import ShardError
from speechssl.data.remote.opening import check_wanted
from speechssl.data.writer import PARTIAL
from speechssl.errors import ConfigError

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
        gigabytes: limit, in 10**9 bytes; shards in use may exceed it.

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
        self._own_use = _Use(self.folder)
        self._has_warned = False

    def keep(self, keys: set[str]) -> None:
        """Say which shards this process works on: no process evicts them. Replaces what was said before."""
        self._own_use.set(keys)

    def make_room(self, needed: int, key: str, stop: threading.Event, *, must: bool) -> bool:
        """Evict until so many more bytes fit; False if they ``must`` not, and will not.

        Args:
            needed: bytes.
            key: of the shard that they are for.
            stop: ends the wait for another process that does the same.
            must: exceed the limit if shards in use leave no other way.
        """
        with self.lock(self.folder / "evict.lock", stop):
            files = cached_files(self.folder)
            excess = sum(file.num_bytes for file in files) + needed - self._limit
            if excess <= 0:
                return True
            used = {key} | used_keys(self.folder)
            idle = sorted((file for file in files if file.key not in used), key=lambda file: file.last_used)
            if not must and sum(file.num_bytes for file in idle) < excess:
                return False
            for file in idle:
                if excess > 0 and _evict(file):
                    excess -= file.num_bytes
        if excess > 0 and must and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s: shards in use take %.3g GB more than cache_gigabytes (%g) allows; raise it, or lower "
                "shuffle_hours or num_streams",
                *(self.folder, excess / 1e9, self._limit / 1e9),
            )
        return must or excess <= 0

    @contextmanager
    def lock(self, path: Path, stop: threading.Event) -> Iterator[None]:
        lock = FileLock(path)
        while True:
            try:
                lock.acquire(timeout=0.5)
                break
            except Timeout:
                check_wanted(stop)
            except (OSError, NotImplementedError) as error:
                raise cache_problem(self.folder, error) from error
        try:
            yield
        finally:
            lock.release()

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


class _Use:
    """What this process works on, for the other processes to see."""

    def __init__(self, folder: Path) -> None:
        self._using = folder / f"{uuid.uuid4().hex}.using"
        self._alive: FileLock | None = None
        self._mutex = threading.Lock()
        self._keys: set[str] = set()

    def set(self, keys: set[str]) -> None:
        with self._mutex, disk_errors_named(self._using.parent):
            if keys == self._keys:
                return
            if self._alive is None:
                self._using.parent.mkdir(parents=True, exist_ok=True)
                self._alive = FileLock(self._using.with_suffix(".alive"), thread_local=False)
                self._alive.acquire()
            partial = self._using.with_name(PARTIAL + self._using.name)
            partial.write_text(json.dumps(sorted(keys)))
            partial.replace(self._using)
            self._keys = keys
            if not keys:
                self._using.unlink(missing_ok=True)
                self._alive.release()
                self._using.with_suffix(".alive").unlink(missing_ok=True)
                self._alive = None


def cached_files(folder: Path) -> list[CachedFile]:
    """What a cache holds."""
    files = []
    for path in folder.iterdir():
        if match := _KEY.search(path.name):
            with contextlib.suppress(FileNotFoundError):  # gone, or renamed, in this moment
                facts = path.stat()
                files.append(CachedFile(match[1], path, facts.st_size, facts.st_mtime))
    return files


def used_keys(folder: Path) -> set[str]:
    """Keys of the shards that living processes work on; what dead ones have left is removed."""
    keys: set[str] = set()
    for path in folder.glob("[!.]*.using"):  # a hidden one is being written by its living owner
        lock = FileLock(path.with_suffix(".alive"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with contextlib.suppress(OSError, ValueError):
                keys.update(json.loads(path.read_text()))
            continue
        path.unlink(missing_ok=True)
        lock.release()
        path.with_suffix(".alive").unlink(missing_ok=True)
    return keys


def _evict(file: CachedFile) -> bool:
    """Remove a file from the cache, unless someone is fetching its shard; whether it was removed."""
    lock = FileLock(file.path.with_name(f"{file.key}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        file.path.unlink(missing_ok=True)
    finally:
        lock.release()
    logger.info("evicted %s, %.3g GB", file.path, file.num_bytes / 1e9)
    return True


def sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def disk_errors_named(folder: Path) -> Iterator[None]:
    """Tell errors of this machine's disk from those of the network."""
    try:
        yield
    except OSError as error:
        raise cache_problem(folder, error) from error


def cache_problem(folder: Path, error: Exception) -> ShardError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return ShardError(
        f"{folder}: the cache of shards cannot be used ({reason}); free some space, lower cache_gigabytes, or choose "
        "another folder with the option cache"
    )
