"""Dropout as PyTorch's, but for where its random numbers come from."""

import pytest
import torch

from speechssl.model.kernels.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_a_share_is_dropped_and_the_others_make_up_for_it(p: float) -> None:
    torch.manual_seed(0)
    x = torch.full((400, 1001), 2.0).requires_grad_()
    y = dropout(x, p)
    dropped = (y == 0).double().mean()
    error = (p * (1 - p) / x.numel()) ** 0.5
    assert abs(dropped - p) < 5 * error + 1 / (1 << 16)
    assert torch.allclose(y[y != 0], torch.tensor(2.0 / (1 - p)), rtol=1e-4)
    assert abs(y.double().mean() - 2.0) < 5 * 2.0 * error / (1 - p)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(gradient, y.detach() / 2.0)


def test_neighbours_and_calls_are_independent() -> None:
    torch.manual_seed(0)
    x = torch.ones(1 << 20)
    first, second = (dropout(x, 0.25) == 0 for _ in range(2))
    for other in (second, *(first.roll(lag) for lag in (1, 2, 3, 4, 8))):
        assert abs((first & other).double().mean() - 0.25**2) < 0.002


def test_the_seed_is_pytorchs() -> None:
    x = torch.randn(3, 5, 7)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(dropout(x, 0.5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_nothing_all_and_evaluation() -> None:
    x = torch.randn(4, 5)
    assert torch.equal(dropout(x, 0.0), x)
    assert torch.equal(dropout(x, 1.0), torch.zeros(4, 5))
    with pytest.raises(ValueError, match="probability"):
        dropout(x, 1.5)
    assert dropout(torch.ones(0, 3), 0.5).shape == (0, 3)
    layer = Dropout(0.5)
    assert torch.equal(layer.eval()(x), x)
    assert (layer.train()(x) == 0).any()


def test_the_type_stays() -> None:
    x = torch.ones(1000, dtype=torch.bfloat16)
    y = dropout(x, 0.1)
    assert y.dtype == torch.bfloat16
    assert set(y.tolist()) == {0.0, torch.tensor(1 / 0.9).bfloat16().item()}
