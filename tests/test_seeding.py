"""Every purpose draws for itself, and what it draws stays the same from version to version."""

import itertools

import numpy as np
import pytest
import torch

from speechssl.seeding import Purpose, derive_seed, numpy_generator, seed_torch, torch_generator


def test_no_two_purposes_or_keys_draw_the_same() -> None:
    keys = [(0, 0), (0, 1), (1, 0), (7, 3)]
    drawn = [
        float(numpy_generator(seed, purpose, *key).random())
        if purpose.value[0] == "numpy"
        else float(torch.rand((), generator=torch_generator(seed, purpose, *key), dtype=torch.float64))
        for seed, purpose, key in itertools.product((0, 3), Purpose, keys)
    ]
    assert len(set(drawn)) == len(drawn)


def test_draws_of_earlier_versions_come_out() -> None:
    draws = numpy_generator(3, Purpose.CROPS, 1, 0, 7)
    same = np.random.Generator(np.random.PCG64(np.random.SeedSequence([3, 1, 1, 0, 7])))
    assert draws.integers(1000, size=4).tolist() == same.integers(1000, size=4).tolist()
    assert derive_seed(3, Purpose.MASKS, 12, 1) == 2516501505027790768
    assert [purpose.number for purpose in Purpose] == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("purpose", [Purpose.WEIGHTS, Purpose.NOISE])
def test_what_is_drawn_without_a_generator_is_seeded_alike(purpose: Purpose) -> None:
    seed_torch(5, purpose, 2)
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch_generator(5, purpose, 2)))
