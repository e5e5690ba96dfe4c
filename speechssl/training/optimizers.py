"""The optimiser of a run."""

from collections.abc import Sequence

import torch
from torch import nn

from speechssl.config import OptimizerConfig
from speechssl.training.task import ParameterGroup


def build_optimizer(groups: Sequence[ParameterGroup], config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW; biases, norms and other vectors are not decayed."""
    made = []
    for group in groups:
        rate = config.learning_rate * group.rate_scale
        for decayed in (True, False):
            chosen = [p for p in group.parameters if p.requires_grad and (p.ndim > 1) == decayed]
            if chosen:
                decay = config.weight_decay if decayed else 0.0
                made.append({"params": chosen, "lr": rate, "peak_lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(made, betas=config.betas, eps=config.eps, fused=True)


def count_parameters(module: nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in module.parameters())
