"""Best label per frame, repeats collapsed, blanks removed (Graves et al. 2006, "best path decoding")."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from speechssl.text.vocabulary import Vocabulary


class Hypothesis(NamedTuple):
    """One transcript."""

    text: str
    confidence: float
    """Geometric mean of the best label's probability over the utterance's frames, 0..1."""


class BestPath(NamedTuple):
    """The best label of each frame of an utterance, or of a part of it."""

    labels: Tensor
    """(T,)"""
    log_prob: float
    """Sum of the frames' log probabilities, in nats."""


def best_paths(logits: Tensor, spans: list[tuple[int, int]]) -> list[BestPath]:
    """Best path over a span of frames, first and after the last, of each row of scores (B, T, labels)."""
    log_probs, labels = logits.float().log_softmax(-1).max(-1)
    log_probs, labels = log_probs.cpu(), labels.cpu()
    return [
        BestPath(labels[row, first:stop], float(log_probs[row, first:stop].sum()))
        for row, (first, stop) in enumerate(spans)
    ]


def read_path(parts: list[BestPath], vocabulary: Vocabulary) -> Hypothesis:
    """Transcript of an utterance from the paths over its consecutive parts."""
    labels = torch.cat([part.labels for part in parts])
    text = vocabulary.decode(torch.unique_consecutive(labels).tolist())
    confidence = math.exp(sum(part.log_prob for part in parts) / len(labels)) if len(labels) else 0.0
    return Hypothesis(text, confidence)


def greedy_decode(logits: Tensor, lengths: Tensor | None, vocabulary: Vocabulary) -> list[Hypothesis]:
    """Decode scores (B, T, labels); frames past the lengths (B,) are ignored, None means that all are valid."""
    stops = [logits.shape[1]] * logits.shape[0] if lengths is None else lengths.tolist()
    return [read_path([path], vocabulary) for path in best_paths(logits, [(0, stop) for stop in stops])]
