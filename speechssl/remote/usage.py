"""What the processes that share a cache are doing with it, for each other to see.

``ID.using`` says what a process works on and what it fetches, for as long as it holds ``ID.alive``.
"""

import contextlib
import json
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from speechssl.outputs import PARTIAL
from speechssl.remote.locks import FileLock


class Use(NamedTuple):
    """What one process or several do with a cache."""

    keys: set[str]
    """Shards that they work on."""
    fetching: dict[str, int]
    """Bytes that a shard will have once it is fetched, by key."""


class OwnUse:
    """What this process does. Threads may share it.

    Args:
        folder: of the cache.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._using = folder / f"{uuid.uuid4().hex}.using"
        self._alive: FileLock | None = None
        self._mutex = threading.Lock()
        self._use = Use(set(), {})

    def work_on(self, keys: Iterable[str]) -> None:
        """Replaces what was said before."""
        with self._mutex:
            self._publish(Use(set(keys), self._use.fetching))

    def reserve(self, key: str, num_bytes: int) -> None:
        """Say that a shard is being fetched that will have so many bytes."""
        with self._mutex:
            self._publish(Use(self._use.keys, {**self._use.fetching, key: num_bytes}))

    def release(self, key: str) -> None:
        """Say that it is not any more."""
        with self._mutex:
            others = {other: size for other, size in self._use.fetching.items() if other != key}
            self._publish(Use(self._use.keys, others))

    def _publish(self, use: Use) -> None:
        if use == self._use:
            return
        if self._alive is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            alive = FileLock(self._using.with_suffix(".alive"))
            alive.try_acquire()  # a name that nobody else has
            self._alive = alive
        if use.keys or use.fetching:
            partial = self._using.with_name(PARTIAL + self._using.name)
            partial.write_text(json.dumps({"keys": sorted(use.keys), "fetching": use.fetching}))
            partial.replace(self._using)
        else:
            self._using.unlink(missing_ok=True)
            self._alive.release()
            self._alive = None
        self._use = use


def use_of_all(folder: Path) -> Use:
    """What living processes do with a cache, this one among them; what dead ones have left is removed."""
    use = Use(set(), {})
    for path in folder.glob("[!.]*.using"):  # a hidden one is being written by its living owner
        alive = FileLock(path.with_suffix(".alive"))
        if alive.try_acquire():
            path.unlink(missing_ok=True)
            alive.release()
            continue
        with contextlib.suppress(OSError, ValueError):  # it has ended in this moment
            said = json.loads(path.read_text())
            use.keys.update(said["keys"])
            use.fetching.update(said["fetching"])
    return use
