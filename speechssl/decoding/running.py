"""Decoding while a recording is heard: what is decoded is let go, and the parts together are the whole."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from speechssl.decoding.decoder import Decoder
from speechssl.decoding.hypothesis import Hypothesis, Word
from speechssl.decoding.words import spelling_probabilities
from speechssl.text.vocabulary import Vocabulary


class Cut(NamedTuple):
    """A frame before which emissions are decoded by themselves."""

    frame: int
    is_between_words: bool
    """Whether a space stands there; else what is on both sides is one word."""


class RunningDecoder:
    """Decodes emissions that come piece by piece.

    From ``max_frames`` on, what came so far is cut in the middle of its longest pause and decoded up to there. So
    memory does not grow with the recording, but for its words. Greedy decoding gives the same words as it does of all
    frames at once.

    Args:
        decoder: of each part, which knows nothing of those before; :class:`RunningBeam` is for those that search.
        vocabulary: of the model.
        max_frames: that are kept; more only where there is no pause.
        pause_frames: no word has such a pause inside, where words have spaces between them: a model that has heard one
            sentence at a time says no space between two. None leaves words as they are.
    """

    def __init__(
        self, decoder: Decoder, vocabulary: Vocabulary, max_frames: int, pause_frames: int | None = None
    ) -> None:
        self.decoder = decoder
        self.vocabulary = vocabulary
        self.max_frames = max_frames
        self.pause_frames = pause_frames
        self.words: list[Word] = []
        """Of what is decoded, in frames of the recording."""
        self.num_frames = 0
        """That are decoded."""
        spelt = vocabulary.spell(range(len(vocabulary)))
        self._is_letter = torch.tensor([bool(text.strip()) for text in spelt])
        self._is_space = torch.tensor([bool(text) and text.isspace() for text in spelt])
        self._begins_word = torch.tensor([text[:1].isspace() for text in spelt])
        self._ends_word = torch.tensor([text[-1:].isspace() for text in spelt])
        self._waiting: list[Tensor] = []
        self._log_confidence = 0.0
        self._is_inside_word = False
        self._has_spaces = False  # so far

    def add(self, log_probs: Tensor) -> None:
        """Take the next emissions, float32 (T, labels)."""
        self._waiting.append(log_probs)
        if sum(map(len, self._waiting)) >= self.max_frames:
            waiting = torch.cat(self._waiting)
            cut = self.find_cut(waiting)
            if cut is not None:
                self.decode(waiting[: cut.frame], ends_word=cut.is_between_words)
                self._waiting = [waiting[cut.frame :].clone()]

    def finish(self) -> Hypothesis:
        """The transcript of all that came."""
        if self._waiting:
            self._decode_rest(torch.cat(self._waiting))
            self._waiting = []
        words = tuple(self.words)
        confidence = math.exp(self._log_confidence / self.num_frames) if self.num_frames else 0.0
        return Hypothesis(" ".join(word.text for word in words), confidence, words)

    def find_cut(self, log_probs: Tensor) -> Cut | None:
        """The middle of a pause: one between two words before one inside of one, one in the second half before others,
        and the longest of these. None without any: each frame but at both ends is a letter's."""
        best = log_probs.argmax(-1)
        is_letter = self._is_letter[best]
        kinds, counts = torch.unique_consecutive(is_letter, return_counts=True)
        stops = counts.cumsum(0).tolist()
        found = []
        for kind, first, stop in list(zip(kinds.tolist(), [0, *stops], stops, strict=False))[1:-1]:
            if not kind:
                has_space = self._is_space[best[first:stop]].any()
                is_between = bool(has_space or self._ends_word[best[first - 1]] or self._begins_word[best[stop]])
                middle = (first + stop) // 2
                found.append((is_between, 2 * middle >= len(best), stop - first, middle))
        if not found:
            return None
        is_between, _, _, frame = max(found)
        return Cut(frame, is_between)

    def preview(self, log_probs: Tensor) -> str:
        """What frames behind those that are decoded would say if nothing came behind them, (T, labels)."""
        return self.decoder.decode(log_probs[None], torch.tensor([len(log_probs)]))[0].text

    def decode(self, log_probs: Tensor, *, ends_word: bool) -> None:
        """Decode the frames behind those that are decoded, (T, labels), and say whether a word ends with them."""
        [part] = self.decoder.decode(log_probs[None], torch.tensor([len(log_probs)]))
        self._append(part, log_probs, ends_word=ends_word)

    def _decode_rest(self, log_probs: Tensor) -> None:
        self.decode(log_probs, ends_word=True)

    def _append(self, part: Hypothesis, log_probs: Tensor, *, ends_word: bool) -> None:
        found = list(part.words)
        self._has_spaces |= len(found) > 1 or bool(self.words and found and not self._is_inside_word)
        if self.pause_frames is not None and self._has_spaces:
            found = [
                piece
                for word in found
                for piece in split_at_pauses(word, log_probs, self.vocabulary, self.pause_frames)
            ]
        words = [moved(word, self.num_frames) for word in found]
        if self._is_inside_word and self.words and words and not self._is_apart(words):
            begin, end = self.words.pop(), words.pop(0)
            confidence = begin.confidence * end.confidence
            words.insert(
                0, end._replace(text=begin.text + end.text, first_frame=begin.first_frame, confidence=confidence)
            )
        elif self.words and self.words[-1].boundary_frame is None:
            pause = log_probs[: found[0].first_frame if found else None].argmax(-1)
            said = self._is_space[pause].nonzero()[:1, 0].tolist()
            self.words[-1] = self.words[-1]._replace(boundary_frame=self.num_frames + said[0] if said else None)
        self._is_inside_word = not ends_word
        self.words += words
        self.num_frames += len(log_probs)
        self._log_confidence += math.log(max(part.confidence, 1e-30)) * len(log_probs)

    def _is_apart(self, words: Sequence[Word]) -> bool:
        """Whether a pause that ends words is between those that are decoded and these, as within a part."""
        if self.pause_frames is None or not self._has_spaces:
            return False
        return words[0].first_frame - self.words[-1].stop_frame >= self.pause_frames


