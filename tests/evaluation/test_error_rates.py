"""Error rates against a hand-written edit distance."""

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.evaluation.error_rates import diagnose, error_rates


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
