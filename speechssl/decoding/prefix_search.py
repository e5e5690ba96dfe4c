"""CTC prefix beam search (Graves 2008, section 7.4; Hannun et al. 2014): the loops.

A prefix is a text so far. Its probability is the sum over all ways to say it, kept apart by whether they end in blank,
because only then a repeated label is another one. A word is scored at its end; until then the best that it can still
become stands in for it, in the ranking alone (look-ahead), so that what survives does not hang on where words end.
"""

from typing import NamedTuple

import numpy as np

from speechssl.decoding.compiled import compiled, inlined, part
from speechssl.decoding.hash_table import HashTable, find, insert, make_table
from speechssl.decoding.language_model import LanguageModel, score_word
from speechssl.decoding.top_scores import top
from speechssl.decoding.word_gains import Gains, Place, ahead_of, end_word, extend, is_space
from speechssl.decoding.word_tree import WordTree

ROOT = 1
"""Number of the prefix that all others go on from: the empty one, or what was settled. 0 is before it, and never in a
beam."""


class Limits(NamedTuple):
    """What is not searched."""

    beam_width: int
    """Prefixes that are kept."""
    beam_threshold: float
    """In nats below the best; worse ones are dropped."""
    label_threshold: float
    """In nats below a frame's best label; labels below it are passed over."""


class Prefixes(NamedTuple):
    """All prefixes that were ever kept, with room for more."""

    parent: np.ndarray
    """The prefix without its last label, int64 (P,)."""
    label: np.ndarray
    """The last label, int64 (P,); -1 of the empty one, and of the one before the root."""
    node: np.ndarray
    """As of :class:`Place`, as are the next two."""
    state: np.ndarray
    score: np.ndarray
    rank_in_beam: np.ndarray
    """Its position among those that the search goes on with, int64 (P,); -1 if it is not there."""
    children: HashTable
    """Prefix x labels + label to prefix."""


class Beam(NamedTuple):
    """The prefixes that the search goes on with, best first, and their log probabilities."""

    prefix: np.ndarray
    """Int64 (N,)"""
    in_blank: np.ndarray
    """Of all ways to say it that end in blank, (N,)."""
    in_label: np.ndarray
    """Of all others, (N,)."""


class Search(NamedTuple):
    """How far a search has come. What goes on from it may change its arrays."""

    prefixes: Prefixes
    num_prefixes: int
    beam: Beam


class Candidates(NamedTuple):
    """Prefixes with one label more, as many as there are in a frame; arrays have room for all."""

    parent: np.ndarray
    label: np.ndarray
    sound: np.ndarray
    """Log probability."""
    node: np.ndarray
    state: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    """Sound, score and look-ahead together."""


class Found(NamedTuple):
    """What is left at the end, best first."""

    prefixes: np.ndarray
    """Numbers of the texts, int64 (N,)."""
    scores: np.ndarray
    """Log probability of the sound and the gains together, (N,)."""
    is_whole: bool
    """False if all end within a word though only whole ones were allowed; the last word is no word then."""
    parent: np.ndarray
    """As of :class:`Prefixes`."""
    label: np.ndarray


@inlined
def add(a: float, b: float) -> float:
    """Logarithm of the sum of two numbers, from theirs."""
    if a < b:
        a, b = b, a
    return a if b == -np.inf else a + np.log1p(np.exp(b - a))


@compiled
def start(model: LanguageModel) -> Search:
    """Nothing was said yet."""
    return Search(first_prefix(model), ROOT + 1, Beam(np.full(1, ROOT), np.zeros(1), np.full(1, -np.inf)))


@compiled
def advance(
    so_far: Search, log_probs: np.ndarray, tree: WordTree, model: LanguageModel, gains: Gains, limits: Limits
) -> Search:
    """Go on by some frames: those of an utterance, in parts of any length, are searched as all at once.

    Args:
        so_far: what comes of the frames before.
        log_probs: emissions in nats, float32 (T, labels).
        tree: words, and how labels spell them.
        model: language model.
        gains: what words are worth.
        limits: what is not searched.
    """
    num_labels = log_probs.shape[1]
    prefixes, num_prefixes, beam = so_far.prefixes, so_far.num_prefixes, so_far.beam
    candidates = room_for_candidates(limits.beam_width * num_labels)
    labels = np.empty(num_labels, np.int64)
    is_taken = np.zeros((limits.beam_width, num_labels), np.bool_)
    for frame in log_probs:
        num_used = choose_labels(frame, tree.blank, limits.label_threshold, labels)
        if num_used == 0:  # silence: all are less probable by the same
            for i in range(len(beam.prefix)):
                beam.in_blank[i] = add(beam.in_blank[i], beam.in_label[i]) + frame[tree.blank]
                beam.in_label[i] = -np.inf
            continue
        prefixes = with_room(prefixes, num_prefixes, limits.beam_width, num_labels)
        total = np.empty(len(beam.prefix))
        for i in range(len(total)):
            total[i] = add(beam.in_blank[i], beam.in_label[i])
        used = labels[:num_used]
        same = stay(frame, used, beam, total, prefixes, is_taken, tree)
        ranks = ranks_of(same, prefixes, gains)
        num_candidates = propose(
            frame, used, beam, total, prefixes, is_taken, ranks, candidates, tree, model, gains, limits
        )
        forget(beam, prefixes, is_taken)
        beam, num_prefixes = keep(same, ranks, candidates, num_candidates, prefixes, num_prefixes, num_labels, limits)
    return Search(prefixes, num_prefixes, beam)


