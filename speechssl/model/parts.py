"""Where a computation may take another way than the modules say, part by part or on other kernels."""

import torch
from torch import Tensor


def goes_in_parts(x: Tensor) -> bool:
    """Whether parts of x give the same in less memory: no gradient needs the whole, no graph records the parts, and
    CPUs have small caches that whole recordings would only leave."""
    return not torch.is_grad_enabled() and runs_on_cpu(x)


def runs_on_cpu(x: Tensor) -> bool:
    """Whether x is computed on a CPU now, rather than recorded in a graph that may run anywhere."""
    return x.device.type == "cpu" and not (torch.compiler.is_compiling() or torch.jit.is_tracing())
