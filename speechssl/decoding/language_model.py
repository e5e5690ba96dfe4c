"""An n-gram model as an automaton: a state is the longest history that the model knows anything of."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from speechssl.decoding.compiled import compiled, part
from speechssl.decoding.hash_table import HashTable, find, make_table
from speechssl.decoding.ngrams import BEGIN, END, UNKNOWN, NgramModel, find_rows


class LanguageModel(NamedTuple):
    """N-grams as nodes: the empty one is 0, single words follow in order of their numbers, then longer ones."""

    log_prob: np.ndarray
    """Of each node's last word after the others, float64 (nodes,), in nats."""
    backoff: np.ndarray
    """Added where a word does not follow, float64 (nodes,)."""
    shorter: np.ndarray
    """The longest n-gram that the node ends with and that is there, int64 (nodes,)."""
    state: np.ndarray
    """Where the search stands after a node: itself, or the shorter one if nothing follows it, int64 (nodes,)."""
    followers: HashTable
    """Node x words + word to node."""
    num_words: int
    begin: int
    """State at the beginning of a sentence."""
    end: int
    """Number of the end of a sentence."""
    unknown: int
    """Number of the unknown word."""


class WordScore(NamedTuple):
    """Of a word after a state."""

    log_prob: float
    state: int
    """After it."""


def make_language_model(model: NgramModel) -> LanguageModel:
    """The automaton of a model."""
    offsets = 1 + np.cumsum([0, *map(len, model.orders)])  # of each order's nodes
    num_nodes, num_words = int(offsets[-1]), len(model.words)
    log_prob, backoff = np.zeros(num_nodes), np.zeros(num_nodes)
    shorter, parent = np.zeros(num_nodes, np.int64), np.zeros(num_nodes, np.int64)
    word = np.zeros(num_nodes, np.int64)
    for number, table in enumerate(model.orders):
        rows = slice(offsets[number], offsets[number + 1])
        log_prob[rows], backoff[rows], word[rows] = table.log_prob, table.backoff, table.word
        if number:
            parent[rows] = offsets[number - 1] + table.prefix
            shorter[rows] = _shorter(model, number, offsets)
    has_followers = np.zeros(num_nodes, bool)
    has_followers[parent] = True
    nodes = np.arange(num_nodes)
    state = np.where(has_followers | (backoff != 0), nodes, -1)
    for number in range(model.order):  # what a node is shortened to comes before it
        rows = slice(offsets[number], offsets[number + 1])
        state[rows] = np.where(state[rows] < 0, state[shorter[rows]], state[rows])
    long = nodes[offsets[1] :]
    followers = make_table(parent[long] * num_words + word[long], long, 1)
    numbers = model.numbers
    begin = int(state[1 + numbers[BEGIN]])
    unknown = numbers[UNKNOWN]
    if not np.isfinite(log_prob[1 + unknown]):  # a closed vocabulary: as improbable as the least probable word
        log_prob[1 + unknown] = log_prob[1 : offsets[1]][np.isfinite(log_prob[1 : offsets[1]])].min()
    return LanguageModel(log_prob, backoff, shorter, state, followers, num_words, begin, numbers[END], unknown)


def _shorter(model: NgramModel, number: int, offsets: np.ndarray) -> np.ndarray:
    """Node of the longest n-gram that each one of an order above the first ends with, (N,)."""
    table = model.orders[number]
    found = 1 + table.word  # single words are all there
    for length in range(2, number + 1):  # ever longer ends
        rows = _ends(model, number, length)
        found = np.where(rows >= 0, offsets[length - 1] + rows, found)
    return found


def _ends(model: NgramModel, number: int, length: int) -> np.ndarray:
    """Rows of the last words of each n-gram of an order in the table of ``length``; -1 where they are not there."""
    table = model.orders[number]
    if length == 1:
        return table.word
    before = _ends(model, number - 1, length - 1)[table.prefix]
    return find_rows(model.orders[length - 1], before, table.word, len(model.words))


@part
def score_word(model: LanguageModel, state: int, word: int) -> WordScore:
    """Log probability of a word, in nats, and the state after it."""
    passed = 0.0
    while state != 0:
        node = find(model.followers, state * model.num_words + word)
        if node >= 0:
            return WordScore(passed + model.log_prob[node], model.state[node])
        passed += model.backoff[state]
        state = model.shorter[state]
    return WordScore(passed + model.log_prob[1 + word], model.state[1 + word])


@compiled
def score_words(model: LanguageModel, words: np.ndarray, log_probs: np.ndarray) -> None:
    """Log probabilities of the words of a sentence, and of its end, in place: int64 (N,), float64 (N + 1,)."""
    state = model.begin
    for i in range(len(words)):
        log_probs[i], state = score_word(model, state, words[i])
    log_probs[len(words)] = score_word(model, state, model.end).log_prob


class Perplexity(NamedTuple):
    """Of a text, sentence ends included."""

    with_unknown: float
    without_unknown: float
    """Unknown words not counted."""
    num_words: int
    num_unknown: int
    num_sentences: int


def perplexity(model: NgramModel, sentences: Sequence[Sequence[str]]) -> Perplexity:
    """How many words, as it were, the model chooses from at each word of a held-out text.

    Args:
        model: a model.
        sentences: their words, at least one.
    """
    automaton = make_language_model(model)
    total = unknown_total = 0.0
    num_words = num_unknown = 0
    for sentence in sentences:
        ids = np.array([model.numbers.get(word, automaton.unknown) for word in sentence], np.int64)
        log_probs = np.empty(len(ids) + 1)
        score_words(automaton, ids, log_probs)
        unknown = ids == automaton.unknown
        total += float(log_probs.sum())
        unknown_total += float(log_probs[:-1][unknown].sum())
        num_words += len(ids)
        num_unknown += int(unknown.sum())
    count = num_words + len(sentences)
    return Perplexity(
        float(np.exp(-total / count)),
        float(np.exp(-(total - unknown_total) / (count - num_unknown))),
        num_words,
        num_unknown,
        len(sentences),
    )
