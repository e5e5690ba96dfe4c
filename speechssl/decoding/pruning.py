"""Taking n-grams out of a model that hardly tell more than the shorter ones do (Stolcke 1998)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from speechssl.decoding.ngrams import BEGIN, END, NgramModel, NgramOrder

_NOTHING = 1e-12
"""Probability mass below which what is left for words that do not follow is rounding."""


def prune(model: NgramModel, threshold: float) -> NgramModel:
    """A smaller model, whose probabilities sum to one as well.

    An n-gram goes if the perplexity of the model would rise by less than ``threshold`` of itself without that one
    (relative entropy, section 3 of the paper). One that begins or ends a longer one that stays, stays. Kneser-Ney's
    lower orders are no distributions of words, so that such models suffer more than others (Chelba et al. 2010).

    Args:
        model: as ``estimate`` makes it: the suffix of each n-gram is there, and each history's weight leaves one.
        threshold: 1e-8 takes little, 1e-6 much, 0 nothing.
    """
    if threshold <= 0:
        return model
    histories = _history_log_probs(model)
    stays = [np.ones(len(table), bool) for table in model.orders]
    needed = [np.zeros(len(table), bool) for table in model.orders]
    for number in range(model.order - 1, 0, -1):
        loss = _divergence(model, number, histories[number - 1])
        stays[number] = needed[number] | (loss >= np.log1p(threshold))
        needed[number - 1][model.orders[number].prefix[stays[number]]] = True
        needed[number - 1][model.suffixes[number][stays[number]]] = True
    orders = _kept(model.orders, stays)
    return _with_weights(NgramModel(model.words, [table for table in orders if len(table)]), model)


def _history_log_probs(model: NgramModel) -> list[np.ndarray]:
    """Log probability of each n-gram itself; <s> occurs as often as </s>."""
    singles = model.orders[0].log_prob.copy()
    singles[model.numbers[BEGIN]] = singles[model.numbers[END]]
    found = [singles]
    for table in model.orders[1:]:
        found.append(found[-1][table.prefix] + table.log_prob)
    return found


def _divergence(model: NgramModel, number: int, histories: np.ndarray) -> np.ndarray:
    """Relative entropy, in nats, between a model and the same without each n-gram of an order above the first, (N,)."""
    table, below = model.orders[number], model.orders[number - 1]
    probs, lower = np.exp(table.log_prob), np.exp(below.log_prob[model.suffixes[number]])
    left = _left(table.prefix, probs, len(below))[table.prefix]
    left_below = _left(table.prefix, lower, len(below))[table.prefix]
    before = below.backoff[table.prefix]
    after = np.log(np.maximum(left + probs, _NOTHING)) - np.log(np.maximum(left_below + lower, _NOTHING))
    change = probs * (np.log(lower) + after - table.log_prob) + left * (after - before)
    return -np.exp(histories[table.prefix]) * change


def _left(prefix: np.ndarray, probs: np.ndarray, num_histories: int) -> np.ndarray:
    """What the words that follow each history leave of one."""
    return np.maximum(1 - np.bincount(prefix, probs, num_histories), 0)


def _kept(orders: Sequence[NgramOrder], stays: Sequence[np.ndarray]) -> list[NgramOrder]:
    """Tables of those rows that stay."""
    kept = []
    for number, (table, chosen) in enumerate(zip(orders, stays, strict=True)):
        prefix = np.cumsum(stays[number - 1])[table.prefix] - 1 if number else table.prefix
        kept.append(NgramOrder(*(column[chosen] for column in (prefix, table.word, table.log_prob, table.backoff))))
    return kept


def _with_weights(model: NgramModel, whole: NgramModel) -> NgramModel:
    """With back-off weights that make the probabilities after each history sum to one.

    Args:
        model: what stays.
        whole: with the same words.
    """
    orders = list(model.orders)
    for number in range(1, model.order):
        table, below = orders[number], orders[number - 1]
        left = _left(table.prefix, np.exp(table.log_prob), len(below))
        left_below = _left(table.prefix, np.exp(below.log_prob[model.suffixes[number]]), len(below))
        is_history = np.bincount(table.prefix, minlength=len(below)) > 0
        known = is_history & (left > _NOTHING) & (left_below > _NOTHING)
        weights = np.where(is_history, below.backoff, 0.0)  # where nothing is left, the old one, which is never used
        weights[known] = np.log(left[known] / left_below[known])
        orders[number - 1] = replace(below, backoff=weights)
    orders[-1] = replace(orders[-1], backoff=np.zeros(len(orders[-1])))
    return NgramModel(model.words, orders)
