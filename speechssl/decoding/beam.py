"""Beam search: the texts that sound and language model together find most probable."""

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechssl.config import BeamConfig
from speechssl.decoding.arpa import read_arpa
from speechssl.decoding.best_path import best_path
from speechssl.decoding.compiled import is_compiled
from speechssl.decoding.hypothesis import Hypothesis
from speechssl.decoding.language_model import LanguageModel, make_language_model
from speechssl.decoding.ngrams import BEGIN, END, UNKNOWN, NgramModel, NgramOrder
from speechssl.decoding.prefix_search import ROOT, Found, Limits, Search, advance, finish, start
from speechssl.decoding.word_gains import Gains
from speechssl.decoding.word_tree import WordTree, best_ahead, make_tree
from speechssl.decoding.words import words_of_path
from speechssl.errors import DataError
from speechssl.text.normalisation import clean_text
from speechssl.text.vocabulary import Vocabulary

logger = logging.getLogger(__name__)


class Scored(NamedTuple):
    """One of the best transcripts of an utterance."""

    hypothesis: Hypothesis
    score: float
    """Log probability of the sound and what words add to it, in nats."""


class LabelPath(NamedTuple):
    """The best path of CTC through a text."""

    labels: Tensor
    """Of each frame, int64 (T,)."""
    mean: float
    """Log probability of a frame."""


@dataclass(frozen=True)
class SearchSpace:
    """What a search knows of words, whatever they are worth."""

    tree: WordTree
    words: list[str]
    """Of the tree, by their numbers there."""
    model: LanguageModel
    numbers: np.ndarray
    """Of the tree's words in the language model, int64 (words,); its unknown word's for those that it lacks."""
    is_listed: np.ndarray
    """Whether the language model or the list has each of the tree's words, (words,)."""
    is_hot: np.ndarray
    """Whether each of the tree's words is a hotword, (words,)."""


def load_search_space(config: BeamConfig, vocabulary: Vocabulary) -> SearchSpace:
    """Read the files that a configuration names.

    Raises:
        DataError: one cannot be read, or no word of it can be spelt with the labels.
    """
    ngrams = read_arpa(config.language_model) if config.language_model else _no_model()
    listed = _read_words(config.word_list) if config.word_list else []
    _check_unit(config, [word for word in ngrams.words if word not in (BEGIN, END, UNKNOWN)])
    hotwords = find_hotwords(config, vocabulary)
    of_model = [word for word in ngrams.words if word not in (BEGIN, END, UNKNOWN)]
    if config.words == "listed" and config.word_list:
        of_model = []  # the list alone
    spelt = make_tree(dict.fromkeys([*of_model, *listed, *hotwords]), vocabulary)
    known_words = set(spelt.words)
    _check_spelling(config, vocabulary, known_words, list(dict.fromkeys([*of_model, *listed])))
    if foreign := [word for word in hotwords if word not in known_words]:
        logger.warning("hotwords that the recogniser's labels cannot spell are never found: %s", ", ".join(foreign))
    unknown = ngrams.numbers[UNKNOWN]
    numbers = np.array([ngrams.numbers.get(word, unknown) for word in spelt.words], np.int64)
    known = set(listed)
    is_listed = np.array([word in known for word in spelt.words], bool) | (numbers != unknown)
    hot = set(hotwords)
    is_hot = np.array([word in hot for word in spelt.words], bool)
    return SearchSpace(spelt.tree, spelt.words, make_language_model(ngrams), numbers, is_listed, is_hot)


def find_hotwords(config: BeamConfig, vocabulary: Vocabulary) -> list[str]:
    """Each hotword once, in the case that the labels can spell."""
    letters = set("".join(vocabulary.spelt))
    words = [word for phrase in config.hotwords for word in clean_text(phrase).split()]
    found = (next((x for x in (word, word.upper(), word.lower()) if letters >= set(x)), word) for word in words)
    return list(dict.fromkeys(found))


def _no_model() -> NgramModel:
    """A language model that says nothing."""
    words = [BEGIN, END, UNKNOWN]
    nothing = np.zeros(len(words))
    return NgramModel(words, [NgramOrder(np.zeros(3, np.int64), np.arange(3), nothing, nothing)])


