"""Whether the confidence of words is what it says: fitting it on held-out speech, and its error."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jiwer
import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata

from speechssl.decoding.confidence import Calibration, logit
from speechssl.decoding.hypothesis import Hypothesis
from speechssl.evaluation.intervals import Estimate, resampled_sums
from speechssl.text.normalisation import clean_text

NUM_BINS = 10
PRIOR_SLOPE, PRIOR_OFFSET = 0.5, 2.0
"""Standard deviations around what changes nothing, of the logarithm of the slope and of the offset: without them a set
that is all right or all wrong would have no finite fit. Some hundred words outweigh them."""


class JudgedWords(NamedTuple):
    """Words of hypotheses, and which are right."""

    probabilities: np.ndarray
    """0..1, (N,)."""
    right: np.ndarray
    """bool (N,)."""
    utterances: np.ndarray
    """Number of each word's utterance, (N,)."""
    keys: list[str]
    """Of the utterances."""


class Reliability(NamedTuple):
    """Confidence against the share of right words, in bins of equally many words by confidence (Guo et al. 2017, "On
    calibration of modern neural networks", with quantiles for edges)."""

    confidence: np.ndarray
    """Mean of each bin, (bins,)."""
    accuracy: np.ndarray
    """Share of right words, (bins,)."""
    num_words: np.ndarray
    """(bins,)"""
    error: Estimate
    """Expected calibration error: mean over words of the distance between the two, with its 95% interval."""
    chance: float
    """What so many words give where every confidence is exact."""
    auc: float
    """Share of pairs of a right and a wrong word in which the right one has the higher confidence."""

    def to_dict(self) -> dict[str, Any]:
        """For calibration.json."""
        return {
            "error": self.error._asdict(),
            "chance": self.chance,
            "auc": self.auc,
            "num_words": int(self.num_words.sum()),
            "confidence": self.confidence.tolist(),
            "accuracy": self.accuracy.tolist(),
        }


def judge_words(
    references: Mapping[str, str], hypotheses: Mapping[str, Hypothesis], write: Callable[[str], str] = clean_text
) -> JudgedWords:
    """Align words with those of the references; one that stands against an equal one is right.

    Args:
        references: transcript by utterance id, as references are written, none of them empty.
        hypotheses: by utterance id.
        write: gives an output's words as outputs are written.
    """
    probabilities: list[float] = []
    right: list[bool] = []
    utterances: list[int] = []
    for number, (key, reference) in enumerate(references.items()):
        written = [(word, write(word.text)) for word in hypotheses[key].words]
        words = [word for word, text in written if text]
        if not words:
            continue
        # One token a word whatever writing makes of it, so that there are as many as confidences.
        text = [text.replace(" ", "") for _, text in written if text]
        are_right = np.zeros(len(words), bool)
        for chunk in jiwer.process_words(reference, " ".join(text)).alignments[0]:
            if chunk.type == "equal":
                are_right[chunk.hyp_start_idx : chunk.hyp_end_idx] = True
        probabilities += [word.confidence for word in words]
        right += are_right.tolist()
        utterances += [number] * len(words)
    return JudgedWords(np.array(probabilities), np.array(right, bool), np.array(utterances, int), list(references))


def fit_calibration(words: JudgedWords) -> Calibration:
    """The line on the logit that makes held-out words most probable, with a weak prior on no change."""
    scores = np.array([logit(p) for p in words.probabilities])

    def loss(parameters: np.ndarray) -> float:
        log_slope, offset = parameters
        signed = np.where(words.right, 1, -1) * (np.exp(log_slope) * scores + offset)
        prior = (log_slope / PRIOR_SLOPE) ** 2 + (offset / PRIOR_OFFSET) ** 2
        return float(np.logaddexp(0, -signed).sum() + prior / 2)

    log_slope, offset = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-4}).x
    return Calibration(float(np.exp(log_slope)), float(offset), len(scores))


def calibrated(words: JudgedWords, calibration: Calibration) -> np.ndarray:
    """Confidence of each word, (N,)."""
    return np.array([calibration.of(p) for p in words.probabilities])


def held_out_confidence(words: JudgedWords, *, num_folds: int = 5) -> np.ndarray:
    """Confidence of each word, fitted without its utterance and others in turn, (N,): what a new set may expect."""
    found = np.empty(len(words.right))
    folds = words.utterances % num_folds
    for fold in range(num_folds):
        kept, left = folds != fold, folds == fold
        part = words._replace(probabilities=words.probabilities[kept], right=words.right[kept])
        found[left] = calibrated(words._replace(probabilities=words.probabilities[left]), fit_calibration(part))
    return found


def reliability(
    confidence: np.ndarray, right: np.ndarray, units: Sequence[int], *, samples: int = 2_000, seed: int = 0
) -> Reliability:
    """Compare confidence, (N,), with which words are right, bool (N,).

    Args:
        confidence: 0..1.
        right: whether each word is right.
        units: number of what each word is resampled with for the interval: speakers or utterances, (N,).
        samples: resamples.
        seed: of the resamples.
    """
    order = np.argsort(confidence, kind="stable")
    bins = np.empty(len(order), int)
    bins[order] = np.arange(len(order)) * NUM_BINS // max(len(order), 1)
    units_of, unit_numbers = np.unique(np.asarray(units), return_inverse=True)
    columns = np.zeros((len(units_of), 3, NUM_BINS))
    for row, values in enumerate((np.ones(len(right)), confidence, right)):
        np.add.at(columns[:, row], (unit_numbers, bins), values)
    sums = columns.sum(0)
    resampled = resampled_sums(columns.reshape(len(columns), -1), samples, seed).reshape(samples, 3, NUM_BINS)
    low, high = np.percentile([_error(item) for item in resampled], (2.5, 97.5))
    draws = np.random.default_rng(seed).random((200, len(right))) < confidence
    by_chance = [_error(np.stack([sums[0], sums[1], np.bincount(bins, draw, NUM_BINS)])) for draw in draws]
    return Reliability(
        confidence=sums[1] / np.maximum(sums[0], 1),
        accuracy=sums[2] / np.maximum(sums[0], 1),
        num_words=sums[0].astype(int),
        error=Estimate(_error(sums), float(low), float(high)),
        chance=float(np.mean(by_chance)),
        auc=_auc(confidence, right),
    )


def _error(sums: np.ndarray) -> float:
    """Mean distance, from numbers of words, sums of confidence and numbers of right words, (3, bins)."""
    return float(np.abs(sums[1] - sums[2]).sum() / max(sums[0].sum(), 1))


def _auc(confidence: np.ndarray, right: np.ndarray) -> float:
    """Area under the receiver operating characteristic; a half where all are right or all wrong."""
    num_right = int(right.sum())
    num_pairs = num_right * (len(right) - num_right)
    if num_pairs == 0:
        return 0.5
    return float((rankdata(confidence)[right].sum() - num_right * (num_right + 1) / 2) / num_pairs)
