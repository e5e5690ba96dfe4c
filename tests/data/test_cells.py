"""Batches by seconds: within the limit, tightly packed, every sample once."""

import numpy as np
import pytest

from speechssl.data.cells import NUM_CUTS, cell_edges, count_lengths, cut_sizes, fill_batches, round_down, round_up


def greedy_sizes(lengths: np.ndarray, max_samples: float, cut: int) -> list[int]:
    """Sample by sample, shortest first: the slow way to cut batches."""
    filled = int(max(1, max_samples // lengths.min()) * cut / NUM_CUTS)
    sizes = [-filled]
    for length in sorted(lengths.tolist()):
        if filled and length * (filled + 1) > max_samples:
            sizes[-1] += filled
            sizes.append(0)
            filled = 0
        filled += 1
    sizes[-1] += filled
    return sizes


@pytest.mark.parametrize("seed", range(40))
def test_sizes_are_those_of_a_sample_by_sample_cut(seed: int) -> None:
    draws = np.random.default_rng(seed)
    lengths = round_up(draws.integers(1, 400, draws.integers(1, 300)))
    limit = float(draws.integers(50, 3000))
    sizes = cut_sizes(count_lengths(lengths), limit, seed % NUM_CUTS)
    assert sizes.tolist() == greedy_sizes(lengths, limit, seed % NUM_CUTS)
    assert sizes.min() >= 1
    batches = fill_batches(lengths, sizes, draws)
    assert [len(batch) for batch in batches] == sizes.tolist()
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= limit


def test_shuffling_moves_samples_within_their_cells_only() -> None:
    lengths = np.repeat([100, 200, 300], 50)
    sizes = cut_sizes(count_lengths(lengths), 1000)
    one, other = (fill_batches(lengths, sizes, np.random.default_rng(seed)) for seed in (0, 1))
    assert any(set(a) != set(b) for a, b in zip(one, other, strict=True))
    assert [lengths[batch].tolist() for batch in one] == [lengths[batch].tolist() for batch in other]


def test_cells_are_narrow_and_edges_stay_where_they_are() -> None:
    lengths = np.arange(40, 320_000, 77)
    assert (round_up(lengths) >= lengths).all()
    assert (round_down(lengths) <= lengths).all()
    assert (round_up(lengths) <= lengths * 1.03 + 1).all()
    assert (round_down(lengths) >= lengths / 1.03 - 1).all()
    np.testing.assert_array_equal(round_up(round_up(lengths)), round_up(lengths))
    np.testing.assert_array_equal(cell_edges(5000)[:50], cell_edges(300_000)[:50])
