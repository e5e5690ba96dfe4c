"""Grouped convolution that is in float32 where this machine's kernels in low precision are wrong."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GroupedConv1d(nn.Conv1d):
    """A grouped convolution over (B, C, T), padded by half its kernel.

    Some oneDNN kernels for AMX give wrong bf16 values if groups have few channels; the run would never learn.
    """

    def __init__(self, channels: int, kernel: int, groups: int) -> None:
        super().__init__(channels, channels, kernel, padding=kernel // 2, groups=groups)
        self._low_precision_works: bool | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Frames (B, C, T) to the same, one more if the kernel is even."""
        device = x.device.type
        low_precision = device == "cpu" and torch.is_autocast_enabled(device)
        if low_precision and not self.low_precision_works(torch.get_autocast_dtype(device)):
            with torch.autocast(device, enabled=False):
                return super().forward(x.to(self.weight.dtype))
        return super().forward(x)

    def low_precision_works(self, dtype: torch.dtype) -> bool:
        """Whether this machine's kernels do; tried once."""
        if self._low_precision_works is None:
            self._low_precision_works = low_precision_works(self, dtype)
        return self._low_precision_works

    # As torch.compiler.assume_constant_result does it, which would import the compiler: 120 MiB and 2 s for everyone.
    low_precision_works._dynamo_marked_constant = True  # type: ignore[attr-defined]


def low_precision_works(conv: nn.Conv1d, dtype: torch.dtype, tolerance: float = 0.05) -> bool:
    """Whether this machine's kernels for a convolution agree with float32, in values and both gradients."""
    found = []
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        wave = torch.arange(2 * conv.in_channels * (conv.kernel_size[0] + 16), dtype=torch.float32).sin()
        for kind in (torch.float32, dtype):
            x = wave.view(2, conv.in_channels, -1).to(kind).requires_grad_()
            weight = conv.weight.detach().to(kind).requires_grad_()
            y = F.conv1d(x, weight, padding=conv.padding, groups=conv.groups)
            found.append((y.detach(), *torch.autograd.grad(y, (x, weight), y.detach())))
    exact, rough = found
    errors = [(b.float() - a).norm() / a.norm() for a, b in zip(exact, rough, strict=True)]
    return bool(torch.stack(errors).max() < tolerance)
