"""Best label per frame, repeats collapsed, blanks removed (Graves et al. 2006, "best path decoding")."""

import math

from torch import Tensor

from speechssl.decoding.hypothesis import Hypothesis
from speechssl.decoding.words import words_of_path
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
        return [self.read(row[:stop]) for row, stop in zip(log_probs, lengths.tolist(), strict=True)]

    def read(self, log_probs: Tensor) -> Hypothesis:
        """Transcript of the emissions of an utterance, (T, labels).

        Its path is the best of all, and so the best that spells this transcript: a forced alignment gives no other.
        """
        best, path = log_probs.max(-1)
        words = words_of_path(path, log_probs, self.vocabulary)
        confidence = math.exp(float(best.sum()) / len(best)) if len(best) else 0.0
        return Hypothesis(" ".join(word.text for word in words), confidence, words)