@part
def first_prefix(model: LanguageModel) -> Prefixes:
    """The empty prefix, and the one before it."""
    zeros, nothing = np.zeros(2, np.int64), np.empty(0, np.int64)
    children = make_table(nothing, nothing, 1)
    return Prefixes(zeros, np.full(2, -1), zeros.copy(), np.full(2, model.begin), np.zeros(2), np.full(2, -1), children)


@part
def with_room(prefixes: Prefixes, count: int, more: int, num_labels: int) -> Prefixes:
    """Prefixes, ``count`` of them, with room for so many more: the same, or copies of twice that size."""
    if count + more <= len(prefixes.parent):
        return prefixes
    size = 2 * (count + more)
    parent, label, node = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    state, score, rank = np.empty(size, np.int64), np.empty(size), np.full(size, -1)
    parent[:count], label[:count], node[:count] = prefixes.parent[:count], prefixes.label[:count], prefixes.node[:count]
    state[:count], score[:count] = prefixes.state[:count], prefixes.score[:count]
    rank[:count] = prefixes.rank_in_beam[:count]
    numbers = np.arange(ROOT + 1, count)
    children = make_table(parent[numbers] * num_labels + label[numbers], numbers, size)
    return Prefixes(parent, label, node, state, score, rank, children)


@part
def room_for_candidates(size: int) -> Candidates:
    """No candidates yet."""
    return Candidates(
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(size),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(size),
        np.empty(size),
    )


@part
def choose_labels(frame: np.ndarray, blank: int, threshold: float, labels: np.ndarray) -> int:
    """How many labels but the blank are not too far below the best one; they are the first of ``labels`` then."""
    least = frame.max() - threshold
    count = 0
    for label in range(len(frame)):
        if frame[label] >= least and label != blank:
            labels[count] = label
            count += 1
    return count


@inlined
def at_space(prefixes: Prefixes, prefix: int, tree: WordTree) -> bool:
    """Whether a prefix ends in a space, or has not begun: further spaces change no text."""
    label = prefixes.label[prefix]
    return label < 0 or is_space(tree, label)


@part
def stay(
    frame: np.ndarray,
    labels: np.ndarray,
    beam: Beam,
    total: np.ndarray,
    prefixes: Prefixes,
    is_taken: np.ndarray,
    tree: WordTree,
) -> Beam:
    """The prefixes of a beam after another frame: those that say nothing new, or become another one of them.

    Args:
        frame: log probabilities, (labels,).
        labels: those that are not passed over.
        beam: before the frame.
        total: log probabilities of its prefixes.
        prefixes: learn their places in the beam.
        is_taken: learns which labels lead from a prefix of the beam to another one, (beam, labels).
        tree: how labels spell.
    """
    size = len(beam.prefix)
    in_blank, in_label = np.empty(size), np.empty(size)
    for i in range(size):
        prefixes.rank_in_beam[beam.prefix[i]] = i
    for i in range(size):
        prefix = beam.prefix[i]
        last = prefixes.label[prefix]
        in_blank[i] = total[i] + frame[tree.blank]
        in_label[i] = -np.inf
        if at_space(prefixes, prefix, tree):
            for label in labels:
                if is_space(tree, label):
                    in_label[i] = add(in_label[i], total[i] + frame[label])
        else:
            in_label[i] = beam.in_label[i] + frame[last]
        parent = prefixes.rank_in_beam[prefixes.parent[prefix]] if last >= 0 else -1
        if parent >= 0:
            is_taken[parent, last] = True
            is_repeated = prefixes.label[beam.prefix[parent]] == last
            sound = beam.in_blank[parent] if is_repeated else total[parent]
            in_label[i] = add(in_label[i], sound + frame[last])
    return Beam(beam.prefix, in_blank, in_label)


@part
def ranks_of(beam: Beam, prefixes: Prefixes, gains: Gains) -> np.ndarray:
    """What the prefixes of a beam are ranked by: sound, whole words and look-ahead."""
    ranks = np.empty(len(beam.prefix))
    for i in range(len(ranks)):
        prefix = beam.prefix[i]
        gain = prefixes.score[prefix] + ahead_of(prefixes.node[prefix], gains)
        ranks[i] = add(beam.in_blank[i], beam.in_label[i]) + gain
    return ranks


