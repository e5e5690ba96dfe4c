"""Best label per frame, repeats collapsed, blanks removed (Graves et al. 2006, "best path decoding")."""

import math
import re

import torch
from torch import Tensor

from speechssl.decoding.hypothesis import Hypothesis, Word
from speechssl.text.vocabulary import Vocabulary


class GreedyDecoder:
    """A :class:`Decoder` that takes the best label of each frame.

    Args:
        vocabulary: of the model.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def decode(self, log_probs: Tensor, lengths: Tensor) -> list[Hypothesis]:
        """Arguments as of :class:`Decoder`."""
        best, labels = log_probs.max(-1)
        return [self.read(labels[row, :stop], best[row, :stop]) for row, stop in enumerate(lengths.tolist())]

    def read(self, labels: Tensor, log_probs: Tensor) -> Hypothesis:
        """Transcript of an utterance from its path: a label (T,) and its log probability (T,) per frame."""
        runs, counts = torch.unique_consecutive(labels, return_counts=True)
        edges = [0, *counts.cumsum(0).tolist()]  # of the runs, in frames
        spelt = self.vocabulary.spell(runs.tolist())
        owners = [run for run, text in enumerate(spelt) for _ in text]  # of each character
        words = tuple(
            Word(found[0], edges[owners[found.start()]], edges[owners[found.end() - 1] + 1])
            for found in re.finditer(r"\S+", "".join(spelt))
        )
        confidence = math.exp(float(log_probs.sum()) / len(labels)) if len(labels) else 0.0
        return Hypothesis(" ".join(word.text for word in words), confidence, words)
