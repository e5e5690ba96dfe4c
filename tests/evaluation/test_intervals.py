"""Intervals against what they promise: coverage where the truth is known, and a hand-worked comparison."""

import numpy as np
import pytest
from scipy import stats

from speechssl.errors import DataError
from speechssl.evaluation.error_rates import count_words, error_rates
from speechssl.evaluation.intervals import MIN_SPEAKERS, WordCounts, relative_reduction, unit_of, wer_interval


def channel(num_speakers: int, per_speaker: int, spread: float, seed: int) -> WordCounts:
    """Utterances of 5 words; a speaker's error rate is 0.4 on average, with this standard deviation."""
    draws = np.random.default_rng(seed)
    rates = (0.4 + spread * draws.uniform(-np.sqrt(3), np.sqrt(3), num_speakers)).repeat(per_speaker)
    words = np.full(len(rates), 5)
    return WordCounts(draws.binomial(words, rates), words, np.arange(num_speakers).repeat(per_speaker))


def without_speakers(counts: WordCounts) -> WordCounts:
    return WordCounts(counts.edits, counts.words)


def coverage(intervals: list[tuple[float, float]], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def test_interval_over_speakers_covers_the_truth_and_one_over_utterances_does_not() -> None:
    drawn = [channel(10, 12, 0.12, seed) for seed in range(200)]
    assert 0.91 <= coverage([tuple(wer_interval(counts, 500, 0)) for counts in drawn], 0.4) <= 0.985
    assert coverage([tuple(wer_interval(without_speakers(counts), 500, 0)) for counts in drawn], 0.4) < 0.8


def test_interval_narrows_with_the_number_of_utterances() -> None:
    widths = []
    for num in (30, 480):
        low, high = wer_interval(without_speakers(channel(num, 1, 0.0, 0)), 2000, 0)
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)


def test_speakers_are_resampled_where_all_are_known_and_enough() -> None:
    references = {f"u{i}": "ONE TWO" for i in range(2 * MIN_SPEAKERS)}
    hypotheses = dict.fromkeys(references, "ONE SIX")
    speakers = {f"u{i}": f"s{i // 2}" for i in range(2 * MIN_SPEAKERS)}
    rates = error_rates(references, hypotheses, speakers=speakers)
    assert (rates.interval_unit, rates.num_speakers) == ("speakers", MIN_SPEAKERS)
    one_unknown = {key: speaker for key, speaker in speakers.items() if key != "u0"}
    assert unit_of(count_words(references, hypotheses, one_unknown)) == "utterances"
    one_fewer = speakers | {"u0": "s1", "u1": "s1"}
    rates = error_rates(references, hypotheses, speakers=one_fewer)
    assert (rates.interval_unit, rates.num_speakers) == ("utterances", MIN_SPEAKERS - 1)


def test_reduction_of_a_model_that_is_better_on_every_utterance() -> None:
    words = np.full(100, 5)
    scratch = [WordCounts(np.full(100, x), words) for x in (4, 4, 4)]
    pretrained = [WordCounts(np.full(100, x), words) for x in (1, 2, 3)]
    result = relative_reduction(scratch, pretrained)
    assert result.reduction == pytest.approx(0.5)
    # All utterances are equal, and the seeds from scratch: what is left is the error of a mean of 1, 2, 3.
    margin = stats.t.ppf(0.975, 2) * (1 / np.sqrt(3)) / 2
    assert (result.low, result.high) == pytest.approx((1 - 0.5 * np.exp(margin), 1 - 0.5 * np.exp(-margin)))
    assert result.covers_seeds


def test_one_seed_of_either_arm_leaves_seeds_out() -> None:
    draws = [channel(12, 5, 0.1, seed) for seed in range(3)]
    alone = relative_reduction(draws[:1], draws[1:])
    assert not alone.covers_seeds
    assert (alone.unit, alone.num_units) == ("speakers", 12)
    assert relative_reduction(draws[:2], draws[1:]).covers_seeds


def test_comparison_over_speakers_and_seeds_covers_the_truth() -> None:
    """Both arms have a rate of 0.4 but for their seeds, whose spread is 8% of it, and what speakers find hard."""
    intervals, single = [], []
    for trial in range(150):
        draws = np.random.default_rng(trial)
        words, speakers = np.full(240, 5), np.arange(20).repeat(12)
        arms = []
        hard = draws.normal(0, 0.2, 20).repeat(12)
        for _ in range(2):
            own = hard + draws.normal(0, 0.1, 20).repeat(12)
            rates = 0.4 * np.exp(own + draws.normal(0, 0.08, 3)[:, None])
            arms.append([WordCounts(draws.binomial(words, np.minimum(r, 1)), words, speakers) for r in rates])
        for found, seeds in ((intervals, 3), (single, 1)):
            result = relative_reduction(arms[0][:seeds], arms[1][:seeds], bootstrap_samples=300)
            found.append((result.low, result.high))
    assert coverage(intervals, 0.0) >= 0.93
    assert coverage(single, 0.0) < 0.80


def test_speakers_that_one_evaluation_does_not_know_are_not_used() -> None:
    counts = channel(12, 5, 0.1, 0)
    assert relative_reduction([counts], [counts]).unit == "speakers"
    assert relative_reduction([counts], [without_speakers(counts)]).unit == "utterances"


def test_a_model_without_errors_has_a_finite_interval() -> None:
    counts = channel(12, 5, 0.1, 0)
    perfect = WordCounts(np.zeros_like(counts.edits), counts.words, counts.speakers)
    result = relative_reduction([counts], [perfect])
    assert 0.9 < result.low <= result.reduction <= result.high <= 1


def test_reduction_of_equal_models_includes_zero() -> None:
    counts = without_speakers(channel(80, 1, 0.1, 4))
    other = WordCounts(np.random.default_rng(0).permutation(counts.edits), counts.words)
    result = relative_reduction([counts], [other])
    assert result.low < 0 < result.high


def test_reduction_refuses_other_references() -> None:
    with pytest.raises(DataError, match="different references"):
        relative_reduction([WordCounts(np.ones(2), np.ones(2))], [WordCounts(np.ones(3), np.ones(3))])
