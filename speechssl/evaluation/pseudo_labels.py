"""Self-training: which transcripts of a recogniser are good enough to learn from.

One round of pseudo-labels that are kept by their confidence (Kahn et al. 2020, "Self-training for end-to-end speech
recognition", section 3.2). How confident is enough is chosen on held-out speech with transcripts: as many as can be
kept while those of the held-out speech that would be kept too hold few errors.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import jiwer


class Judged(NamedTuple):
    """A held-out utterance as a recogniser wrote it."""

    reference: str
    hypothesis: str
    confidence: float
    """0 to 1, as of :class:`Hypothesis`."""


class Threshold(NamedTuple):
    """What is kept, and what of the held-out speech would be."""

    confidence: float
    """Least that is kept."""
    wer: float
    """Errors over words of the held-out utterances that would be kept."""
    kept: float
    """Their share."""


def choose_threshold(held_out: Sequence[Judged], max_wer: float) -> Threshold | None:
    """The lowest confidence from which on transcripts of held-out speech hold at most so many errors.

    Args:
        held_out: transcripts of speech that was not learned from; empty ones are never kept.
        max_wer: share of wrong words.

    Returns:
        None if not even the most confident ones are so good.
    """
    best, errors, words, kept = None, 0, 0, 0
    written = sorted((item for item in held_out if item.hypothesis), key=lambda item: -item.confidence)
    for confidence, group in groupby(written, key=lambda item: item.confidence):  # alike are kept alike
        items = list(group)
        counted = jiwer.process_words([item.reference for item in items], [item.hypothesis for item in items])
        errors += counted.substitutions + counted.deletions + counted.insertions
        words += counted.hits + counted.substitutions + counted.deletions
        kept += len(items)
        if errors <= max_wer * words:
            best = Threshold(confidence, errors / words, kept / len(held_out))
    return best
