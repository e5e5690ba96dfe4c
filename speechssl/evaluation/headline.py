"""The error rate that heads an evaluation, with its interval."""

from collections.abc import Mapping
from typing import Any

import jiwer
import numpy as np

from speechssl.evaluation.error_rates import digest_of, matched_ids, numbered
from speechssl.evaluation.intervals import WordCounts, wer_interval
from speechssl.text.graphemes import as_characters
from speechssl.text.measure import choose_measure


def headline(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    speakers: Mapping[str, str],
    *,
    bootstrap_samples: int,
) -> dict[str, Any]:
    """Which error rate it is, by the references; if it is that of characters, its 95% interval too.

    Args:
        references: transcript by utterance id, none empty.
        hypotheses: output by utterance id, of the same ids.
        speakers: by utterance id, of those that are known.
        bootstrap_samples: resamples behind the interval; 0 gives none.
    """
    measure = choose_measure(references.values())
    if measure == "wer" or not bootstrap_samples:
        return {"headline": measure}
    interval = wer_interval(count_characters(references, hypotheses, speakers), bootstrap_samples, seed=0)
    return {"headline": measure, "cer_low": interval.low, "cer_high": interval.high}


def count_characters(
    references: Mapping[str, str], hypotheses: Mapping[str, str], speakers: Mapping[str, str]
) -> WordCounts:
    """Edits and reference characters, grapheme clusters, of each utterance, in order of id.

    Raises:
        DataError: the ids differ, or a reference is empty.
    """
    ids = matched_ids(references, hypotheses)
    edits = []
    said, heard = as_characters([references[i] for i in ids], [hypotheses[i] for i in ids])
    for reference, hypothesis in zip(said, heard, strict=True):
        found = jiwer.process_characters(reference, hypothesis)
        edits.append(found.substitutions + found.deletions + found.insertions)
    lengths = np.array([len(reference) for reference in said])
    texts = digest_of([(i, references[i]) for i in ids])
    return WordCounts(np.array(edits), lengths, numbered([speakers.get(i) for i in ids]), texts)
