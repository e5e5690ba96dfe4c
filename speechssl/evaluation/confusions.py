"""What was taken for what, and which utterances came out worst."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from speechssl.evaluation.aligned import Aligned, Pair, show_aligned
from speechssl.evaluation.error_rates import ScoredSet

MAX_KEPT = 50
"""Confusions of a kind that are kept."""
MAX_WORST = 20
"""Utterances that are kept."""


@dataclass(frozen=True)
class Confusion:
    """One error, as often as it was made."""

    reference: str
    """Empty for an insertion."""
    hypothesis: str
    """Empty for a deletion."""
    count: int
    num_said: int
    """Times that the word is in the references; 0 for an insertion that never is."""


class Confusions(NamedTuple):
    """Most frequent errors of each kind, the most frequent first."""

    substitutions: list[Confusion]
    deletions: list[Confusion]
    insertions: list[Confusion]


@dataclass(frozen=True)
class Worst:
    """An utterance with many errors."""

    id: str
    errors: int
    num_words: int
    aligned: list[str]
    """Reference, output and marks, a line each; three more for each piece of a long one."""


def find_confusions(items: Sequence[Aligned]) -> Confusions:
    """Count what was taken for what."""
    pairs = Counter(pair for item in items for pair in item.pairs)
    said: Counter[str] = Counter()
    for pair, count in pairs.items():
        said[pair.reference] += count
    del said[""]

    def of_kind(kind: str) -> list[Confusion]:
        found = [(pair, count) for pair, count in pairs.items() if pair.kind == kind]
        found.sort(key=lambda item: (-item[1], item[0]))
        return [_confusion(pair, count, said) for pair, count in found[:MAX_KEPT]]

    return Confusions(*map(of_kind, ("substitution", "deletion", "insertion")))


def _confusion(pair: Pair, count: int, said: Counter[str]) -> Confusion:
    return Confusion(pair.reference, pair.hypothesis, count, said[pair.reference or pair.hypothesis])


def find_worst(scored: ScoredSet, limit: int = MAX_WORST) -> list[Worst]:
    """Utterances with the most errors, the one with the fewest words first among equals."""
    order = sorted(
        range(len(scored.ids)),
        key=lambda i: (-scored.words[i].edits.errors, scored.words[i].edits.in_reference, scored.ids[i]),
    )
    return [
        Worst(scored.ids[i], edits.errors, edits.in_reference, show_aligned(scored.words[i]))
        for i in order[:limit]
        if (edits := scored.words[i].edits).errors
    ]
