"""Confidence of words: which are right, the fit, and the error."""

import numpy as np
import pytest

from speechssl.config import TextConfig
from speechssl.decoding.confidence import UNCALIBRATED, Calibration, calibration_of
from speechssl.decoding.hypothesis import Hypothesis, Word
from speechssl.evaluation.calibration import (
    JudgedWords,
    calibrated,
    fit_calibration,
    held_out_confidence,
    judge_words,
    reliability,
)
from speechssl.text.normalisation import Normalizer


def drawn(num_words: int, slope: float, offset: float, seed: int = 0) -> JudgedWords:
    """Words that are right as often as a calibration of these numbers says."""
    draws = np.random.default_rng(seed)
    probabilities = draws.beta(2, 0.6, num_words)
    share = [Calibration(slope, offset, 1).of(p) for p in probabilities]
    return JudgedWords(probabilities, draws.random(num_words) < share, np.arange(num_words) // 6, [])


def test_words_that_stand_against_equal_ones_are_right() -> None:
    words = tuple(Word(text, 0, 1, i / 10) for i, text in enumerate(["A", "X", "C", "E"]))
    found = judge_words({"u": "A B C D", "v": "A"}, {"u": Hypothesis("A X C E", 1.0, words), "v": Hypothesis("", 0.0)})
    assert found.right.tolist() == [True, False, True, False]
    assert found.probabilities.tolist() == [0, 0.1, 0.2, 0.3]
    assert found.utterances.tolist() == [0, 0, 0, 0]


def test_words_are_judged_as_they_are_scored() -> None:
    words = tuple(Word(text, 0, 1, 0.5) for text in ("Stop,", "-", "now"))
    write = Normalizer(TextConfig(case="lower", punctuation="remove"))
    found = judge_words({"u": "stop now"}, {"u": Hypothesis("stop now", 1.0, words)}, write)
    assert found.right.tolist() == [True, True]


def test_the_fit_finds_the_line() -> None:
    found = fit_calibration(drawn(20_000, 0.6, -0.5))
    assert (found.slope, found.offset) == pytest.approx((0.6, -0.5), abs=0.06)
    assert found.num_words == 20_000
    assert found.of(0.9) > found.of(0.8) > found.of(0.0) > 0


@pytest.mark.parametrize("right", [True, False])
def test_words_that_are_all_alike_give_a_fit_all_the_same(right: bool) -> None:
    words = JudgedWords(np.full(5, 0.9), np.full(5, right), np.arange(5), [])
    found = fit_calibration(words)
    assert 0.2 < found.slope < 5
    assert (found.of(0.9) > 0.9) == right
    nothing = fit_calibration(JudgedWords(np.empty(0), np.empty(0, bool), np.empty(0, int), []))
    assert nothing.of(0.3) == 0.3


def test_the_error_is_that_of_a_loop() -> None:
    words = drawn(400, 0.5, -1.0)
    found = reliability(words.probabilities, words.right, words.utterances.tolist(), samples=50)
    order = sorted(range(400), key=lambda i: words.probabilities[i])
    expected = 0.0
    for k in range(10):
        own = order[40 * k : 40 * k + 40]
        expected += abs(sum(words.probabilities[i] - words.right[i] for i in own)) / 400
    assert found.error.value == pytest.approx(expected)
    assert found.error.low <= found.error.high
    right = [p for p, ok in zip(words.probabilities, words.right, strict=True) if ok]
    wrong = [p for p, ok in zip(words.probabilities, words.right, strict=True) if not ok]
    assert found.auc == pytest.approx(np.mean([[a > b for b in wrong] for a in right]))


def test_calibration_lowers_the_error_on_other_words() -> None:
    words, others = drawn(2000, 0.5, -1.0), drawn(2000, 0.5, -1.0, seed=1)
    units = list(range(2000))
    before = reliability(calibrated(others, UNCALIBRATED), others.right, units, samples=20)
    after = reliability(calibrated(others, fit_calibration(words)), others.right, units, samples=20)
    assert before.error.value > 0.15
    assert after.error.value < 2 * after.chance < 0.06
    held_out = reliability(held_out_confidence(words), words.right, units, samples=20)
    assert held_out.error.value < 2 * held_out.chance


def test_each_decoder_has_its_own() -> None:
    content = {"greedy": Calibration(0.5, 0.1, 9).to_dict()}
    assert calibration_of(content, "greedy") == Calibration(0.5, 0.1, 9)
    assert calibration_of(content, "beam") is UNCALIBRATED
    assert UNCALIBRATED.of(0.25) == 0.25
