"""The optimiser of a run, and its learning rate: a rise, a hold and a decay."""

from collections.abc import Sequence

import torch
from torch import nn

from speechssl.config import OptimizerConfig, ScheduleConfig
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
    """Number of weights that can learn: an encoder that only gives units is no part of what a run trains."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def learning_rate_scale(config: ScheduleConfig, update: int, max_updates: int) -> float:
    """Factor on the peak learning rate for one update.

    Neither end wastes an update: the first of the rise already moves the weights, and the fall reaches ``final_scale``
    only where the update after the last would be. Updates count from 0; from ``max_updates`` on the factor stays at its
    end.
    """
    warmup_updates = round(config.warmup * max_updates)
    peak_until = round((config.warmup + config.hold) * max_updates)
    if update < warmup_updates:
        return (update + 1) / warmup_updates
    if update < peak_until or config.decay == "none":
        return 1.0
    progress = min(1.0, (update - peak_until) / max(1, max_updates - peak_until))
    if config.decay == "exponential":
        return float(config.final_scale**progress)
    return 1.0 + (config.final_scale - 1.0) * progress
