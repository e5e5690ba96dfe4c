"""What is lost elsewhere: worked figures, the interval of a reduction, and coverage where the truth is known."""

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.evaluation import generalisation
from speechssl.evaluation.generalisation import Arm, loss, loss_against
from speechssl.evaluation.intervals import WordCounts, relative_reduction

WORDS = np.full(60, 5)
SPEAKERS = np.arange(12).repeat(5)


def counts(rate: float, seed: int, *, texts: str = "a", spread: float = 0.1) -> WordCounts:
    """Of 12 speakers, whose rates deviate by a share; equal seeds make equal people and equal mistakes."""
    draws = np.random.default_rng(seed)
    rates = np.clip(rate * (1 + spread * draws.normal(size=12)), 0, 1).repeat(5)
    return WordCounts(draws.binomial(WORDS, rates), WORDS, SPEAKERS, texts)


def exactly(edits: int, texts: str = "a") -> WordCounts:
    return WordCounts(np.full(60, edits), WORDS, SPEAKERS, texts)


def test_losses_of_models_without_spread() -> None:
    scratch = Arm([exactly(2)], [exactly(4)])  # 40 to 80%
    pretrained = Arm([exactly(1)], [exactly(3)])  # 20 to 60%
    assert loss(scratch).ratio == pytest.approx((2, 2, 2))
    assert loss(scratch).difference == pytest.approx((0.4, 0.4, 0.4))
    against = loss_against(scratch, pretrained)
    # More by the ratio, and the same by the points.
    assert against.ratio == pytest.approx((1.5, 1.5, 1.5))
    assert against.difference == pytest.approx((0, 0, 0))
    assert against.is_paired
    assert not against.covers_seeds


def test_a_reference_that_both_read_alike_leaves_the_reduction() -> None:
    near = exactly(2, "near")
    scratch, pretrained = counts(0.5, 0, texts="far"), counts(0.3, 1, texts="far")
    against = loss_against(Arm([near], [scratch]), Arm([near], [pretrained]))
    saved = relative_reduction([scratch], [pretrained])
    assert not against.is_paired
    assert against.ratio == pytest.approx((1 - saved.reduction, 1 - saved.high, 1 - saved.low), rel=1e-3)


def test_the_same_people_on_both_sides_are_resampled_together() -> None:
    """Whoever is hard to read is so in both sets: paired, that cancels, as it does not between other people."""
    near, far = counts(0.3, 0, spread=0.4), counts(0.3, 0, spread=0.4)
    far = WordCounts(2 * far.edits, far.words, far.speakers, far.texts)
    paired = loss(Arm([near], [far]))
    apart = loss(Arm([near], [WordCounts(far.edits, far.words, far.speakers, "others")]))
    assert paired.is_paired
    assert paired.ratio == pytest.approx((2, 2, 2))
    assert not apart.is_paired
    assert apart.ratio.value == pytest.approx(2)
    assert apart.ratio.high / apart.ratio.low > 1.5


def test_seeds_widen_the_interval() -> None:
    near = [exactly(2), exactly(2)]
    alike, apart = Arm(near, [exactly(3), exactly(3)]), Arm(near, [exactly(2), exactly(4)])
    assert loss(alike).covers_seeds
    assert loss(alike).ratio.high == pytest.approx(1.5)
    assert loss(apart).ratio.value == pytest.approx(1.5)
    # Of two seeds, Student's t with one degree of freedom: 12.7 standard errors, ln(2) / 2 here.
    assert np.log(loss(apart).ratio.high / 1.5) == pytest.approx(12.706 * np.log(2) / 2, rel=1e-3)
    assert not loss_against(Arm(near[:1], [exactly(3)]), apart).covers_seeds


def test_the_truth_lies_in_the_interval_as_often_as_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scratch 30 to 60%, pretrained 20 to 50%; each set and arm with its own mistakes of the same people."""
    monkeypatch.setattr(generalisation, "BOOTSTRAP_SAMPLES", 500)
    held, trials = 0, 120
    for trial in range(trials):
        draws = np.random.default_rng(trial)
        hard = np.exp(0.2 * draws.normal(size=12))
        seen = [
            WordCounts(draws.binomial(WORDS, np.clip(rate * hard, 0, 1).repeat(5)), WORDS, SPEAKERS)
            for rate in (0.3, 0.6, 0.2, 0.5)
        ]
        ratio = loss_against(Arm([seen[0]], [seen[1]]), Arm([seen[2]], [seen[3]])).ratio
        held += ratio.low <= (0.5 / 0.2) / (0.6 / 0.3) <= ratio.high
    assert 0.89 <= held / trials <= 0.99


def test_models_scored_on_other_references_are_refused() -> None:
    with pytest.raises(DataError, match="different references"):
        loss_against(Arm([exactly(1)], [exactly(2)]), Arm([exactly(1, "b")], [exactly(2)]))
