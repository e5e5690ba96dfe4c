"""Comparisons of two systems against segments found by another way, worked examples, and how often they are wrong."""

import re

import numpy as np
import pytest
from scipy import stats

from speechssl.errors import DataError
from speechssl.evaluation.aligned import Aligned, align
from speechssl.evaluation.comparison import matched_pairs, paired_bootstrap, segment_errors
from speechssl.evaluation.intervals import MIN_SPEAKERS, WordCounts

WORDS = [f"w{i}" for i in range(40)]


def spoken(draws: np.random.Generator, num: int) -> list[list[str]]:
    return [list(draws.choice(WORDS, draws.integers(0, 15))) for _ in range(num)]


def heard(words: list[str], share: float, draws: np.random.Generator) -> str:
    """With errors of all kinds."""
    found: list[str] = []
    for word in words:
        chance = draws.random()
        found += [] if chance < share / 3 else [str(draws.choice(WORDS))] if chance < 2 * share / 3 else [word]
        found += [str(draws.choice(WORDS))] if draws.random() < share / 3 else []
    return " ".join(found)


def segments_by_pattern(first: Aligned, second: Aligned) -> list[tuple[int, int]]:
    """Splits a text of c, right in both, and e, wrong in one, where there are two c and more."""
    signs, errors = "", []
    inserted = [[0], [0]]
    wrong: list[list[int]] = [[], []]
    for aligned, gaps, own in zip((first, second), inserted, wrong, strict=True):
        for pair in aligned.pairs:
            if pair.kind == "insertion":
                gaps[-1] += 1
            else:
                gaps.append(0)
                own.append(int(pair.kind != "hit"))
    for place in range(len(inserted[0])):
        if inserted[0][place] or inserted[1][place]:
            signs += "e"
            errors.append((inserted[0][place], inserted[1][place]))
        if place < len(wrong[0]):
            signs += "e" if wrong[0][place] or wrong[1][place] else "c"
            errors.append((wrong[0][place], wrong[1][place]))
    found, start = [], 0
    for stretch in re.split("(c{2,})", signs):
        if "e" in stretch:
            inside = errors[start : start + len(stretch)]
            found.append((sum(one for one, _ in inside), sum(other for _, other in inside)))
        start += len(stretch)
    return found


def test_segments_lie_between_two_words_that_both_have_right() -> None:
    draws = np.random.default_rng(3)
    references = spoken(draws, 300)
    texts = [" ".join(words) for words in references]
    first, second = (align(texts, [heard(words, share, draws) for words in references]) for share in (0.2, 0.4))
    for one, other in zip(first, second, strict=True):
        assert [tuple(found) for found in segment_errors(one, other)] == segments_by_pattern(one, other)


def test_the_statistic_of_matched_pairs_is_that_of_the_paired_t_test() -> None:
    draws = np.random.default_rng(4)
    references = spoken(draws, 200)
    texts = [" ".join(words) for words in references]
    first, second = (align(texts, [heard(words, share, draws) for words in references]) for share in (0.3, 0.4))
    found = matched_pairs(first, second)
    pairs = np.array([pair for item in zip(first, second, strict=True) for pair in segments_by_pattern(*item)])
    expected = stats.ttest_rel(pairs[:, 1], pairs[:, 0])
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert (found.num_segments, *found.errors) == (len(pairs), *pairs.sum(0))
    back = matched_pairs(second, first)
    assert (back.statistic, back.p_value) == pytest.approx((-expected.statistic, expected.pvalue))


@pytest.mark.parametrize(
    ("first", "second", "segments", "p_value"),
    [
        (["a b"] * 3, ["a b"] * 3, 0, 1.0),
        (["a c"] * 3, ["a d"] * 3, 3, 1.0),
        (["a b"], ["a c"], 1, 1.0),
        (["a b"] * 6, ["a c"] * 6, 6, 2**-5),
    ],
)
def test_segments_that_all_differ_alike_have_a_p_value(
    first: list[str], second: list[str], segments: int, p_value: float
) -> None:
    references = ["a b"] * len(first)
    found = matched_pairs(align(references, first), align(references, second))
    assert (found.num_segments, found.statistic, found.p_value) == (segments, None, p_value)


def counts_of(edits: np.ndarray, num_speakers: int) -> WordCounts:
    return WordCounts(edits, np.full(len(edits), 6), np.arange(num_speakers).repeat(len(edits) // num_speakers))


def test_the_interval_ends_at_zero_where_the_p_value_is_a_twentieth() -> None:
    draws = np.random.default_rng(5)
    for shift in np.linspace(0.1, 0.4, 7):
        first = draws.binomial(6, 0.3, 300)
        second = draws.binomial(6, 0.3 + 0.2 * shift, 300)
        found = paired_bootstrap(counts_of(first, 20), counts_of(second, 20), samples=4000)
        assert found.difference == pytest.approx((second.sum() - first.sum()) / 1800)
        assert found.low < found.difference < found.high
        assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)
        back = paired_bootstrap(counts_of(second, 20), counts_of(first, 20), samples=4000)
        assert back.p_value == pytest.approx(found.p_value)
        assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_a_system_does_not_differ_from_itself() -> None:
    counts = counts_of(np.random.default_rng(0).binomial(6, 0.3, 60), MIN_SPEAKERS)
    found = paired_bootstrap(counts, counts)
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert (found.unit, found.num_units) == ("speakers", MIN_SPEAKERS)


def test_systems_of_other_references_are_not_compared() -> None:
    with pytest.raises(DataError, match="different references"):
        paired_bootstrap(WordCounts(np.ones(2), np.ones(2)), WordCounts(np.ones(2), np.full(2, 3)))


def test_false_alarms_are_as_many_as_the_level_says() -> None:
    """Two systems as good as each other, of which each finds other speakers hard: tools/false_alarms.py has more."""
    alarms = []
    for trial in range(300):
        draws = np.random.default_rng(trial)
        rates = np.clip(0.3 * np.exp(draws.normal(0, 0.3, (15, 1)) + draws.normal(0, 0.2, (15, 2))), 0, 1)
        first, second = (draws.binomial(6, rates[:, i].repeat(12)) for i in range(2))
        found = paired_bootstrap(counts_of(first, 15), counts_of(second, 15), samples=400)
        alarms.append(found.p_value < 0.05)
    assert 0.02 <= np.mean(alarms) <= 0.08
