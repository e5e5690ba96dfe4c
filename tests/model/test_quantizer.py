"""Gumbel quantizer against loops."""

import pytest
import reference
import torch

from speechssl.config import QuantizerConfig
from speechssl.model.quantizer import GumbelQuantizer, perplexity

CONFIG = QuantizerConfig(num_groups=2, num_entries=5, dim=6)


def make() -> tuple[GumbelQuantizer, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    quantizer = GumbelQuantizer(CONFIG, 4).double().train()
    features = torch.randn(2, 7, 4, dtype=torch.float64)
    noise = -torch.empty(2, 7, 2, 5, dtype=torch.float64).exponential_().log()
    return quantizer, features, noise


def test_values_and_gradients_are_those_of_a_lookup() -> None:
    quantizer, features, noise = make()
    scores = quantizer.scores(features).unflatten(-1, (2, 5)).flatten(0, 1)
    expected = reference.straight_through_lookup(scores, noise.flatten(0, 1), quantizer.codebook, 0.7).view(2, 7, 6)
    found = quantizer(features, temperature=0.7, noise=noise).vectors
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(found)
    parameters = [quantizer.scores.weight, quantizer.scores.bias]
    ours = torch.autograd.grad((found * weights).sum(), parameters, retain_graph=True)
    oracle = torch.autograd.grad((expected * weights).sum(), parameters)
    for a, b in zip(ours, oracle, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_evaluation_takes_the_best_entry_without_noise() -> None:
    quantizer, features, _ = make()
    found = quantizer.eval()(features, temperature=1.0)
    codes = quantizer.scores(features).unflatten(-1, (2, 5)).argmax(-1)
    assert torch.equal(found.codes, codes)
    for g in range(2):
        gathered = quantizer.codebook[g][codes[..., g]]
        torch.testing.assert_close(found.vectors[..., 3 * g : 3 * g + 3], gathered, rtol=0, atol=1e-12)


def test_diversity_loss_and_its_gradient() -> None:
    quantizer, features, noise = make()
    found = quantizer(features, temperature=1.0, noise=noise).diversity_loss
    expected = reference.diversity_loss(quantizer.scores(features).unflatten(-1, (2, 5)).flatten(0, 1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    ours = torch.autograd.grad(found, quantizer.scores.weight)[0]
    oracle = torch.autograd.grad(expected, quantizer.scores.weight)[0]
    torch.testing.assert_close(ours, oracle, rtol=0, atol=1e-10)


def test_perplexity_of_uniform_and_collapsed_use() -> None:
    assert float(perplexity(torch.full((8,), 1 / 8))) == pytest.approx(8, rel=1e-4)
    assert float(perplexity(torch.eye(8)[0])) == pytest.approx(1, rel=1e-4)


def test_perplexity_is_that_of_the_codes_without_noise() -> None:
    quantizer, features, noise = make()
    with torch.no_grad():
        quantizer.scores.weight.zero_()
        quantizer.scores.bias.zero_()
        quantizer.scores.bias[2] = 0.1
    assert float(quantizer(features, temperature=1.0, noise=noise).perplexity[0]) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("update", [0, 1, 100, 277_000, 300_000])
def test_published_temperature_schedule(update: int) -> None:
    quantizer = GumbelQuantizer(QuantizerConfig(), 4)
    expected = reference.gumbel_temperature(update, 2.0, 0.5, 0.999995)
    assert quantizer.temperature(update) == pytest.approx(expected, rel=1e-6)