def moved(word: Word, by: int) -> Word:
    """A word so many frames later."""
    space = None if word.boundary_frame is None else word.boundary_frame + by
    return word._replace(first_frame=word.first_frame + by, stop_frame=word.stop_frame + by, boundary_frame=space)


def split_at_pauses(word: Word, log_probs: Tensor, vocabulary: Vocabulary, pause_frames: int) -> list[Word]:
    """A word as several where so many frames between two of its labels are blank.

    Args:
        word: in frames of the emissions, as greedy decoding finds it; one that the best labels of its frames do not
            spell stays as it is.
        log_probs: emissions, (T, labels).
        vocabulary: of the labels.
        pause_frames: shortest pause.
    """
    if word.stop_frame - word.first_frame < pause_frames + 2:
        return [word]
    frames = log_probs[word.first_frame : word.stop_frame]
    runs, counts = torch.unique_consecutive(frames.argmax(-1), return_counts=True)
    labels, edges = runs.tolist(), [0, *counts.cumsum(0).tolist()]
    said = [run for run, label in enumerate(labels) if label != vocabulary.blank]
    if vocabulary.decode(labels[run] for run in said) != word.text:
        return [word]
    pieces = [said[:1]]
    for before, run in itertools.pairwise(said):
        if edges[run] - edges[before + 1] >= pause_frames:
            pieces.append([])
        pieces[-1].append(run)
    spans = [(edges[piece[0]], edges[piece[-1] + 1]) for piece in pieces]
    spellings = [[labels[run] for run in piece] for piece in pieces]
    probabilities = spelling_probabilities(frames, spans, spellings, blank=vocabulary.blank)
    found = [
        moved(Word(vocabulary.decode(spelling), *span, probability), word.first_frame)
        for spelling, span, probability in zip(spellings, spans, probabilities, strict=True)
    ]
    return [*found[:-1], found[-1]._replace(boundary_frame=word.boundary_frame)]
