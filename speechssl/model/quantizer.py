"""Product quantizer with Gumbel softmax (wav2vec 2.0, section 2, "Quantization module")."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.config import QuantizerConfig


class Quantized(NamedTuple):
    """Quantized frames; leading shape as the input's."""

    vectors: Tensor
    """Concatenated code vectors, (..., dim)."""
    codes: Tensor
    """Chosen entry of each group, (..., G)."""
    diversity_loss: Tensor
    """(G V - sum of the groups' perplexities) / (G V), a scalar in 0..1; equation 4 as published code has it."""
    perplexity: Tensor
    """Perplexity of the chosen codes over the batch, per group, (G,)."""


class GumbelQuantizer(nn.Module):
    """Chooses one entry per group: hard in the forward pass, Gumbel softmax in the backward pass (straight-through)."""

    def __init__(self, config: QuantizerConfig, in_dim: int) -> None:
        super().__init__()
        self.config = config
        groups, entries = config.num_groups, config.num_entries
        self.scores = nn.Linear(in_dim, groups * entries)
        nn.init.normal_(self.scores.weight)
        nn.init.zeros_(self.scores.bias)
        self.codebook = nn.Parameter(torch.empty(groups, entries, config.dim // groups).uniform_())

    def temperature(self, update: int) -> float:
        """Gumbel temperature at an update."""
        return temperature_at(self.config, update)

    def forward(self, features: Tensor, *, temperature: float, noise: Tensor | None = None) -> Quantized:
        """Quantize features (..., C).

        Args:
            features: masked frames' features.
            temperature: of the Gumbel softmax; used in training only.
            noise: Gumbel noise of shape (..., G, V) instead of a fresh draw, in training only.
        """
        # Softmax over hundreds of entries with N(0, 1) weights: float32 even under autocast.
        with torch.autocast(features.device.type, enabled=False):
            dtype = self.scores.weight.dtype
            groups, entries = self.config.num_groups, self.config.num_entries
            scores = self.scores(features.to(dtype)).unflatten(-1, (groups, entries))  # (..., G, V)
            if self.training:
                if noise is None:
                    noise = -torch.empty_like(scores).exponential_().log()
                soft = ((scores + noise) / temperature).softmax(-1)
                codes = soft.argmax(-1)
                hard = F.one_hot(codes, entries).to(dtype)
                choice = hard - soft.detach() + soft
            else:
                codes = scores.argmax(-1)
                choice = F.one_hot(codes, entries).to(dtype)
            # One matrix product per group instead of a gather: (..., G, V) x (G, V, dim / G).
            vectors = torch.einsum("...gv,gvd->...gd", choice, self.codebook).flatten(-2)
            mean_probs = scores.softmax(-1).flatten(0, -3).mean(0)  # (G, V)
            diversity_loss = 1.0 - perplexity(mean_probs).sum() / (groups * entries)
            # Use of the codebook is judged without the noise, or a collapsed one would look alive.
            hard_use = F.one_hot(scores.argmax(-1).flatten(0, -2), entries).to(dtype).mean(0)
        return Quantized(vectors, codes, diversity_loss, perplexity(hard_use).detach())


def temperature_at(config: QuantizerConfig, update: int) -> float:
    """Gumbel temperature at an update: exponential decay down to a floor."""
    return max(config.temperature_start * config.temperature_decay**update, config.temperature_end)


def perplexity(probs: Tensor) -> Tensor:
    """Exponential of the entropy over the last dimension: (..., V) to (...)."""
    return torch.exp(-(probs * torch.log(probs + 1e-7)).sum(-1))
