"""The optimiser of a run."""

from collections.abc import Iterator

import torch
from torch import nn

from speechssl.config import OptimizerConfig


def build_optimizer(module: nn.Module, config: OptimizerConfig, head_scale: float) -> torch.optim.Optimizer:
    """AdamW; biases, norms and other vectors are not decayed. The CTC head has a factor on its rate."""
    groups = []
    for is_head, named in _by_head(module):
        for decayed in (True, False):
            parameters = [p for _, p in named if (p.ndim > 1) == decayed]
            if parameters:
                rate = config.learning_rate * (head_scale if is_head else 1.0)
                decay = config.weight_decay if decayed else 0.0
                groups.append({"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, fused=True)


def _by_head(module: nn.Module) -> Iterator[tuple[bool, list[tuple[str, nn.Parameter]]]]:
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    head = ("head.", "recurrent.", "normalize.")
    yield False, [(name, p) for name, p in named if not name.startswith(head)]
    yield True, [(name, p) for name, p in named if name.startswith(head)]
