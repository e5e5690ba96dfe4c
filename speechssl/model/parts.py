"""Where a computation is better made part by part."""

import torch
from torch import Tensor


def goes_in_parts(x: Tensor) -> bool:
    """Whether parts of x give the same in less memory: no gradient needs the whole, no graph records the parts, and
    CPUs have small caches that whole recordings would only leave."""
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return False
    return not (torch.compiler.is_compiling() or torch.jit.is_tracing())
