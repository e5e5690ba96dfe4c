"""N-gram language models with back-off as tables: one per order, in which rows are found by searching.

The probability of a word after a history is that of the longest n-gram that is there, times the back-off weights of the
longer histories that are there (Katz 1987). Logarithms are natural.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"


@dataclass(frozen=True)
class NgramOrder:
    """The n-grams of one order, N of them, sorted by prefix and then word."""

    prefix: np.ndarray
    """Row of all words but the last in the order below, int64 (N,); 0 for single words."""
    word: np.ndarray
    """Number of the last word, int64 (N,); for single words that of the row."""
    log_prob: np.ndarray
    """Of the last word after the others, float64 (N,), in nats."""
    backoff: np.ndarray
    """Logarithm of the weight of the order below for words that do not follow, float64 (N,); 0 where none is known."""

    def __len__(self) -> int:
        return len(self.word)


@dataclass(frozen=True)
class NgramModel:
    """A language model. Every n-gram's prefix is there too, and all single words are."""

    words: Sequence[str]
    """By their numbers; <s>, </s> and <unk> among them."""
    orders: Sequence[NgramOrder]

    @property
    def order(self) -> int:
        """Words of the longest n-gram."""
        return len(self.orders)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Number of each word."""
        return {word: number for number, word in enumerate(self.words)}

    def find(self, order: int, prefix: np.ndarray, word: np.ndarray) -> np.ndarray:
        """Rows of n-grams in their order's table, -1 for those that are not there or whose prefix is -1."""
        return find_rows(self.orders[order - 1], prefix, word, len(self.words))

    @cached_property
    def suffixes(self) -> list[np.ndarray]:
        """For each order the rows of all words but the first in the order below; -1 where that is not there."""
        found = [np.zeros(len(self.orders[0]), np.int64)]
        for order in range(2, self.order + 1):
            table = self.orders[order - 1]
            if order == 2:
                found.append(table.word)
            else:
                found.append(self.find(order - 1, found[-1][table.prefix], table.word))
        return found

    def texts(self) -> Iterator[list[str]]:
        """The n-grams of each order, spelt."""
        spelt = list(self.words)
        yield spelt
        for table in self.orders[1:]:
            before = spelt
            spelt = [f"{before[i]} {self.words[j]}" for i, j in zip(table.prefix, table.word, strict=True)]
            yield spelt


def find_rows(table: NgramOrder, prefix: np.ndarray, word: np.ndarray, num_words: int) -> np.ndarray:
    """Rows of n-grams in a table; -1 for those that are not there, or whose prefix is -1."""
    keys = table.prefix * num_words + table.word
    wanted = prefix * num_words + word
    rows = np.searchsorted(keys, wanted)
    rows[rows == len(keys)] = 0
    there = (prefix >= 0) & (keys[rows] == wanted) if len(keys) else np.zeros(len(wanted), bool)
    return np.where(there, rows, -1)