@part
def propose(
    frame: np.ndarray,
    labels: np.ndarray,
    beam: Beam,
    total: np.ndarray,
    prefixes: Prefixes,
    is_taken: np.ndarray,
    ranks: np.ndarray,
    candidates: Candidates,
    tree: WordTree,
    model: LanguageModel,
    gains: Gains,
    limits: Limits,
) -> int:
    """How many prefixes with one label more are worth a look; they are the first of the candidates then."""
    best = ranks.max()
    count = 0
    for i in range(len(beam.prefix)):
        prefix = beam.prefix[i]
        last = prefixes.label[prefix]
        here = Place(prefixes.node[prefix], prefixes.state[prefix], prefixes.score[prefix])
        ends_in_space = at_space(prefixes, prefix, tree)
        for label in labels:
            if is_taken[i, label] or (ends_in_space and is_space(tree, label)):
                continue
            sound = (beam.in_blank[i] if label == last else total[i]) + frame[label]
            place = extend(here, label, tree, model, gains)
            rank = sound + place.score + ahead_of(place.node, gains)
            if rank == -np.inf or rank < best - limits.beam_threshold:
                continue
            best = max(best, rank)
            candidates.parent[count], candidates.label[count] = prefix, label
            candidates.sound[count], candidates.rank[count] = sound, rank
            candidates.node[count], candidates.state[count] = place.node, place.state
            candidates.score[count] = place.score
            count += 1
    return count


@part
def forget(beam: Beam, prefixes: Prefixes, is_taken: np.ndarray) -> None:
    """Take the marks of a beam away."""
    for i in range(len(beam.prefix)):
        prefix = beam.prefix[i]
        if prefixes.label[prefix] >= 0 and prefixes.rank_in_beam[prefixes.parent[prefix]] >= 0:
            is_taken[prefixes.rank_in_beam[prefixes.parent[prefix]], prefixes.label[prefix]] = False
    for i in range(len(beam.prefix)):
        prefixes.rank_in_beam[beam.prefix[i]] = -1


@part
def keep(
    same: Beam,
    ranks: np.ndarray,
    candidates: Candidates,
    num_candidates: int,
    prefixes: Prefixes,
    num_prefixes: int,
    num_labels: int,
    limits: Limits,
) -> tuple[Beam, int]:
    """The best of what stays and of what is proposed, and how many prefixes there are now; one that was dropped and
    comes back is the same one."""
    every = np.concatenate((ranks, candidates.rank[:num_candidates]))
    chosen = top(every, limits.beam_width)
    size = 1
    while size < len(chosen) and every[chosen[size]] >= every[chosen[0]] - limits.beam_threshold:
        size += 1
    beam = Beam(np.empty(size, np.int64), np.full(size, -np.inf), np.empty(size))
    for i in range(size):
        if chosen[i] < len(ranks):
            beam.prefix[i] = same.prefix[chosen[i]]
            beam.in_blank[i], beam.in_label[i] = same.in_blank[chosen[i]], same.in_label[chosen[i]]
            continue
        c = chosen[i] - len(ranks)
        key = candidates.parent[c] * num_labels + candidates.label[c]
        prefix = find(prefixes.children, key)
        if prefix < 0:
            prefix = num_prefixes
            num_prefixes += 1
            insert(prefixes.children, key, prefix)
            prefixes.parent[prefix], prefixes.label[prefix] = candidates.parent[c], candidates.label[c]
            prefixes.node[prefix], prefixes.state[prefix] = candidates.node[c], candidates.state[c]
            prefixes.score[prefix] = candidates.score[c]
        beam.prefix[i], beam.in_label[i] = prefix, candidates.sound[c]
    return beam, num_prefixes


@compiled
def finish(at_end: Search, tree: WordTree, model: LanguageModel, gains: Gains) -> Found:
    """Texts of the last prefixes: a space at the end changes none, words end, and so does the sentence."""
    beam, prefixes = at_end.beam, at_end.prefixes
    size = len(beam.prefix)
    sound = np.empty(size)
    for i in range(size):
        sound[i] = add(beam.in_blank[i], beam.in_label[i])
        prefixes.rank_in_beam[beam.prefix[i]] = i
    for i in range(size):
        prefix = beam.prefix[i]
        if prefixes.label[prefix] >= 0 and is_space(tree, prefixes.label[prefix]):
            without = prefixes.rank_in_beam[prefixes.parent[prefix]]
            if without >= 0:
                sound[without] = add(sound[without], sound[i])
                sound[i] = -np.inf
    scores = np.empty(size)
    for i in range(size):
        prefix = beam.prefix[i]
        place = Place(prefixes.node[prefix], prefixes.state[prefix], prefixes.score[prefix])
        if place.node != 0:
            place = end_word(place, tree, model, gains)
        scores[i] = sound[i] + place.score
        if gains.weight != 0:
            scores[i] += gains.weight * score_word(model, place.state, model.end).log_prob
    is_whole = scores.max() > -np.inf
    if not is_whole:
        for i in range(size):
            scores[i] = sound[i] + prefixes.score[beam.prefix[i]]
    order = top(scores, size)
    num_found = 0
    while num_found < size and scores[order[num_found]] > -np.inf:
        num_found += 1
    order = order[:num_found]
    return Found(beam.prefix[order], scores[order], is_whole, prefixes.parent, prefixes.label)
