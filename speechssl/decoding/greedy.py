"""Best label per frame, repeats collapsed, blanks removed (Graves et al. 2006, "best path decoding")."""

from typing import NamedTuple

import torch
from torch import Tensor

from speechssl.text.vocabulary import Vocabulary


class Hypothesis(NamedTuple):
    """One transcript."""

    text: str
    confidence: float
    """Geometric mean of the best label's probability over the utterance's frames, 0..1."""


def greedy_decode(logits: Tensor, lengths: Tensor | None, vocabulary: Vocabulary) -> list[Hypothesis]:
    """Decode scores (B, T, labels); frames past the lengths (B,) are ignored, None means that all are valid."""
    log_probs, labels = logits.float().log_softmax(-1).max(-1)
    log_probs, labels = log_probs.cpu(), labels.cpu()
    frames = [labels.shape[1]] * labels.shape[0] if lengths is None else lengths.tolist()
    hypotheses = []
    for row, count in enumerate(frames):
        path = torch.unique_consecutive(labels[row, :count])
        text = vocabulary.decode(path.tolist())
        confidence = float(log_probs[row, :count].mean().exp()) if count else 0.0
        hypotheses.append(Hypothesis(text, confidence))
    return hypotheses
