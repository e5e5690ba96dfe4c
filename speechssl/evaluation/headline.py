"""The error rate that heads an evaluation, with its interval."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from speechssl.evaluation.aligned import align
from speechssl.evaluation.error_rates import ScoredSet, make_counts, matched_ids
from speechssl.evaluation.intervals import WordCounts, wer_interval
from speechssl.text.measure import choose_measure


def headline(references: Mapping[str, str], scored: ScoredSet, *, bootstrap_samples: int) -> dict[str, Any]:
    """Which error rate it is, by the references; if it is that of characters, its 95% interval too.

    Args:
        references: transcript by utterance id.
        scored: outputs aligned with them.
        bootstrap_samples: resamples behind the interval; 0 gives none.
    """
    measure = choose_measure(references.values())
    if measure == "wer" or not bootstrap_samples:
        return {"headline": measure}
    edits = [item.edits for item in scored.characters]
    counts = replace(
        scored.counts,
        edits=np.array([item.errors for item in edits]),
        words=np.array([item.in_reference for item in edits]),
    )
    interval = wer_interval(counts, bootstrap_samples, seed=0)
    return {"headline": measure, "cer_low": interval.low, "cer_high": interval.high}


def count_characters(
    references: Mapping[str, str], hypotheses: Mapping[str, str], speakers: Mapping[str, str]
) -> WordCounts:
    """Edits and reference characters, grapheme clusters, of each utterance, in order of id.

    Raises:
        DataError: the ids differ, or no reference has a word.
    """
    ids = matched_ids(references, hypotheses)
    aligned = align([references[i] for i in ids], [hypotheses[i] for i in ids], of="characters")
    return make_counts(ids, references, aligned, speakers)
