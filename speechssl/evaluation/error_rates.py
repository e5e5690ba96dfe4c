"""Word and character error rates with their intervals."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jiwer
import numpy as np

from speechssl.errors import DataError
from speechssl.evaluation.aligned import Aligned, Edits, align
from speechssl.evaluation.intervals import Interval, Unit, WordCounts, num_speakers, unit_of, wer_interval
from speechssl.text.foreign import Foreign

MAX_NAMED = 10
"""Ids that a message names."""


@dataclass(frozen=True)
class ErrorRates:
    """Error rates of one set; shares, not percent."""

    wer: float
    wer_low: float
    """Lower end of the 95% interval."""
    wer_high: float
    cer: float
    """Of grapheme clusters, what a reader takes for one letter; spaces count."""
    mer: float
    """Match error rate: errors among all that was aligned, at most 1 (Morris et al. 2004, "From WER and RIL to MER and
    WIL")."""
    wil: float
    """Word information lost (ibid.): 1 less the product of the shares of reference words and of output words that are
    hits."""
    num_utterances: int
    num_wrong: int
    """Utterances with an error."""
    num_words: int
    num_characters: int
    substitutions: int
    deletions: int
    insertions: int
    num_speakers: int = 0
    """0 unless all are known."""
    interval_unit: Unit = "utterances"
    """What was resampled for the interval."""


class ScoredSet(NamedTuple):
    """Utterances in order of their ids."""

    ids: list[str]
    words: list[Aligned]
    characters: list[Aligned]
    counts: WordCounts
    """Of words, with speakers."""


def error_rates(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    *,
    speakers: Mapping[str, str] | None = None,
    bootstrap_samples: int = 10_000,
    seed: int = 0,
) -> ErrorRates:
    """Score hypotheses against references of the same ids.

    Args:
        references: transcript by utterance id; an empty one is silence, in which each word is an insertion.
        hypotheses: output by utterance id.
        speakers: by utterance id, of those that are known; the interval resamples speakers if all are.
        bootstrap_samples: resamples behind the interval; 0 gives an interval of no width.
        seed: of the resamples.

    Raises:
        DataError: the ids differ, or no reference has a word.
    """
    return rates_of_set(align_set(references, hypotheses, speakers), bootstrap_samples=bootstrap_samples, seed=seed)


def align_set(
    references: Mapping[str, str], hypotheses: Mapping[str, str], speakers: Mapping[str, str] | None = None
) -> ScoredSet:
    """Align the utterances of a set, for all figures that are made of it.

    Raises:
        DataError: the ids differ, or no reference has a word.
    """
    ids = matched_ids(references, hypotheses)
    texts = [references[i] for i in ids], [hypotheses[i] for i in ids]
    words = align(*texts)
    return ScoredSet(ids, words, align(*texts, of="characters"), make_counts(ids, references, words, speakers))


def rates_of_set(scored: ScoredSet, *, bootstrap_samples: int = 10_000, seed: int = 0) -> ErrorRates:
    """Error rates of aligned utterances, as ``error_rates`` gives them."""
    words, characters = sum_edits(scored.words), sum_edits(scored.characters)
    wer = words.errors / words.in_reference
    interval = wer_interval(scored.counts, bootstrap_samples, seed) if bootstrap_samples else Interval(wer, wer)
    return ErrorRates(
        wer=wer,
        wer_low=interval.low,
        wer_high=interval.high,
        cer=characters.errors / characters.in_reference,
        mer=words.errors / (words.in_reference + words.insertions),
        wil=information_lost(words),
        num_utterances=len(scored.ids),
        num_wrong=sum(item.edits.errors > 0 for item in scored.words),
        num_words=words.in_reference,
        num_characters=characters.in_reference,
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        num_speakers=num_speakers(scored.counts),
        interval_unit=unit_of(scored.counts),
    )


def sum_edits(items: Sequence[Aligned]) -> Edits:
    """Edits of several utterances."""
    return Edits(*(sum(column) for column in zip(*(item.edits for item in items), strict=True)))


def information_lost(edits: Edits) -> float:
    """Word information lost; all of it if nothing was written."""
    written = edits.hits + edits.substitutions + edits.insertions
    return 1 - edits.hits**2 / (edits.in_reference * written) if written else 1.0


def matched_ids(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> list[str]:
    """Ids in order.

    Raises:
        DataError: some are on one side only, or no reference has a word, of which there would be no rate.
    """
    problems = [
        f"{len(ids)} of {len(known)} utterances have no {what}: {name_some(ids)}"
        for what, known, ids in (
            ("hypothesis", references, sorted(references.keys() - hypotheses.keys())),
            ("reference", hypotheses, sorted(hypotheses.keys() - references.keys())),
        )
        if ids
    ]
    if not references:
        problems.append("no utterances to score")
    elif not problems and not any(text.split() for text in references.values()):
        inserted = sum(len(text.split()) for text in hypotheses.values())
        problems.append(
            f"none of the {len(references)} references has a word, so there is no error rate; the outputs hold "
            f"{inserted} words, all of them insertions"
        )
    if problems:
        raise DataError("\n".join(problems))
    return sorted(references)


def name_some(ids: Sequence[str]) -> str:
    """The first of some ids, and how many more there are."""
    more = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
    return ", ".join(ids[:MAX_NAMED]) + more


def count_words(
    references: Mapping[str, str], hypotheses: Mapping[str, str], speakers: Mapping[str, str] | None = None
) -> WordCounts:
    """Per-utterance counts, in order of id."""
    ids = matched_ids(references, hypotheses)
    return make_counts(ids, references, align([references[i] for i in ids], [hypotheses[i] for i in ids]), speakers)


def make_counts(
    ids: Sequence[str],
    references: Mapping[str, str],
    words: Sequence[Aligned],
    speakers: Mapping[str, str] | None,
) -> WordCounts:
    """Counts of aligned utterances."""
    digest = hashlib.sha256(json.dumps([(i, references[i]) for i in ids]).encode()).hexdigest()
    edits = np.array([item.edits.errors for item in words])
    lengths = np.array([item.edits.in_reference for item in words])
    return WordCounts(edits, lengths, numbered([(speakers or {}).get(i) for i in ids]), digest)


def numbered(speakers: list[str | None]) -> np.ndarray | None:
    """A number for each name, (N,); None if one is not known."""
    if not all(speakers):
        return None
    return np.unique(np.array(speakers, dtype=object).astype(str), return_inverse=True)[1]


def respelled_wer(references: Mapping[str, str], hypotheses: Mapping[str, str], foreign: Foreign) -> float | None:
    """Word error rate if the references were spelt with the model's characters; None if none can be respelled."""
    if all(item.respelled is None for item in foreign.characters):
        return None
    respelled = {i: text for i, reference in references.items() if (text := foreign.respell(reference))}
    return jiwer.wer(list(respelled.values()), [hypotheses[i] for i in respelled]) if respelled else None
