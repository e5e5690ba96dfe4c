"""Dropout (Srivastava et al. 2014) with quick random numbers on CPUs."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.model.kernels.dispatch import runs_on_cpu

LEVELS = 1 << 16
"""A share is met to one in so many."""


class Dropout(nn.Dropout):
    """As PyTorch's, with quick random numbers on CPUs."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x


def dropout(x: Tensor, p: float) -> Tensor:
    """Set a share ``p`` of any tensor to zero and scale the others by 1 / (1 - p).

    PyTorch draws each number by itself on CPUs, on one core, which takes several times as long (docs/decisions.md).
    """
    if p == 0:
        return x
    if not runs_on_cpu(x) or not 0 < p <= 1:
        return F.dropout(x, p)
    kept, scale = draw_kept(x.shape, p, x.dtype)
    return x * kept * scale


def draw_kept(shape: torch.Size, p: float, dtype: torch.dtype) -> tuple[Tensor, float]:
    """Ones at what dropout keeps and zeros at the share ``p`` that it drops, on the CPU, and the scale of what is kept.

    The generator is numpy's fastest, seeded from PyTorch's, so that the same seed draws the same.
    """
    dropped = round(p * LEVELS)
    if dropped == LEVELS:
        return torch.zeros(shape, dtype=dtype, device="cpu"), 0.0
    seed = int(torch.empty((), dtype=torch.int64, device="cpu").random_())
    numbers = np.random.SFC64(seed).random_raw(-(-shape.numel() // 4)).view(np.int16)[: shape.numel()]
    kept = torch.empty(shape, dtype=dtype, device="cpu")
    torch.ge(torch.from_numpy(numbers).view(shape), dropped - LEVELS // 2, out=kept)
    return kept, LEVELS / (LEVELS - dropped)
