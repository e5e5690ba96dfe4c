"""Word and character error rates with their intervals."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import jiwer
import numpy as np

from speechssl.errors import DataError
from speechssl.evaluation.intervals import Interval, Unit, WordCounts, num_speakers, unit_of, wer_interval
from speechssl.text.characters import glyph
from speechssl.text.foreign import Foreign
from speechssl.text.graphemes import as_characters


@dataclass(frozen=True)
class ErrorRates:
    """Error rates of one set; shares, not percent."""

    wer: float
    wer_low: float
    """Lower end of the 95% interval."""
    wer_high: float
    cer: float
    """Of grapheme clusters, what a reader takes for one letter; spaces count."""
    num_utterances: int
    num_words: int
    substitutions: int
    deletions: int
    insertions: int
    num_speakers: int = 0
    """0 unless all are known."""
    interval_unit: Unit = "utterances"
    """What was resampled for the interval."""


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
        references: transcript by utterance id; none may be empty.
        hypotheses: output by utterance id.
        speakers: by utterance id, of those that are known; the interval resamples speakers if all are.
        bootstrap_samples: resamples behind the interval; 0 gives an interval of no width.
        seed: of the resamples.

    Raises:
        DataError: the ids differ, or a reference is empty.
    """
    ids = matched_ids(references, hypotheses)
    reference_list = [references[i] for i in ids]
    hypothesis_list = [hypotheses[i] for i in ids]
    words = jiwer.process_words(reference_list, hypothesis_list)
    said, heard = as_characters(reference_list, hypothesis_list)
    characters = jiwer.process_characters(said, heard)
    counts = count_words(references, hypotheses, speakers)
    interval = Interval(words.wer, words.wer)
    if bootstrap_samples:
        interval = wer_interval(counts, bootstrap_samples, seed)
    return ErrorRates(
        wer=words.wer,
        wer_low=interval.low,
        wer_high=interval.high,
        cer=characters.cer,
        num_utterances=len(ids),
        num_words=int(counts.words.sum()),
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        num_speakers=num_speakers(counts),
        interval_unit=unit_of(counts),
    )


def matched_ids(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> list[str]:
    """Ids in order.

    Raises:
        DataError: some are on one side only, or a reference is empty.
    """
    problems = [f"{i}: no hypothesis" for i in sorted(references.keys() - hypotheses.keys())]
    problems += [f"{i}: no reference" for i in sorted(hypotheses.keys() - references.keys())]
    problems += [f"{i}: empty reference" for i, text in sorted(references.items()) if not text.split()]
    if not references:
        problems.append("no utterances to score")
    if problems:
        more = f"\nand {len(problems) - 10} more" if len(problems) > 10 else ""
        raise DataError("\n".join(problems[:10]) + more)
    return sorted(references)


def count_words(
    references: Mapping[str, str], hypotheses: Mapping[str, str], speakers: Mapping[str, str] | None = None
) -> WordCounts:
    """Per-utterance counts, in order of id."""
    ids = matched_ids(references, hypotheses)
    edits, words = [], []
    for i in ids:
        result = jiwer.process_words(references[i], hypotheses[i])
        edits.append(result.substitutions + result.deletions + result.insertions)
        words.append(len(references[i].split()))
    digest = digest_of([(i, references[i]) for i in ids])
    return WordCounts(np.array(edits), np.array(words), numbered([(speakers or {}).get(i) for i in ids]), digest)


def digest_of(references: list[tuple[str, str]]) -> str:
    """SHA-256 of ids and references, by which scores of the same ones are known."""
    return hashlib.sha256(json.dumps(references).encode()).hexdigest()


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


def diagnose(references: Mapping[str, str], hypotheses: Mapping[str, str], wer: float, foreign: Foreign) -> str | None:
    """Why an error rate is about 1, in one sentence; None if it is lower.

    Args:
        references: transcript by utterance id.
        hypotheses: output by utterance id.
        wer: of them, or that of characters where words have no spaces.
        foreign: what the model cannot write of the references.
    """
    if wer < 0.95:
        return None
    outputs = [hypotheses[i] for i in references]
    empty = sum(not text for text in outputs) / max(len(outputs), 1)
    if empty > 0.9:
        return (
            f"{empty:.0%} of the outputs are empty: the model still says blank everywhere, the plateau on which CTC "
            "training starts; train for more updates, or with a higher learning rate"
        )
    folded = jiwer.wer([t.lower() for t in references.values()], [hypotheses[i].lower() or " " for i in references])
    if folded < 0.9 * wer:
        return (
            "references and outputs differ in case; make the shards again with the --text_case of the training shards"
        )
    if foreign.num_words > 0.5 * foreign.total_words:
        strange = "".join(glyph(item.character) for item in foreign.characters[:30])
        return (
            f"{foreign.num_words} of {foreign.total_words} reference words hold characters that the model cannot write "
            f"({strange}); another language, or another spelling than the training transcripts have?"
        )
    return "the outputs are words but not the right ones: too few updates, too few labels, or unlike training audio"
