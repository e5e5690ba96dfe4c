"""Weights of a language model by their error rates on a dev set: what the model gives is computed once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from speechssl.config import BeamConfig
from speechssl.decoding.beam import BeamDecoder, load_search_space
from speechssl.evaluation.error_rates import error_rates
from speechssl.text.measure import Measure
from speechssl.text.vocabulary import Vocabulary
from speechssl.text.writing import Writer


class Trial(NamedTuple):
    """A setting, and what it gave."""

    weight: float
    word_score: float
    wer: float
    cer: float


def sweep(
    references: Mapping[str, str],
    emissions: Mapping[str, Tensor],
    vocabulary: Vocabulary,
    config: BeamConfig,
    settings: Sequence[tuple[float, float]],
    writer: Writer,
    progress: Callable[[Sequence[tuple[float, float]]], Iterable[tuple[float, float]]] = iter,
) -> list[Trial]:
    """Error rates of each pair of a weight and a word score.

    Args:
        references: by utterance.
        emissions: of those that are long enough to be heard, in nats, float32 (T, labels).
        vocabulary: of the model.
        config: the rest of the search.
        settings: weights and word scores.
        writer: how outputs are written, as references are.
        progress: passes the settings on, and may show how many are done.

    Raises:
        DataError: a file that the configuration names cannot be read.
    """
    space = load_search_space(config, vocabulary)
    trials = []
    for weight, word_score in progress(settings):
        decoder = BeamDecoder(vocabulary, replace(config, weight=weight, word_score=word_score), space)
        outputs = dict.fromkeys(references, "") | {
            key: writer.output(decoder.best(emissions[key], 1)[0].hypothesis.text)
            for key in references
            if key in emissions
        }
        rates = error_rates(references, outputs, bootstrap_samples=0)
        trials.append(Trial(weight, word_score, rates.wer, rates.cer))
    return trials


def best_of(trials: Sequence[Trial], measure: Measure = "wer") -> Trial:
    """The lowest error rate; of several, the lowest of the other measure, then the smaller weight and score."""

    def place(trial: Trial) -> tuple[float, ...]:
        rates = (trial.wer, trial.cer) if measure == "wer" else (trial.cer, trial.wer)
        return *rates, trial.weight, abs(trial.word_score)

    return min(trials, key=place)


def edges(best: Trial, weights: Sequence[float], word_scores: Sequence[float]) -> list[str]:
    """What of the best setting lies on an edge of what was tried, so that better ones may lie beyond; 0 is no edge of
    weights."""
    found = []
    if len(weights) > 1 and best.weight in {max(weights), min(weights)} - {0.0}:
        found.append(
            f"weight {best.weight:g}, the {'highest' if best.weight == max(weights) else 'lowest'} that was tried"
        )
    if len(word_scores) > 1 and best.word_score in (max(word_scores), min(word_scores)):
        side = "highest" if best.word_score == max(word_scores) else "lowest"
        found.append(f"word_score {best.word_score:g}, the {side} that was tried")
    return found
