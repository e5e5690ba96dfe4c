"""What a search that goes on has agreed on, and how the past is forgotten."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np

from speechssl.decoding.hash_table import make_table
from speechssl.decoding.prefix_search import ROOT, Beam, Prefixes, Search


def lineage(prefixes: Prefixes, prefix: int) -> list[int]:
    """The prefixes that lead from the root, which is left out, to one, itself the last."""
    found = []
    while prefix != ROOT:
        found.append(prefix)
        prefix = int(prefixes.parent[prefix])
    return found[::-1]


def contenders(state: Search) -> list[int]:
    """The prefixes of the beam that may still become the best. What is to come adds the same to those that end in the
    same label, in the same word and after the same words, as far as the language model looks back; so the less probable
    of them stay so."""
    beam, prefixes = state.beam, state.prefixes
    better: dict[tuple[int, int, int], list[tuple[float, float]]] = {}
    found = []
    for prefix, in_blank, in_label in zip(beam.prefix.tolist(), beam.in_blank, beam.in_label, strict=True):
        gain = prefixes.score[prefix]
        others = better.setdefault((prefixes.label[prefix], prefixes.node[prefix], prefixes.state[prefix]), [])
        if all(in_blank + gain > blank or in_label + gain > label for blank, label in others):
            found.append(prefix)
            others.append((in_blank + gain, in_label + gain))
    return found


def num_agreed(state: Search, best: Sequence[int]) -> int:
    """How many of the prefixes that lead to the best one lead to all that may still become the best, so that nothing to
    come can change them."""
    place = {prefix: i for i, prefix in enumerate([ROOT, *best])}
    agreed = len(best)
    for prefix in contenders(state):
        while prefix not in place:
            prefix = int(state.prefixes.parent[prefix])
        agreed = min(agreed, place[prefix])
    return agreed


def forget(state: Search, root: int) -> Search:
    """The same search from another root: without what leads to it, and without what does not go on from it. Where all
    of the beam does, no text that it will find is another one."""
    old = state.prefixes
    kept, stays = {root}, []
    for place, prefix in enumerate(state.beam.prefix.tolist()):
        line = []
        while prefix != 0 and prefix not in kept:
            line.append(prefix)
            prefix = int(old.parent[prefix])
        if prefix != 0:
            kept.update(line)
            stays.append(place)
    order = np.array(sorted(kept))  # a prefix has a higher number than those that lead to it
    numbers = {prefix: i for i, prefix in enumerate(order.tolist(), ROOT)}
    parent = [numbers.get(prefix, 0) for prefix in old.parent[order].tolist()]
    nothing = np.empty(0, np.int64)
    prefixes = Prefixes(
        np.array([0, *parent]),
        np.append(-1, old.label[order]),
        np.append(0, old.node[order]),
        np.append(0, old.state[order]),
        np.append(0.0, old.score[order]),
        np.full(len(order) + ROOT, -1),
        make_table(nothing, nothing, 1),  # filled when there is room for more
    )
    beam = Beam(
        np.array([numbers[prefix] for prefix in state.beam.prefix[stays].tolist()]),
        state.beam.in_blank[stays],
        state.beam.in_label[stays],
    )
    return Search(prefixes, len(order) + ROOT, beam)


def alone(state: Search, prefix: int) -> Search:
    """The same search with one prefix of its beam."""
    place = state.beam.prefix == prefix
    return state._replace(beam=Beam(*(values[place] for values in state.beam)))


def copy_of(state: Search) -> Search:
    """The same search, to go on from twice."""
    prefixes, beam = deepcopy((state.prefixes, state.beam))
    return Search(prefixes, state.num_prefixes, beam)
