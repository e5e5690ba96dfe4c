"""Decoded audio that is kept, up to a limit."""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock

import numpy as np


class ArrayCache:
    """Arrays by key; those used longest ago go first. Threads may share it.

    Args:
        megabytes: limit of their sum; larger arrays are not kept.
    """

    def __init__(self, megabytes: float) -> None:
        self._limit = megabytes * 1e6
        self._num_bytes = 0
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> np.ndarray | None:
        """The array itself, not to be changed; None if it is not there."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def add(self, key: Hashable, array: np.ndarray) -> None:
        """Keep an array, unless there is one of that key."""
        with self._lock:
            if key in self._arrays or array.nbytes > self._limit:
                return
            self._arrays[key] = array
            self._num_bytes += array.nbytes
            while self._num_bytes > self._limit:
                self._num_bytes -= self._arrays.popitem(last=False)[1].nbytes
