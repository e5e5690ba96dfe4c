"""Shards from elsewhere, fetched while what is there is trained on."""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from speechssl.data.streams import ShardsAhead, StreamPlan
from speechssl.errors import DataError
from speechssl.remote.failures import InterruptedFetchError
from speechssl.remote.store import ShardStore
from speechssl.remote.waiting import heed

logger = logging.getLogger(__name__)

FETCHES_AHEAD = 4
"""Shards that are fetched at a time."""


class Prefetcher:
    """Fetches the shards of the streams' windows before they are needed, and keeps them in the cache while they are.

    It is to be closed, after which what it was fetching has ended.

    Args:
        plan: of the whole run.
        streams: logical streams of this process.
        store: fetches shards, and has the cache.
    """

    def __init__(self, plan: StreamPlan, streams: Sequence[int], store: ShardStore) -> None:
        self._plan = plan
        self._streams = streams
        self._store = store
        self._closed = threading.Event()
        self._pool = ThreadPoolExecutor(FETCHES_AHEAD, initializer=heed, initargs=(self._closed,))
        self._windows: dict[tuple[int, int], ShardsAhead] = {}  # by stream and source
        self._leaving: deque[tuple[int, tuple[str, ...]]] = deque()  # first update that does not need these shards
        self._asked: set[str] = set()

    def announce(self, update: int) -> None:
        """Begin to fetch what the streams read in the window of an update and in the next; updates come in order."""
        has_changed = False
        for stream in self._streams:
            ahead = self._plan.shards_ahead(update, stream)
            before = self._windows.get((stream, ahead.source))
            if before is None or before.window != ahead.window:
                has_changed = True
                self._windows[stream, ahead.source] = ahead
                if before is not None:
                    self._leaving.append((update, before.now))
        if has_changed:
            wanted = self._keep()
            self._asked &= set(wanted)
            for name in wanted:
                if name not in self._asked:
                    self._asked.add(name)
                    self._pool.submit(self._fetch, name)

    def release(self, update: int) -> None:
        """Give up what only this update and those before it have read."""
        num_leaving = len(self._leaving)
        while self._leaving and self._leaving[0][0] <= update + 1:
            self._leaving.popleft()
        if len(self._leaving) < num_leaving:
            self._keep()

    def close(self) -> None:
        """Stop fetching, and give up everything."""
        self._closed.set()
        self._pool.shutdown(cancel_futures=True)
        self._store.keep(())

    def _keep(self) -> list[str]:
        """Keep what is needed in the cache; shards of the present windows, then of the next ones."""
        windows = self._windows.values()
        wanted = [name for window in windows for name in window.now]
        wanted += [name for window in windows for name in window.following]
        self._store.keep({*wanted, *(name for _, names in self._leaving for name in names)})
        return list(dict.fromkeys(wanted))

    def _fetch(self, name: str) -> None:
        try:
            self._store.prefetch(name)
        except InterruptedFetchError:
            pass
        except DataError as error:
            logger.warning("%s\nIt is tried again when a sample of it is needed.", error)
