"""What words add to a text while it is spelt label by label: of a language model, of a list, and of hotwords."""

from typing import NamedTuple

import numpy as np

from speechssl.decoding.compiled import inlined, part
from speechssl.decoding.hash_table import find
from speechssl.decoding.language_model import LanguageModel, score_word
from speechssl.decoding.word_tree import OUTSIDE, SPACE, STRANGE, WordTree


class Gains(NamedTuple):
    """What words are worth beside their sound, in nats."""

    weight: float
    """Of the language model's log probabilities."""
    numbers: np.ndarray
    """Of the words of the tree in the language model, int64 (words,)."""
    bonus: np.ndarray
    """Of the words of the tree, float64 (words,)."""
    other: float
    """Bonus of any other word."""
    ahead: np.ndarray
    """The most that is still to be gained in each node of the tree, (nodes,)."""
    ahead_outside: float
    """The same of a word that is not in it."""
    listed_only: bool
    """Whether there are no other words."""
    each_character: bool
    """Whether each character but the space is a word of the language model."""


class Place(NamedTuple):
    """Where a prefix stands."""

    node: int
    """Of the tree."""
    state: int
    """Of the language model."""
    score: float
    """Of its whole words."""


@part
def end_word(place: Place, tree: WordTree, model: LanguageModel, gains: Gains) -> Place:
    """The place at the end of the word in which another one is; its score is -inf if there is no such word."""
    word = -1 if place.node == OUTSIDE else tree.word[place.node]
    if word < 0 and gains.listed_only:
        return Place(0, place.state, -np.inf)
    number = gains.numbers[word] if word >= 0 else model.unknown
    bonus = gains.bonus[word] if word >= 0 else gains.other
    found = score_word(model, place.state, number)
    score = place.score + bonus
    if gains.weight != 0:
        score += gains.weight * found.log_prob
    return Place(0, found.state, score)


@inlined
def extend(place: Place, label: int, tree: WordTree, model: LanguageModel, gains: Gains) -> Place:
    """The place after another label; its score is -inf if no word goes on like that."""
    for i in range(tree.label_starts[label], tree.label_starts[label + 1]):
        character = tree.label_characters[i]
        if character == SPACE:
            if place.node != 0:
                place = end_word(place, tree, model, gains)
        else:
            node = OUTSIDE
            if place.node != OUTSIDE and character != STRANGE:
                node = find(tree.letters, place.node * tree.num_characters + character)
            place = Place(node, place.state, place.score)
            if node == OUTSIDE and gains.listed_only:
                return Place(node, place.state, -np.inf)
            if gains.each_character:
                place = end_word(place, tree, model, gains)
    return place


@inlined
def is_space(tree: WordTree, label: int) -> bool:
    """Whether a label is nothing but a space."""
    start = tree.label_starts[label]
    return tree.label_starts[label + 1] - start == 1 and tree.label_characters[start] == SPACE


@inlined
def ahead_of(node: int, gains: Gains) -> float:
    """The most that the word that has begun can still gain."""
    return gains.ahead_outside if node == OUTSIDE else gains.ahead[node]
