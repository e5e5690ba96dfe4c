"""Error rates against a hand-written edit distance, and their intervals."""

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.evaluation.error_rates import (
    WordCounts,
    count_words,
    diagnose,
    error_rates,
    relative_reduction,
)


def edit_distance(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def random_texts(num: int, error_share: float, seed: int) -> tuple[dict[str, str], dict[str, str]]:
    draws = np.random.default_rng(seed)
    references, hypotheses = {}, {}
    for i in range(num):
        words = list(draws.choice(["ONE", "TWO", "SIX"], draws.integers(1, 8)))
        said = [word for word in words if draws.random() > error_share / 2]
        said = ["NINE" if draws.random() < error_share / 2 else word for word in said]
        references[f"u{i}"], hypotheses[f"u{i}"] = " ".join(words), " ".join(said)
    return references, hypotheses


def test_rates_agree_with_the_edit_distance() -> None:
    references, hypotheses = random_texts(60, 0.4, seed=0)
    rates = error_rates(references, hypotheses)
    words = sum(len(text.split()) for text in references.values())
    edits = sum(edit_distance(references[i].split(), hypotheses[i].split()) for i in references)
    characters = sum(len(text) for text in references.values())
    character_edits = sum(edit_distance(list(references[i]), list(hypotheses[i])) for i in references)
    assert rates.wer == pytest.approx(edits / words)
    assert rates.cer == pytest.approx(character_edits / characters)
    assert (rates.num_utterances, rates.num_words) == (60, words)
    assert rates.substitutions + rates.deletions + rates.insertions == edits
    assert rates.wer_low < rates.wer < rates.wer_high


def test_interval_narrows_with_the_number_of_utterances() -> None:
    widths = []
    for num in (30, 480):
        rates = error_rates(*random_texts(num, 0.4, seed=1), bootstrap_samples=2000)
        widths.append(rates.wer_high - rates.wer_low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.5)


def test_interval_covers_the_truth() -> None:
    """The true rate of this channel is known; a 95% interval must cover it about as often as it says."""
    truth, covered = None, 0
    references, hypotheses = random_texts(20_000, 0.4, seed=2)
    truth = error_rates(references, hypotheses, bootstrap_samples=0).wer
    for seed in range(3, 63):
        rates = error_rates(*random_texts(80, 0.4, seed=seed), bootstrap_samples=400)
        covered += rates.wer_low <= truth <= rates.wer_high
    assert 50 <= covered <= 60


def test_utterances_are_matched_by_id_not_by_order() -> None:
    references = {"a": "ONE", "b": "TWO"}
    assert error_rates(references, {"b": "TWO", "a": "ONE"}, bootstrap_samples=10).wer == 0


@pytest.mark.parametrize(
    ("references", "hypotheses", "message"),
    [
        ({"a": "ONE"}, {}, "a: no hypothesis"),
        ({"a": "ONE"}, {"a": "ONE", "b": "TWO"}, "b: no reference"),
        ({"a": " "}, {"a": "ONE"}, "a: empty reference"),
        ({}, {}, "no utterances"),
    ],
)
def test_mismatches_are_named(references: dict[str, str], hypotheses: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        error_rates(references, hypotheses)


def test_reduction_of_a_model_that_is_better_on_every_utterance() -> None:
    words = np.full(100, 5)
    scratch = [WordCounts(np.full(100, 4), words), WordCounts(np.full(100, 4), words)]
    pretrained = [WordCounts(np.full(100, 1), words), WordCounts(np.full(100, 3), words)]
    result = relative_reduction(scratch, pretrained)
    assert result.reduction == pytest.approx(0.5)
    # The utterances agree exactly, so what is left is the spread of the seeds: 0.25, 0.5 or 0.75.
    assert (result.low, result.high) == pytest.approx((0.25, 0.75))


def test_reduction_of_equal_models_includes_zero() -> None:
    references, hypotheses = random_texts(80, 0.4, seed=4)
    shuffled = {i: hypotheses[i] for i in references}
    counts = count_words(references, shuffled)
    other = WordCounts(np.random.default_rng(0).permutation(counts.edits), counts.words)
    result = relative_reduction([counts], [other])
    assert result.low < 0 < result.high


def test_reduction_refuses_other_references() -> None:
    with pytest.raises(DataError, match="different references"):
        relative_reduction([WordCounts(np.ones(2), np.ones(2))], [WordCounts(np.ones(3), np.ones(3))])


@pytest.mark.parametrize(
    ("hypothesis", "wer", "expected"),
    [("", 1.0, "outputs are empty"), ("one two", 1.0, "differ in case"), ("SIX SIX", 1.0, "too few updates")],
)
def test_hopeless_rates_have_a_reason(hypothesis: str, wer: float, expected: str) -> None:
    reason = diagnose({"a": "ONE TWO"}, {"a": hypothesis}, wer)
    assert reason is not None
    assert expected in reason


def test_good_rates_have_none() -> None:
    assert diagnose({"a": "ONE"}, {"a": "ONE"}, 0.2) is None
