"""Weights from elsewhere into modules that are made for them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from speechssl.errors import CheckpointError

_RANDOM = frozenset({"uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_"})


class NoRandomWeights(TorchFunctionMode):
    """Within it modules are made without drawing weights: their memory is reserved, but neither filled nor taken up.

    Seconds and hundreds of megabytes for the published models.
    """

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Leave a tensor as it is where it would be drawn."""
        if getattr(func, "__name__", "") in _RANDOM:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def load_weights(module: nn.Module, state: Mapping[str, Tensor], *, source: Path, copy: bool = True) -> None:
    """Copy weights into a module whose parameters and buffers match them one for one.

    Args:
        module: takes them.
        state: weights by name.
        source: where they come from, for messages.
        copy: False makes the tensors themselves the module's, where they are of its type.

    Raises:
        CheckpointError: some are missing, left over or of another shape; all are listed, and nothing is copied.
    """
    own = module.state_dict()
    problems = [f"missing: {name} {tuple(own[name].shape)}" for name in own if name not in state]
    problems += [f"not in the model: {name} {tuple(state[name].shape)}" for name in state if name not in own]
    problems += [
        f"another shape: {name} is {tuple(state[name].shape)}, the model's is {tuple(own[name].shape)}"
        for name in own
        if name in state and own[name].shape != state[name].shape
    ]
    if problems:
        shown = problems[:12] + ([f"... and {len(problems) - 12} more"] if len(problems) > 12 else [])
        raise CheckpointError(
            f"{source}: its weights are for another model ({len(problems)} of {len(own)} tensors differ):\n  "
            + "\n  ".join(shown)
            + f"\nUse the model section of {source / 'config.yaml'}, or another checkpoint."
        )
    module.load_state_dict({name: value.to(own[name].dtype) for name, value in state.items()}, assign=not copy)


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and values."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
