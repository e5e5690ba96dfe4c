"""Span masks and negatives."""

from collections import Counter

import pytest
import reference
import torch

from speechssl.model.masking import equalize_mask, masked_positions, sample_negatives, sample_span_mask


def draw(lengths: list[int], seed: int = 0, **options: float) -> torch.Tensor:
    settings: dict[str, float] = {"prob": 0.65, "span_length": 10, "min_spans": 2} | options
    rng = torch.Generator().manual_seed(seed)
    return sample_span_mask(torch.tensor(lengths), max(lengths), rng=rng, **settings)  # type: ignore[arg-type]


def test_published_setting_masks_about_half() -> None:
    """Appendix A of wav2vec 2.0: p = 0.065 per frame as a start and length 10 mask about 49% of a 15 s utterance."""
    share = torch.stack([draw([750] * 4, seed).float().mean() for seed in range(50)]).mean()
    assert share == pytest.approx(0.49, abs=0.01)


def test_masks_stay_inside_their_utterance_and_are_unions_of_spans() -> None:
    for seed in range(20):
        mask = draw([200, 37, 12, 9], seed)
        for row, length in zip(mask, [200, 37, 12, 9], strict=True):
            assert not row[length:].any()
            runs = "".join("x" if masked else " " for masked in row.tolist()).split()
            assert all(len(run) >= 10 for run in runs)
        assert not mask[3].any()


def test_number_of_spans_is_rounded_at_random() -> None:
    # 100 frames x 0.25 / 10 = 2.5 spans: two or three, each in about half of the draws.
    spans = Counter(int(draw([100], seed, prob=0.25, min_spans=0, span_length=1).sum()) for seed in range(400))
    assert set(spans) == {25}
    spans = Counter(int(draw([10], seed, prob=0.25, min_spans=0, span_length=1).sum()) for seed in range(400))
    assert set(spans) == {2, 3}
    assert 140 < spans[2] < 260


def test_draws_are_functions_of_the_generator() -> None:
    assert torch.equal(draw([90, 80], 3), draw([90, 80], 3))
    assert not torch.equal(draw([90, 80], 3), draw([90, 80], 4))


def test_equalized_rows_have_the_fewest_count_and_mask_nothing_new() -> None:
    for seed in range(10):
        mask = draw([300] * 5, seed)
        equal = equalize_mask(mask, torch.Generator().manual_seed(seed))
        assert set(equal.sum(1).tolist()) == {int(mask.sum(1).min())}
        assert not (equal & ~mask).any()
        positions = masked_positions(equal)
        assert all(equal[row, positions[row]].all() for row in range(5))


def test_negatives_are_never_the_target_and_uniform_over_the_others() -> None:
    negatives = sample_negatives(4, 7, 3000, torch.Generator().manual_seed(0))
    for m in range(7):
        counts = Counter(negatives[:, m].flatten().tolist())
        assert set(counts) == set(range(7)) - {m}
        assert abs(reference.uniform_chi_square(list(counts.values()))) < 4


def test_a_single_masked_frame_has_no_negatives() -> None:
    with pytest.raises(ValueError, match="at least 2 masked frames"):
        sample_negatives(1, 1, 5, torch.Generator())
