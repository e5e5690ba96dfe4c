"""Whole numbers to whole numbers, in arrays that compiled loops can search: open addressing, linear probing."""

from typing import NamedTuple

import numpy as np

from speechssl.decoding.compiled import compiled, inlined

ABSENT = -1


class HashTable(NamedTuple):
    """Keys and what belongs to them, at least half of the places free."""

    keys: np.ndarray
    """Int64 (2^n,); ABSENT where a place is free."""
    values: np.ndarray
    """Int64 (2^n,)."""


@inlined
def place_of(keys: np.ndarray, key: int) -> int:
    """Where a key is, or where it would be put."""
    mask = len(keys) - 1
    folded = (key ^ (key >> 31)) & 0x7FFFFFFF
    place = ((folded * 0x9E3779B1) >> 20) & mask  # multiplicative hashing; below 2^63, so that nothing overflows
    while keys[place] != key and keys[place] != ABSENT:
        place = (place + 1) & mask
    return place


@inlined
def find(table: HashTable, key: int) -> int:
    """What belongs to a key, 0 or more; ABSENT if it is not there."""
    place = place_of(table.keys, key)
    return table.values[place] if table.keys[place] == key else ABSENT


@compiled
def insert(table: HashTable, key: int, value: int) -> None:
    """Put in a key, or give it another value."""
    place = place_of(table.keys, key)
    table.keys[place] = key
    table.values[place] = value


@compiled
def make_table(keys: np.ndarray, values: np.ndarray, min_size: int) -> HashTable:
    """A table of keys that differ, (N,), with room for ``min_size`` of them or more."""
    size = 16
    while size < 2 * max(len(keys), min_size):
        size *= 2
    table = HashTable(np.full(size, ABSENT, np.int64), np.empty(size, np.int64))
    for i in range(len(keys)):
        insert(table, keys[i], values[i])
    return table
