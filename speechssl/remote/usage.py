"""What the processes that share a cache are doing with it, for each other to see.

``ID.using`` says what a process works on and what it fetches, and is locked for as long as that process lives. Files
are written and read by who holds the lock of the whole cache.
"""

import contextlib
import json
import uuid
from pathlib import Path
from typing import NamedTuple

from speechssl.remote.locks import FileLock


class Use(NamedTuple):
    """What one process or several do with a cache."""

    keys: set[str]
    """Shards that they work on."""
    fetching: dict[str, int]
    """Bytes that a shard will have once it is fetched, by key."""


class OwnUse:
    """What this process does.

    Args:
        folder: of the cache.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{uuid.uuid4().hex}.using"  # a name that nobody else has
        self._lock: FileLock | None = None
        self._use = Use(set(), {})

    @property
    def keys(self) -> set[str]:
        """Shards that this process works on."""
        return self._use.keys

    def work_on(self, keys: set[str]) -> None:
        """Say which shards this process works on. Replaces what was said before."""
        self._publish(Use(set(keys), self._use.fetching))

    def reserve(self, key: str, num_bytes: int) -> None:
        """Say that a shard is being fetched that will have so many bytes."""
        self._publish(Use(self._use.keys, {**self._use.fetching, key: num_bytes}))

    def release(self, key: str) -> None:
        """Say that it is not any more."""
        self._publish(Use(self._use.keys, {other: size for other, size in self._use.fetching.items() if other != key}))

    def _publish(self, use: Use) -> None:
        if use == self._use:
            return
        if self._lock is None:
            lock = FileLock(self._path)
            lock.try_acquire()
            self._lock = lock
        if use.keys or use.fetching:
            self._path.write_text(json.dumps({"keys": sorted(use.keys), "fetching": use.fetching}))
        else:
            self._lock.release()
            self._lock = None
        self._use = use


def use_of_all(folder: Path) -> Use:
    """What living processes do with a cache, this one among them; what dead ones have left is removed."""
    use = Use(set(), {})
    for path in folder.glob("*.using"):
        owner = FileLock(path)
        if owner.try_acquire():
            owner.release()
            continue
        with contextlib.suppress(OSError, ValueError, KeyError):  # a disk that was full when it was written
            said = json.loads(path.read_text())
            use.keys.update(said["keys"])
            use.fetching.update(said["fetching"])
    return use
