"""Word and character error rates with bootstrap intervals, and what one model gains over another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np

from speechssl.errors import DataError

INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class ErrorRates:
    """Error rates of one set; shares, not percent."""

    wer: float
    wer_low: float
    """Lower end of the 95% interval (percentile bootstrap over utterances, Bisani and Ney 2004)."""
    wer_high: float
    cer: float
    num_utterances: int
    num_words: int
    substitutions: int
    deletions: int
    insertions: int


@dataclass(frozen=True)
class RelativeReduction:
    """How much lower the word error rate of one model is, as a share of the other's."""

    reduction: float
    low: float
    high: float
    """Ends of the 95% interval (paired bootstrap over utterances)."""


@dataclass(frozen=True)
class WordCounts:
    """Edits and reference words of each utterance, in one order for all models."""

    edits: np.ndarray
    words: np.ndarray


def error_rates(
    references: Mapping[str, str], hypotheses: Mapping[str, str], *, bootstrap_samples: int = 10_000, seed: int = 0
) -> ErrorRates:
    """Score hypotheses against references of the same ids.

    Args:
        references: transcript by utterance id; none may be empty.
        hypotheses: output by utterance id.
        bootstrap_samples: resamples behind the interval; 0 gives an interval of no width.
        seed: of the resamples.

    Raises:
        DataError: the ids differ, or a reference is empty.
    """
    ids = matched_ids(references, hypotheses)
    reference_list = [references[i] for i in ids]
    hypothesis_list = [hypotheses[i] for i in ids]
    words = jiwer.process_words(reference_list, hypothesis_list)
    characters = jiwer.process_characters(reference_list, hypothesis_list)
    counts = count_words(references, hypotheses)
    low, high = bootstrap_interval(counts, bootstrap_samples, seed) if bootstrap_samples else (words.wer, words.wer)
    return ErrorRates(
        wer=words.wer,
        wer_low=low,
        wer_high=high,
        cer=characters.cer,
        num_utterances=len(ids),
        num_words=int(counts.words.sum()),
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
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


def count_words(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> WordCounts:
    """Per-utterance counts, in order of id."""
    ids = matched_ids(references, hypotheses)
    edits, words = [], []
    for i in ids:
        result = jiwer.process_words(references[i], hypotheses[i])
        edits.append(result.substitutions + result.deletions + result.insertions)
        words.append(len(references[i].split()))
    return WordCounts(np.array(edits), np.array(words))


def resample_weights(num_utterances: int, samples: int, seed: int) -> np.ndarray:
    """How often each utterance occurs in each resample, (samples, utterances)."""
    draws = np.random.Generator(np.random.PCG64(seed))
    return draws.multinomial(num_utterances, np.full(num_utterances, 1 / num_utterances), size=samples)


def bootstrap_interval(counts: WordCounts, samples: int, seed: int) -> tuple[float, float]:
    """95% percentile interval of the word error rate over resampled utterances."""
    weights = resample_weights(len(counts.words), samples, seed)
    rates = (weights @ counts.edits) / np.maximum(weights @ counts.words, 1)
    low, high = np.percentile(rates, INTERVAL)
    return float(low), float(high)


def relative_reduction(
    baseline: Sequence[WordCounts], model: Sequence[WordCounts], *, bootstrap_samples: int = 10_000, seed: int = 0
) -> RelativeReduction:
    """Reduction of the mean word error rate over seeds, (baseline - model) / baseline.

    Utterances are resampled in pairs, and the seeds of each arm with replacement, so the interval carries both what
    another test set and what another seed would change.

    Args:
        baseline: counts of each seed, over the same utterances throughout.
        model: likewise.
        bootstrap_samples: resamples.
        seed: of the resamples.

    Raises:
        DataError: the arms were scored on different references.
    """
    words = baseline[0].words
    if any(not np.array_equal(counts.words, words) for counts in (*baseline, *model)):
        raise DataError("the two arms were scored on different references; evaluate both on the same shards")
    point = 1 - _mean_edits(model).sum() / max(_mean_edits(baseline).sum(), 1e-12)
    weights = resample_weights(len(words), bootstrap_samples, seed)
    draws = np.random.Generator(np.random.PCG64(seed + 1))
    sums = []
    for arm in (baseline, model):
        per_seed = weights @ np.stack([counts.edits for counts in arm], axis=1)  # (samples, seeds)
        chosen = draws.integers(0, len(arm), size=per_seed.shape)
        sums.append(np.take_along_axis(per_seed, chosen, axis=1).mean(1))
    low, high = np.percentile(1 - sums[1] / np.maximum(sums[0], 1e-12), INTERVAL)
    return RelativeReduction(float(point), float(low), float(high))


def _mean_edits(arm: Sequence[WordCounts]) -> np.ndarray:
    return np.mean([counts.edits for counts in arm], axis=0)


def diagnose(references: Mapping[str, str], hypotheses: Mapping[str, str], wer: float) -> str | None:
    """Why a word error rate is about 1, in one sentence; None if it is lower."""
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
    known = {c for text in outputs for c in text}
    strange = sorted({c for text in references.values() for c in text} - known)
    if len(strange) > 10:
        return f"the references hold characters the model never writes ({''.join(strange[:30])}); another language?"
    return "the outputs are words but not the right ones: too few updates, too few labels, or unlike training audio"
