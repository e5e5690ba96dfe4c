"""Error rates against a hand-written edit distance."""

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.evaluation.aligned import align, show_aligned
from speechssl.evaluation.error_rates import error_rates, respelled_wer
from speechssl.text.foreign import find_foreign


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


def test_alignments_of_a_thousand_pairs_are_whole_and_have_the_fewest_errors() -> None:
    draws = np.random.default_rng(7)
    words = ["A", "B", "C", "D", "AA"]
    pairs = [[" ".join(draws.choice(words, draws.integers(0, 6))) for _ in range(2)] for _ in range(1000)]
    references, hypotheses = zip(*pairs, strict=True)
    for reference, hypothesis, aligned in zip(references, hypotheses, align(references, hypotheses), strict=True):
        found = list(aligned.pairs)
        assert [pair.reference for pair in found if pair.reference] == reference.split()
        assert [pair.hypothesis for pair in found if pair.hypothesis] == hypothesis.split()
        kinds = [pair.kind for pair in found]
        assert aligned.edits == tuple(map(kinds.count, ("hit", "substitution", "deletion", "insertion")))
        assert all((pair.reference == pair.hypothesis) == (pair.kind == "hit") for pair in found)
        assert aligned.edits.errors == edit_distance(reference.split(), hypothesis.split())


@pytest.mark.parametrize(
    ("reference", "hypothesis", "wer", "mer", "wil"),
    [
        ("X", "X", 0, 0, 0),
        ("X", "X X Y Y", 3, 3 / 4, 3 / 4),
        ("X Y X", "X Z", 2 / 3, 2 / 3, 5 / 6),
        ("X", "Y", 1, 1, 1),
        ("X", "Y Z", 2, 1, 1),
    ],
)
def test_rates_of_the_published_examples(reference: str, hypothesis: str, wer: float, mer: float, wil: float) -> None:
    """Those of Morris, Maier and Green (2004), "From WER and RIL to MER and WIL", as jiwer's tests quote them
    (``test_known_values`` in jitsi/jiwer, tests/test_measures.py, "taken from the ... paper"). The paper itself was not
    at hand. Its RIL is not quoted there, and neither jiwer nor speechssl computes it."""
    rates = error_rates({"a": reference}, {"a": hypothesis}, bootstrap_samples=0)
    assert (rates.wer, rates.mer, rates.wil) == pytest.approx((wer, mer, wil))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "wer", "mer", "wil"),
    [
        ("x y", "", 1, 1, 1),
        ("this is a test", "this test", 0.5, 0.5, 0.5),  # of jiwer's tests, and the next one
        (
            "i am a short ground truth",
            "i am a considerably longer and very much incorrect hypothesis",
            7 / 6,
            0.7,
            0.85,
        ),
        ("hello world", "hello duck", 0.5, 0.5, 0.75),  # that of jiwer's documentation
        ("hi how are you today", "hey are you in today", 0.6, 3 / 6, 1 - 9 / 25),  # and of the JRTk's: 60% errors
    ],
)
def test_rates_of_worked_examples(reference: str, hypothesis: str, wer: float, mer: float, wil: float) -> None:
    """(S + D + I) / (H + S + D), (S + D + I) / (H + S + D + I), 1 - H H / ((H + S + D) (H + S + I)) (ibid.)."""
    rates = error_rates({"a": reference}, {"a": hypothesis}, bootstrap_samples=0)
    assert (rates.wer, rates.mer, rates.wil) == pytest.approx((wer, mer, wil))
    assert rates.num_wrong == (wer > 0)


def test_words_in_silence_are_insertions() -> None:
    references, hypotheses = {"a": "ONE TWO", "b": "", "c": ""}, {"a": "ONE TWO", "b": "SIX SIX", "c": ""}
    rates = error_rates(references, hypotheses, bootstrap_samples=100)
    assert (rates.wer, rates.insertions, rates.num_words, rates.num_wrong) == (1.0, 2, 2, 1)
    assert rates.mer == 0.5
    assert 0 <= rates.wer_low <= rates.wer_high < float("inf")


def test_aligned_text_is_in_columns_of_any_width() -> None:
    [aligned] = align(["one 東京 two six"], ["a one 東 two"])
    assert show_aligned(aligned) == [
        "REF: * one 東京 two six",
        "HYP: a one 東   two ***",
        "     I     S        D",
    ]
    assert show_aligned(aligned, width=14) == [
        "REF: * one",
        "HYP: a one",
        "     I",
        "REF: 東京 two",
        "HYP: 東   two",
        "     S",
        "REF: six",
        "HYP: ***",
        "     D",
    ]


def test_utterances_are_matched_by_id_not_by_order() -> None:
    references = {"a": "ONE", "b": "TWO"}
    assert error_rates(references, {"b": "TWO", "a": "ONE"}, bootstrap_samples=10).wer == 0


@pytest.mark.parametrize(
    ("references", "hypotheses", "message"),
    [
        ({"a": "ONE"}, {}, "1 of 1 utterances have no hypothesis: a"),
        ({"a": "ONE"}, {"a": "ONE", "b": "TWO"}, "1 of 2 utterances have no reference: b"),
        ({"a": " "}, {"a": "ONE TWO"}, "none of the 1 references has a word.*hold 2 words, all of them insertions"),
        ({}, {}, "no utterances"),
    ],
)
def test_mismatches_are_named(references: dict[str, str], hypotheses: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        error_rates(references, hypotheses)


def test_what_foreign_characters_cost_is_the_rate_without_them() -> None:
    references = {"a": "DON\u2019T STOP", "b": "IT\u2019S, MINE", "c": "GO 7"}
    hypotheses = {"a": "DON'T STOP", "b": "IT'S MIND", "c": "GO SEVEN"}
    foreign = find_foreign(list(references.values()), frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ'"))
    rates = error_rates(references, hypotheses)
    assert (rates.wer, foreign.num_words) == (4 / 6, 3)
    assert respelled_wer(references, hypotheses, foreign) == pytest.approx(2 / 6)
    assert respelled_wer(references, hypotheses, find_foreign(["GO 7"], frozenset("GO"))) is None
    assert respelled_wer(references, hypotheses, find_foreign(["GO"], frozenset("GO"))) is None
