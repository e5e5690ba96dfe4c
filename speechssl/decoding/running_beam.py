"""Beam search while a recording is heard: one search over all of it, which lets go what it has agreed on."""

from typing import NamedTuple

import torch
from torch import Tensor

from speechssl.decoding.beam import BeamDecoder
from speechssl.decoding.prefix_search import ROOT, Search
from speechssl.decoding.running import RunningDecoder
from speechssl.decoding.search_state import alone, copy_of, forget, lineage, num_agreed
from speechssl.text.vocabulary import Vocabulary


class Settled(NamedTuple):
    """Labels of the best text, and the frames that say them."""

    num_labels: int
    stop_frame: int


class RunningBeam(RunningDecoder):
    """Searches emissions that come piece by piece as if they came at once.

    From ``max_frames`` on, the words that lead to every text of the beam are settled, and their frames and prefixes
    forgotten: what is to come cannot change them. So memory does not grow with the recording, but for its words. Where
    the beam has agreed on nothing in twice as many frames, its best text is taken up to its last word.

    Args:
        decoder: searches.
        vocabulary: of the model.
        max_frames: that are kept; at most twice as many.
    """

    decoder: BeamDecoder

    def __init__(self, decoder: BeamDecoder, vocabulary: Vocabulary, max_frames: int) -> None:
        super().__init__(decoder, vocabulary, max_frames)
        self._search = decoder.start()

    def add(self, log_probs: Tensor) -> None:
        """As of :class:`RunningDecoder`."""
        for frames in log_probs.split(max(1, self.max_frames // 2)):
            self._search = self.decoder.advance(self._search, frames)
            self._waiting.append(frames)
            if sum(map(len, self._waiting)) >= self.max_frames:
                self._settle(torch.cat(self._waiting))

    def preview(self, log_probs: Tensor) -> str:
        """As of :class:`RunningDecoder`."""
        state = self.decoder.advance(copy_of(self._search), log_probs)
        return self.vocabulary.decode(self._labels_at_end(state)).strip()

    def decode(self, log_probs: Tensor, *, ends_word: bool) -> None:
        """Search the next frames, (T, labels), and settle for the best text so far: between two words if a word ends
        with them."""
        self._search = self.decoder.advance(self._search, log_probs)
        beam, prefixes = self._search.beam.prefix.tolist(), self._search.prefixes
        between = (prefix for prefix in beam if ends_word and prefixes.node[prefix] == 0)
        line = lineage(prefixes, next(between, beam[0]))
        self._let_go(line, log_probs, all_heard=True)

    def _decode_rest(self, log_probs: Tensor) -> None:
        self._read(self._labels_at_end(self._search), log_probs)

    def _labels_at_end(self, state: Search) -> list[int]:
        found = self.decoder.finish(state)
        return self.decoder.labels_of(int(found.prefixes[0]), found) if len(found.prefixes) else []

    def _settle(self, waiting: Tensor) -> None:
        line = lineage(self._search.prefixes, int(self._search.beam.prefix[0]))
        labels = self._search.prefixes.label[line].tolist()
        settled = self._last_word(waiting, labels, num_agreed(self._search, line))
        if settled is None and len(waiting) >= 2 * self.max_frames:
            whole = Settled(len(line), len(waiting))
            settled = self._last_word(waiting, labels, len(line)) or whole
        if settled is not None:
            all_heard = settled.stop_frame == len(waiting)
            self._let_go(line[: settled.num_labels], waiting[: settled.stop_frame], all_heard=all_heard)
            self._waiting = [waiting[settled.stop_frame :].clone()]

    def _last_word(self, log_probs: Tensor, labels: list[int], agreed: int) -> Settled | None:
        """Up to the last word that ends, as does the one behind it begin, within so many labels; where labels hold no
        spaces, up to the last label."""
        runs, counts = torch.unique_consecutive(self.decoder.path_of(log_probs, labels).labels, return_counts=True)
        has_spaces = bool((self._begins_word | self._ends_word).any())
        settled, num_labels, stop = None, 0, 0
        for label, count in zip(runs.tolist(), counts.tolist(), strict=True):
            if label != self.vocabulary.blank:
                if 0 < num_labels < agreed and self._begins_word[label] and not self._is_space[label]:
                    settled = Settled(num_labels, stop)
                num_labels += 1
                if num_labels < agreed and (self._ends_word[label] or not has_spaces):
                    settled = Settled(num_labels, stop + count)
            stop += count
        return settled

    def _let_go(self, line: list[int], log_probs: Tensor, *, all_heard: bool) -> None:
        """Settle for labels in these frames; no other text stays if they are all frames that were heard, since its
        labels are said there."""
        self._read(self._search.prefixes.label[line].tolist(), log_probs)
        root = line[-1] if line else ROOT
        if all_heard:
            self._search = alone(self._search, root)
        if all_heard or line:
            self._search = forget(self._search, root)

    def _read(self, labels: list[int], log_probs: Tensor) -> None:
        if labels and self._begins_word[labels[0]]:
            self._is_inside_word = False
        ends_word = bool(self._ends_word[labels[-1]]) if labels else not self._is_inside_word
        self._append(self.decoder.read(log_probs, labels), log_probs, ends_word=ends_word)