def _read_words(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text in UTF-8"
        raise DataError(f"{path}", f"cannot be read ({reason})", "expected one word per line") from error
    words = list(filter(None, map(clean_text, lines)))
    if several := [word for word in words if " " in word]:
        raise DataError(f"{path}", f"{several[0]!r} is more than one word", "expected one word per line")
    if not words:
        raise DataError(f"{path}", "no words", "expected one word per line")
    return words


def _check_unit(config: BeamConfig, words: Sequence[str]) -> None:
    """Warn of a language model that seems to be of another unit, to which almost all is unknown."""
    num_single = sum(len(word) == 1 for word in words)
    found = "characters" if num_single == len(words) else "words" if 2 * num_single < len(words) else config.unit
    if words and found != config.unit:
        logger.warning(
            "%s seems to be of %s, and decoding.unit is %s; give --decoding.unit %s, or make it with `speechssl lm "
            "--unit %s`",
            config.language_model,
            found,
            config.unit,
            found,
            config.unit,
        )


def _check_spelling(config: BeamConfig, vocabulary: Vocabulary, spelt: Collection[str], asked: Sequence[str]) -> None:
    """Say which words of the files can never be found.

    Raises:
        DataError: none can be.
    """
    source = config.word_list or config.language_model
    foreign = [word for word in asked if word not in spelt]
    if foreign and len(foreign) == len(asked):
        labels = "".join(sorted(vocabulary.characters))[:60]
        raise DataError(
            f"{source}",
            f"none of its {len(asked)} words can be spelt with the recogniser's labels ({labels}); one is {asked[0]!r}",
            "another case or language? `speechssl lm --writing.case` makes it in the other case",
        )
    if foreign:
        logger.warning(
            "%s: %d of %d words hold characters that are no labels of the recogniser; they are never found",
            source,
            len(foreign),
            len(asked),
        )


class BeamDecoder:
    """A :class:`Decoder` that searches for the best text.

    Args:
        vocabulary: of the model.
        config: how to search.
        space: of the files that the configuration names; they are read if it is absent.

    Raises:
        DataError: a file cannot be read, or has no word that the labels can spell.
    """

    def __init__(self, vocabulary: Vocabulary, config: BeamConfig, space: SearchSpace | None = None) -> None:
        self.vocabulary = vocabulary
        self.config = config
        self.space = space or load_search_space(config, vocabulary)
        self.gains = make_gains(config, self.space)
        self.limits = Limits(config.beam_width, config.beam_threshold, config.label_threshold)
        self.spaces = [i for i, text in enumerate(vocabulary.spell(range(len(vocabulary)))) if text == " "]
        if not is_compiled:
            logger.warning("numba is not there: beam search runs a hundred times slower; pip install 'speechssl[lm]'")

    def decode(self, log_probs: Tensor, lengths: Tensor) -> list[Hypothesis]:
        """Arguments as of :class:`Decoder`."""
        rows = zip(log_probs, lengths.tolist(), strict=True)
        return [self.best(row[:length], 1)[0].hypothesis for row, length in rows]

    def best(self, log_probs: Tensor, count: int) -> list[Scored]:
        """The best transcripts of an utterance, at least one, no two of the same text.

        Args:
            log_probs: emissions in nats, float32 (T, labels), on the CPU.
            count: at most so many; there are no more than the beam is wide.
        """
        found = self.finish(self.advance(self.start(), log_probs))
        best: dict[str, Scored] = {}
        for prefix, score in zip(found.prefixes.tolist(), found.scores.tolist(), strict=True):
            labels = self.labels_of(prefix, found)
            text = self.vocabulary.decode(labels)
            if text not in best:
                best[text] = Scored(self.read(log_probs, labels), score)
            if len(best) == count:
                break
        return list(best.values()) or [Scored(Hypothesis("", 0.0), -math.inf)]

    def start(self) -> Search:
        """A search of an utterance, at its begin."""
        return start(self.space.model)

    def advance(self, so_far: Search, log_probs: Tensor) -> Search:
        """The search after further frames, (T, labels); the one before is used up."""
        frames = np.ascontiguousarray(log_probs.numpy(), np.float32)
        return advance(so_far, frames, self.space.tree, self.space.model, self.gains, self.limits)

    def finish(self, at_end: Search) -> Found:
        """What a search has found; it is used up."""
        return finish(at_end, self.space.tree, self.space.model, self.gains)

    def labels_of(self, prefix: int, found: Found) -> list[int]:
        """The labels of a text, behind those of the root, without spaces at its end."""
        labels = []
        while prefix != ROOT:
            labels.append(int(found.label[prefix]))
            prefix = int(found.parent[prefix])
        labels.reverse()
        texts = self.vocabulary.spell(labels)
        if not found.is_whole:
            while texts and " " not in texts.pop():  # the space may be part of a word's first label
                pass
        while texts and texts[-1] == " ":
            texts.pop()
        return labels[: len(texts)]

    def read(self, log_probs: Tensor, labels: list[int]) -> Hypothesis:
        """The transcript of labels, with words where the best path says them."""
        if not len(log_probs):
            return Hypothesis("", 0.0)
        path = self.path_of(log_probs, labels)
        words = words_of_path(path.labels, log_probs, self.vocabulary)
        return Hypothesis(" ".join(word.text for word in words), math.exp(path.mean), words)

    def path_of(self, log_probs: Tensor, labels: list[int]) -> LabelPath:
        """Where labels are said."""
        # A space may stand for a blank: those at the edges of a text, and doubled ones, are not in it.
        emissions = log_probs.numpy().copy()
        emissions[:, self.vocabulary.blank] = emissions[:, [self.vocabulary.blank, *self.spaces]].max(1)
        path = best_path(emissions, np.array(labels, np.int64), self.vocabulary.blank)
        return LabelPath(torch.from_numpy(path), float(emissions[np.arange(len(path)), path].mean()))


def make_gains(config: BeamConfig, space: SearchSpace) -> Gains:
    """What a configuration makes of the words of a space."""
    weight = float(config.weight) if config.language_model else 0.0
    bonus = np.full(len(space.words), float(config.word_score))
    bonus[~space.is_listed] += config.unknown_score
    bonus[space.is_hot] = config.word_score + config.hotword_score  # however rare it is elsewhere
    other = float(config.word_score) + (config.unknown_score if space.is_listed.any() else 0.0)
    single = space.model.log_prob[1:]
    ahead_outside = weight * single[space.model.unknown] + other
    gains = weight * single[space.numbers] + bonus
    listed_only = config.words == "listed"
    ahead = best_ahead(space.tree.parent, space.tree.word, gains, -np.inf if listed_only else ahead_outside)
    each = config.unit == "characters"
    return Gains(weight, space.numbers, bonus, other, ahead, ahead_outside, listed_only, each)
