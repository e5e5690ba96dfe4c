"""Random choices that are the same on every platform and with every NumPy release.

`numpy.random.Generator` may change the stream behind its methods; the raw words of a `BitGenerator` and the hashing of
`SeedSequence` are fixed by NumPy's compatibility policy, so every choice is made from those words with integers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Draws:
    """A stream of choices named by integers: equal names, equal choices."""

    def __init__(self, *name: int) -> None:
        self._words = np.random.PCG64(np.random.SeedSequence(list(name)))

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        word: int = self._words.random_raw()
        return low + ((word >> 32) * (high - low + 1) >> 32)

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[self.integer(0, len(options) - 1)]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """The options in a random order."""
        result = list(options)
        for last in range(len(result) - 1, 0, -1):
            other = self.integer(0, last)
            result[last], result[other] = result[other], result[last]
        return result

    def noise(self, num_samples: int) -> np.ndarray:
        """Nearly Gaussian noise, int64 (S,): sums of four uniform 16-bit integers, centred, deviation about 37,837."""
        words = np.asarray(self._words.random_raw(num_samples), dtype=np.uint64)
        total = np.zeros(num_samples, dtype=np.int64)
        for shift in (0, 16, 32, 48):
            total += ((words >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)
        return total - 2 * 0xFFFF


class Deck:
    """Cards dealt in random order and reshuffled when they run out, so that each comes up about equally often."""

    def __init__(self, cards: Sequence[str], draws: Draws) -> None:
        self._cards = list(cards)
        self._draws = draws
        self._left: list[str] = []

    def deal(self) -> str:
        """The next card."""
        if not self._left:
            self._left = self._draws.shuffled(self._cards)
        return self._left.pop()
