"""Grapheme clusters: what a reader takes for one letter, whatever it is made of (Unicode Standard Annex 29)."""

from collections.abc import Iterable

import regex

_CLUSTER = regex.compile(r"\X")


def split_graphemes(text: str) -> list[str]:
    """Clusters of a text in order; of one without marks, its characters."""
    return list(text) if text.isascii() else _CLUSTER.findall(text)


def as_characters(*sides: Iterable[str]) -> list[list[str]]:
    """Texts in which every cluster is one character, for what counts characters.

    A cluster of one character is that; others have the same one, from a private plane, on all sides.
    """
    numbers: dict[str, str] = {}

    def one(cluster: str) -> str:
        return cluster if len(cluster) == 1 else numbers.setdefault(cluster, chr(0xF0000 + len(numbers)))

    return [["".join(map(one, split_graphemes(text))) for text in texts] for texts in sides]
