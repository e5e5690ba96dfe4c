"""Where a computation may take another way than on other devices."""

import torch
from torch import Tensor


def use_chunks(x: Tensor) -> bool:
    """Whether chunks of x give the same in less memory: no gradient needs the whole, no graph records the chunks, and
    CPUs have small caches that whole recordings would only leave."""
    return not torch.is_grad_enabled() and runs_on_cpu(x)


def runs_on_cpu(x: Tensor) -> bool:
    """Whether x is computed on a CPU now, rather than recorded in a graph that may run anywhere."""
    return x.device.type == "cpu" and not (torch.compiler.is_compiling() or torch.jit.is_tracing())
