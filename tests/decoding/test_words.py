"""Probability of a word's spelling, against all paths of a small case."""

import itertools
import math

import pytest
import torch

from speechssl.decoding.words import spelling_probabilities, words_of_path
from speechssl.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of_characters(["A", "B"])  # ids: blank 0, boundary 1, A 2, B 3


def emissions(num_frames: int, seed: int) -> torch.Tensor:
    return torch.randn(num_frames, 4, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)


def oracle(log_probs: list[list[float]], spelling: list[int]) -> float:
    """Sum over every path that collapses to the spelling."""
    total = 0.0
    for path in itertools.product(range(4), repeat=len(log_probs)):
        if [label for label, _ in itertools.groupby(path) if label] == spelling:
            total += math.exp(sum(row[label] for row, label in zip(log_probs, path, strict=True)))
    return total


@pytest.mark.parametrize("seed", range(4))
def test_a_spelling_is_as_probable_as_all_its_paths(seed: int) -> None:
    log_probs = emissions(10, seed)
    spans, spellings = [(0, 4), (4, 9), (9, 10)], [[2, 2], [3, 2, 3], [3]]
    found = spelling_probabilities(log_probs, spans, spellings, blank=0)
    for (first, stop), spelling, probability in zip(spans, spellings, found, strict=True):
        assert probability == pytest.approx(oracle(log_probs[first:stop].tolist(), spelling), rel=1e-4)


def test_words_have_their_own_frames_and_probabilities() -> None:
    log_probs = emissions(8, 1)
    words = words_of_path(torch.tensor([0, 2, 0, 2, 1, 3, 3, 0]), log_probs, VOCABULARY)
    assert [word[:3] for word in words] == [("AA", 1, 4), ("B", 5, 7)]
    assert [word.boundary_frame for word in words] == [4, None]
    assert [word.confidence for word in words] == pytest.approx(
        [oracle(log_probs[1:4].tolist(), [2, 2]), oracle(log_probs[5:7].tolist(), [3])], rel=1e-4
    )


def test_no_words_have_no_probabilities() -> None:
    assert words_of_path(torch.tensor([0, 1, 0]), emissions(3, 0), VOCABULARY) == ()
