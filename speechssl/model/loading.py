"""Modules that are about to get their weights from elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode

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
