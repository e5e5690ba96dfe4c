"""What the machine offers: precision, device, allocator."""

import ctypes
import logging
import os
import sys
from typing import Literal

import torch
from torch import Tensor, nn

from speechssl.config import TrainingConfig
from speechssl.errors import ConfigError
from speechssl.training.memory import peak_process_memory

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
    """Turn "auto" into the device kind that is there: cuda, mps or cpu.

    Raises:
        ConfigError: one is asked for by name and not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator == "auto":
        return next(kind for kind, is_there in there.items() if is_there)
    if not there[accelerator]:
        reason = {
            "cuda": "PyTorch finds no GPU with a driver that works (`nvidia-smi` should show one)"
            if torch.version.cuda or torch.version.hip
            else "this PyTorch was built without CUDA",
            "mps": "PyTorch finds no Apple GPU",
        }[accelerator]
        raise ConfigError(f"accelerator is {accelerator}, but {reason}; give auto or cpu, or mend that")
    return accelerator


def resolve_device(device: torch.device | str) -> torch.device:
    """The device that is meant: a kind, "auto" for the one that is there, or any other as PyTorch names it.

    Raises:
        ConfigError: a kind is not there.
    """
    if isinstance(device, str) and device in ("auto", "cuda", "mps", "cpu"):
        device = resolve_accelerator(device)
    return torch.device(device)


def configure_cpu(config: TrainingConfig | None = None) -> None:
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


def release_freed_memory() -> None:
    """Give back pages that the allocator keeps though nothing lies in them; they are faulted in again when needed."""
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        logger.debug("no malloc_trim in this C library; freed pages stay")


def release_after_new_shapes(module: nn.Module) -> None:
    """Have a module release freed memory whenever its first input was of a new shape.

    What is kept for a new shape, such as prepared kernels, lies amid what was freed. Its pieces are then too small for
    the activations of the next module and of other shapes, which take up new memory on a CPU.
    """
    shapes: set[torch.Size] = set()

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        if inputs[0].shape not in shapes:
            shapes.add(inputs[0].shape)
            release_freed_memory()

    module.register_forward_hook(hook)


def peak_memory(device_type: str) -> int:
    """Most bytes that this process has had: on its device, or in memory on a CPU."""
    if device_type == "cuda":
        return torch.cuda.max_memory_reserved()
    return peak_process_memory()


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
