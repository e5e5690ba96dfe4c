"""What the machine offers: precision, device, allocator."""

import ctypes
import logging
import os
import resource
import sys
from typing import Literal

import torch
from torch import Tensor

from speechssl.config import TrainingConfig

logger = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h
Precision = Literal["auto", "fp32", "bf16"]


def resolve_precision(precision: Precision, device_type: str) -> Literal["fp32", "bf16"]:
    """Turn "auto" into bf16 where the hardware multiplies it natively, else fp32."""
    if precision != "auto":
        return precision
    if device_type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device_type == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bf16" if native else "fp32"
    return "fp32"


def resolve_accelerator(accelerator: str) -> str:
    """Turn "auto" into the device kind that is there: cuda, mps or cpu."""
    if accelerator != "auto":
        return accelerator
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def settle_cpu(config: TrainingConfig | None = None) -> None:
    """Keep freed memory and prepared kernels in the process, flush denormals; to be called before any computation.

    All three slow small models on CPUs if left alone (docs/decisions.md).

    Args:
        config: whose number of threads is taken, if it trains on a CPU.
    """
    if config is not None and config.num_threads and resolve_accelerator(config.accelerator) == "cpu":
        torch.set_num_threads(config.num_threads)
        os.environ["OMP_NUM_THREADS"] = str(config.num_threads)  # else Fabric shares all cores among its processes
    torch.set_flush_denormal(True)
    # oneDNN keeps 1,024 kernels by default, a few dozen for every shape of a batch: with more shapes it forgets and
    # prepares them anew in each update. It reads this variable when it prepares its first kernel.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")
    if sys.platform != "linux":
        return
    try:
        libc = ctypes.CDLL(None)
        # Without this every large activation is mapped afresh and its pages are faulted in one by one.
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 256 * 2**20)
    except (OSError, AttributeError):
        logger.debug("no mallopt in this C library; allocator left as it is")


def available_memory() -> float:
    """Bytes that new processes may take up without swapping, in a container within its limit; all there is where the
    system does not tell."""
    return min(free_memory(), container_limit())


def container_limit() -> float:
    """What the control group of this process allows."""
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:  # noqa: PTH123
            return float(file.read())  # "max" is no number
    except (OSError, ValueError):
        return float("inf")


def free_memory() -> float:
    """What the machine has free."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024.0 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def peak_memory(device_type: str) -> int:
    """Most bytes that this process has had: on its device, or in memory on a CPU."""
    if device_type == "cuda":
        return torch.cuda.max_memory_reserved()
    try:
        # getrusage would begin with what the parent had when it started this process.
        with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_memory(device_type: str) -> None:
    """Forget the device's peak; a CPU process keeps its own."""
    if device_type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device, without the host waiting for what the device is at."""
    if device.type == "cuda" and not x.is_cuda and not x.is_pinned():
        x = x.pin_memory()
    return x.to(device, non_blocking=True)
