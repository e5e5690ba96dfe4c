"""Estimating an n-gram model: interpolated modified Kneser-Ney (Chen and Goodman 1999, section 3.4).

What an order below the highest counts is not how often a word was there but after how many different words, except at
the beginning of a sentence, before which there is nothing. As KenLM's lmplz does (Heafield et al. 2013), single words
are interpolated with equal shares for every word, the unknown one included, which is where its probability comes from.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from speechssl.decoding.ngrams import BEGIN, END, UNKNOWN, NgramModel, NgramOrder
from speechssl.errors import DataError

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""Of what was counted once, twice and more often, where the counts of counts give none: those of lmplz."""
_SPECIAL = (BEGIN, END, UNKNOWN)


class Discounts(NamedTuple):
    """Taken off the counts of an order's n-grams."""

    amounts: tuple[float, float, float]
    """Of counts of one, two, and three or more."""
    is_fallback: bool


class Tokens(NamedTuple):
    """Sentences as one row of numbers."""

    words: list[str]
    """By their numbers: <s>, </s>, <unk>, then the most frequent first."""
    ids: np.ndarray
    """Sentences in order, each between its <s> and its </s>, int64 (N,)."""
    positions: np.ndarray
    """In its sentence, int64 (N,); 0 is that of <s>."""


class Counted(NamedTuple):
    """The n-grams of one order, sorted by prefix and word, int64 (N,) each."""

    prefix: np.ndarray
    """Row of all words but the last in the order below."""
    word: np.ndarray
    """The last."""
    suffix: np.ndarray
    """Row of all words but the first in the order below."""
    counts: np.ndarray
    """How often it occurs."""


class Estimate(NamedTuple):
    """A model, and how it was made."""

    model: NgramModel
    discounts: list[Discounts]
    """Of each order."""
    num_sentences: int
    num_words: int
    """Ends of sentences not counted."""


def tokenize(sentences: Iterable[Sequence[str]], *, vocabulary_size: int | None = None) -> Tokens:
    """Number the words of a text.

    Args:
        sentences: their words; empty ones are left out.
        vocabulary_size: so many of the most frequent words are kept, the others become the unknown word; None keeps
            all.

    Raises:
        DataError: no words, or one that has a meaning of its own in language models.
    """
    kept = [words for words in sentences if words]
    counts = Counter(word for words in kept for word in words)
    if not counts:
        raise DataError("the text holds no words; expected one sentence per line")
    if taken := [word for word in _SPECIAL if word in counts]:
        raise DataError(
            f"the text holds {', '.join(taken)}, which language models use for the edges of sentences and unknown "
            "words; take it out: sentences are lines"
        )
    by_count = sorted(counts, key=lambda word: (-counts[word], word))[:vocabulary_size]
    words = [*_SPECIAL, *by_count]
    numbers = {word: number for number, word in enumerate(words)}
    ids = [i for sentence in kept for i in (0, *(numbers.get(word, 2) for word in sentence), 1)]
    lengths = np.array([len(sentence) + 2 for sentence in kept])
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Tokens(words, np.array(ids, np.int64), np.arange(len(ids)) - starts)


def estimate(tokens: Tokens, order: int) -> Estimate:
    """Estimate a model.

    Args:
        tokens: what to learn from.
        order: words of the longest n-grams; less if no sentence is so long.
    """
    counted = count_ngrams(tokens, min(order, int(tokens.positions.max()) + 1))
    orders: list[NgramOrder] = []
    discounts: list[Discounts] = []
    for found, counts in zip(counted, adjusted_counts(counted), strict=True):
        discounts.append(discounts_of(counts))
        _add_order(orders, found, counts, discounts[-1].amounts)
    num_sentences = int((tokens.positions == 0).sum())
    model = NgramModel(tokens.words, orders)
    return Estimate(model, discounts, num_sentences, len(tokens.ids) - 2 * num_sentences)


def count_ngrams(tokens: Tokens, order: int) -> list[Counted]:
    """The n-grams of each order, all words among those of the first."""
    num_words = len(tokens.words)
    words = np.arange(num_words)
    nothing = np.zeros(num_words, np.int64)
    counted = [Counted(nothing, words, nothing, np.bincount(tokens.ids, minlength=num_words))]
    rows = tokens.ids  # of the n-gram that ends at each token
    for length in range(2, order + 1):
        ends = np.flatnonzero(tokens.positions >= length - 1)
        keys = rows[ends - 1] * num_words + tokens.ids[ends]
        found, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        counted.append(Counted(found // num_words, found % num_words, rows[ends[first]], counts))
        rows = np.full(len(tokens.ids), -1)
        rows[ends] = inverse
    return counted


def adjusted_counts(counted: Sequence[Counted]) -> list[np.ndarray]:
    """Counts of the highest order; below it the number of words before an n-gram, unless it begins a sentence."""
    adjusted = []
    begins = counted[0].word == 0
    for number, found in enumerate(counted):
        begins = begins[found.prefix] if number else begins
        if number + 1 == len(counted):
            counts = found.counts.copy()
        else:
            before = np.bincount(counted[number + 1].suffix, minlength=len(found.word))
            counts = np.where(begins, found.counts, before)
        if number == 0:
            counts[0] = 0  # <s> is never predicted
        adjusted.append(counts)
    return adjusted


def discounts_of(counts: np.ndarray) -> Discounts:
    """Discounts of an order from its counts (N,): equation 17 of the paper, or else the fallback."""
    ones, twos, threes, fours = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if min(ones, twos, threes, fours) == 0:
        return Discounts(FALLBACK_DISCOUNTS, is_fallback=True)
    share = ones / (ones + 2 * twos)
    amounts = (1 - 2 * share * twos / ones, 2 - 3 * share * threes / twos, 3 - 4 * share * fours / threes)
    if any(not 0 <= amount <= count for count, amount in enumerate(amounts, 1)):
        return Discounts(FALLBACK_DISCOUNTS, is_fallback=True)
    return Discounts(amounts, is_fallback=False)


def _add_order(orders: list[NgramOrder], found: Counted, counts: np.ndarray, amounts: Sequence[float]) -> None:
    """Add an order with its probabilities; the one below gets the back-off weights that these are made with."""
    discount = np.array([0.0, *amounts])[np.minimum(counts, 3)]
    num_histories = len(orders[-1]) if orders else 1
    total = np.bincount(found.prefix, counts, num_histories)
    taken = np.bincount(found.prefix, discount, num_histories)
    weight = np.divide(taken, total, out=np.ones(num_histories), where=total > 0)  # of the order below
    if orders:
        orders[-1] = replace(orders[-1], backoff=np.log(weight))
        lower = np.exp(orders[-1].log_prob[found.suffix])
    else:
        lower = np.full(len(found.word), 1 / (len(found.word) - 1))  # <s> is no word
        lower[0] = 0.0
    probs = (counts - discount) / total[found.prefix] + weight[found.prefix] * lower
    with np.errstate(divide="ignore"):
        orders.append(NgramOrder(found.prefix, found.word, np.log(probs), np.zeros(len(probs))))
