"""Words letter by letter: a tree of those that a search knows, in which it stands while a word is not at its end."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from speechssl.decoding.compiled import compiled
from speechssl.decoding.hash_table import HashTable, make_table
from speechssl.text.vocabulary import Vocabulary

SPACE, STRANGE = 0, -1
"""Numbers of characters: between words, and in no word of the tree."""
OUTSIDE = -1
"""Where a search stands in no word of the tree; 0 is the root."""


class WordTree(NamedTuple):
    """The tree, and the labels of a model as steps in it."""

    letters: HashTable
    """Node x characters + character to node."""
    num_characters: int
    parent: np.ndarray
    """Of each node, which comes before it, int64 (nodes,)."""
    word: np.ndarray
    """Word that ends in each node, -1 if none does, int64 (nodes,)."""
    label_starts: np.ndarray
    """Where each label's characters begin in the next array, int64 (labels + 1,)."""
    label_characters: np.ndarray
    """Their numbers."""
    blank: int


class Spelt(NamedTuple):
    """A tree, and its words."""

    tree: WordTree
    words: list[str]
    """By their numbers in the tree."""
    num_foreign: int
    """Words that the model's labels cannot spell; they are not in the tree."""


def make_tree(words: Iterable[str], vocabulary: Vocabulary) -> Spelt:
    """The tree of some words, for the labels of a model."""
    letters = sorted(set("".join(vocabulary.spelt)) - {" "})
    characters = {" ": SPACE} | {c: i for i, c in enumerate(letters, 1)}
    edges: dict[int, int] = {}
    parents, ends = [0], [-1]
    spelt: list[str] = []
    num_foreign = 0
    for word in words:
        if not word or not characters.keys() >= set(word):
            num_foreign += 1
            continue
        node = 0
        for character in word:
            key = node * len(characters) + characters[character]
            if key not in edges:
                edges[key] = len(parents)
                parents.append(node)
                ends.append(-1)
            node = edges[key]
        if ends[node] < 0:
            ends[node] = len(spelt)
            spelt.append(word)
    table = make_table(np.fromiter(edges.keys(), np.int64), np.fromiter(edges.values(), np.int64), 1)
    starts, steps = label_steps(vocabulary, characters)
    tree = WordTree(table, len(characters), np.array(parents), np.array(ends), starts, steps, vocabulary.blank)
    return Spelt(tree, spelt, num_foreign)


def label_steps(vocabulary: Vocabulary, characters: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the characters of each label begin, int64 (labels + 1,), and their numbers."""
    texts = vocabulary.spell(range(len(vocabulary)))
    starts = np.cumsum([0, *map(len, texts)])
    return starts, np.array([characters.get(c, STRANGE) for text in texts for c in text], np.int64)


@compiled
def best_ahead(parent: np.ndarray, word: np.ndarray, gains: np.ndarray, otherwise: float) -> np.ndarray:
    """The most that a word can still gain in each node (nodes,), of its words' gains (words,) and that of any other."""
    best = np.full(len(parent), otherwise)
    for node in range(len(parent) - 1, 0, -1):
        if word[node] >= 0:
            best[node] = max(best[node], gains[word[node]])
        best[parent[node]] = max(best[parent[node]], best[node])
    best[0] = 0.0  # no word has begun
    return best
