"""Best path decoding."""

import math

import torch

from speechssl.decoding.greedy import greedy_decode
from speechssl.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of_characters(["A", "B"])  # ids: blank 0, boundary 1, A 2, B 3


def logits(*paths: list[int]) -> torch.Tensor:
    longest = max(len(path) for path in paths)
    scores = torch.zeros(len(paths), longest, 4)
    for row, path in enumerate(paths):
        for t, label in enumerate(path):
            scores[row, t, label] = 5.0
    return scores


def test_repeats_collapse_unless_a_blank_parts_them() -> None:
    paths = [2, 2, 0, 2, 3, 3, 1, 1, 0, 3], [0, 2, 1, 0, 1, 3]
    found = greedy_decode(logits(*paths), torch.tensor([10, 6]), VOCABULARY)
    assert [hypothesis.text for hypothesis in found] == ["AAB B", "A B"]


def test_frames_past_the_length_are_ignored() -> None:
    found = greedy_decode(logits([2, 3, 2, 2]), torch.tensor([2]), VOCABULARY)
    assert found[0].text == "AB"


def test_silence_and_nothing() -> None:
    found = greedy_decode(logits([0, 0], [1, 0]), None, VOCABULARY)
    assert [hypothesis.text for hypothesis in found] == ["", ""]
    assert greedy_decode(logits([2]), torch.tensor([0]), VOCABULARY)[0].confidence == 0.0


def test_confidence_is_the_mean_probability() -> None:
    found = greedy_decode(logits([2, 3]), None, VOCABULARY)
    assert math.isclose(found[0].confidence, math.exp(5) / (math.exp(5) + 3), rel_tol=1e-5)
