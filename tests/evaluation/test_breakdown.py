"""Parts of a set, confusions and differences of spelling, against counts by hand."""

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.evaluation.breakdown import Breakdown, break_down, worst_first
from speechssl.evaluation.confusions import Confusion, find_confusions, find_worst
from speechssl.evaluation.error_rates import ScoredSet, align_set, error_rates
from speechssl.evaluation.spelling import words_without_spaces

NUM = 60


def made_set() -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, str | float]]]:
    """Voices of which the later make more errors, in two noises and at as many levels as there are utterances."""
    draws = np.random.default_rng(0)
    references, hypotheses, columns = {}, {}, {}
    for i in range(NUM):
        name, voice = f"u{i:02d}", i % 12
        words = list(draws.choice(["ONE", "TWO", "SIX"], draws.integers(0, 8)))
        references[name] = " ".join(words)
        hypotheses[name] = " ".join("TEN" if draws.random() < voice / 20 else word for word in words)
        columns[name] = {"speaker": f"s{voice}", "noise": "babble" if i % 2 else "none", "level": -20.0 - i}
        columns[name]["remark"] = f"remark of utterance {i}"
        if i % 3 == 0:
            columns[name]["language"] = "tr"
    return references, hypotheses, columns


@pytest.fixture(scope="module")
def scored() -> ScoredSet:
    references, hypotheses, columns = made_set()
    return align_set(references, hypotheses, {key: str(values["speaker"]) for key, values in columns.items()})


def of(breakdowns: list[Breakdown], column: str) -> Breakdown:
    return next(item for item in breakdowns if item.column == column)


def test_each_group_is_scored_as_a_set_of_its_own(scored: ScoredSet) -> None:
    references, hypotheses, columns = made_set()
    found = break_down(scored, columns)
    assert [item.column for item in found] == ["length", "speaker", "noise", "level", "language"]
    babble = {key for key, values in columns.items() if values["noise"] == "babble"}
    alone = error_rates(
        {key: references[key] for key in babble}, {key: hypotheses[key] for key in babble}, bootstrap_samples=0
    )
    [group] = [group for group in of(found, "noise").groups if group.name == "babble"]
    assert (group.wer, group.cer, group.num_words, group.num_utterances) == pytest.approx(
        (alone.wer, alone.cer, alone.num_words, len(babble))
    )
    for breakdown in found:
        assert sum(group.num_utterances for group in breakdown.groups) == NUM
        assert sum(group.num_words for group in breakdown.groups) == scored.counts.words.sum()
        errors = sum(group.substitutions + group.deletions + group.insertions for group in breakdown.groups)
        assert errors == scored.counts.edits.sum()


def test_groups_are_in_order_and_those_of_numbers_are_quarters(scored: ScoredSet) -> None:
    found = break_down(scored, made_set()[2])
    lengths = [group.name for group in of(found, "length").groups]
    assert lengths == ["0", "1 to 2", "3 to 5", "6 to 10"]
    levels = of(found, "level").groups
    assert [group.name for group in levels] == ["-79 to -65", "-64 to -50", "-49 to -35", "-34 to -20"]
    assert {group.name for group in of(found, "language").groups} == {"tr", "unknown"}
    rates = [group.wer for group in worst_first(of(found, "speaker"))]
    assert rates == sorted(rates, reverse=True)


def test_intervals_are_over_speakers_where_a_group_has_enough_and_absent_where_it_is_small(scored: ScoredSet) -> None:
    found = break_down(scored, made_set()[2])
    quarter = of(found, "level").groups[0]
    assert quarter.wer is not None
    assert quarter.wer_low is not None
    assert quarter.wer_low < quarter.wer < (quarter.wer_high or 0)
    assert quarter.interval_unit == "speakers"
    assert {group.interval_unit for group in of(found, "noise").groups} == {"utterances"}
    assert all(group.wer_low is None for group in of(found, "speaker").groups)


def test_silence_alone_has_no_rate(scored: ScoredSet) -> None:
    silence = of(break_down(scored, {}), "length").groups[0]
    assert (silence.name, silence.num_words, silence.wer, silence.cer, silence.wer_low) == ("0", 0, None, None, None)


def test_columns_can_be_asked_for(scored: ScoredSet) -> None:
    columns = made_set()[2]
    assert [item.column for item in break_down(scored, columns, ["noise", "length"])] == ["noise", "length"]
    assert len(break_down(scored, columns, ["remark"])[0].groups) == NUM
    with pytest.raises(DataError, match=r"no utterance has nois to break down by; the references have length, speaker"):
        break_down(scored, columns, ["nois"])


def test_confusions_say_how_often_a_word_was_there_to_be_confused() -> None:
    found = align_set({"a": "ONE TWO ONE SIX", "b": "ONE"}, {"a": "WON TWO WON SIX", "b": "SIX ONE TEN"})
    confusions = find_confusions(found.words)
    assert confusions.substitutions == [Confusion("ONE", "WON", 2, 3)]
    assert confusions.insertions == [Confusion("", "SIX", 1, 1), Confusion("", "TEN", 1, 0)]
    assert confusions.deletions == []
    assert find_confusions(align_set({"a": "ONE TWO"}, {"a": "TWO"}).words).deletions == [Confusion("ONE", "", 1, 1)]


def test_the_worst_utterances_have_the_most_errors() -> None:
    references = {"a": "ONE TWO", "b": "ONE TWO SIX", "c": "ONE"}
    worst = find_worst(align_set(references, {"a": "", "b": "SIX", "c": "ONE"}))
    assert [(item.id, item.errors, item.num_words) for item in worst] == [("a", 2, 2), ("b", 2, 3)]
    assert worst[1].aligned == ["REF: ONE TWO SIX", "HYP: *** *** SIX", "     D   D"]


def test_words_without_spaces_are_told_to_be_none() -> None:
    assert words_without_spaces({"a": "今天天气很好我们去公园散步吧", "b": ""}) == [
        "the references are written without spaces, or with few: go by the CER"
    ]
    assert words_without_spaces({"a": "Donaudampfschifffahrt ist ein Wort", "b": ""}) == []
