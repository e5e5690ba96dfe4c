"""Best path decoding."""

import math

import numpy as np
import pytest
import torch
from reference import words_of_path

from speechssl.config import GreedyConfig
from speechssl.decoding.decoder import build_decoder, emissions
from speechssl.decoding.hypothesis import Hypothesis
from speechssl.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of_characters(["A", "B"])  # ids: blank 0, boundary 1, A 2, B 3


def decode(
    *paths: list[int], lengths: list[int] | None = None, vocabulary: Vocabulary = VOCABULARY
) -> list[Hypothesis]:
    """Transcripts of scores whose best label per frame is known; the shorter paths are padded."""
    longest = max(len(path) for path in paths)
    scores = torch.zeros(len(paths), longest, len(vocabulary))
    for row, path in enumerate(paths):
        for t, label in enumerate(path):
            scores[row, t, label] = 5.0
    found = torch.tensor(lengths or [len(path) for path in paths])
    return build_decoder(GreedyConfig(), vocabulary).decode(emissions(scores), found)


def test_repeats_collapse_unless_a_blank_parts_them() -> None:
    found = decode([2, 2, 0, 2, 3, 3, 1, 1, 0, 3], [0, 2, 1, 0, 1, 3])
    assert [hypothesis.text for hypothesis in found] == ["AAB B", "A B"]
    assert [word[:3] for word in found[0].words] == [("AAB", 0, 6), ("B", 9, 10)]
    assert [word[:3] for word in found[1].words] == [("A", 1, 2), ("B", 5, 6)]


def test_frames_past_the_length_are_ignored() -> None:
    found = decode([2, 3, 2, 2], lengths=[2])
    assert found[0].text == "AB"
    assert [word[:3] for word in found[0].words] == [("AB", 0, 2)]


def test_silence_and_nothing() -> None:
    found = decode([0, 0], [1, 0])
    assert [hypothesis.text for hypothesis in found] == ["", ""]
    assert [hypothesis.words for hypothesis in found] == [(), ()]
    assert decode([2], lengths=[0])[0] == Hypothesis("", 0.0, ())


def test_confidence_is_the_mean_probability() -> None:
    found = decode([2, 3])
    assert math.isclose(found[0].confidence, math.exp(5) / (math.exp(5) + 3), rel_tol=1e-5)


@pytest.mark.parametrize("vocabulary", [VOCABULARY, Vocabulary(["<pad>", "|", "ab", "<unk>"])])
def test_words_are_those_of_the_text_where_they_were_read(vocabulary: Vocabulary) -> None:
    draws = np.random.default_rng(0)
    paths = [draws.integers(0, 4, 30).repeat(draws.integers(1, 4, 30)).tolist() for _ in range(50)]
    for path, found in zip(paths, decode(*paths, vocabulary=vocabulary), strict=True):
        assert found.text == vocabulary.decode(torch.unique_consecutive(torch.tensor(path)).tolist())
        assert [word[:3] for word in found.words] == words_of_path(path, vocabulary.labels, vocabulary.blank)
