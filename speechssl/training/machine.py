"""What the machine offers: precision, device, allocator."""

import ctypes
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from lightning_fabric import Fabric

from speechssl.config import TrainingConfig
from speechssl.errors import PeerError

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


def resolve_devices(config: TrainingConfig, num_streams: int) -> int:
    """Turn "auto" into the largest number of processes that has a device each and shares the streams evenly."""
    if config.devices != "auto":
        return config.devices
    if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun has started them
        return int(os.environ["LOCAL_WORLD_SIZE"])
    there = {"cuda": torch.cuda.device_count(), "cpu": num_cores()}.get(resolve_accelerator(config.accelerator), 1)
    return max((n for n in range(1, there + 1) if num_streams % (n * config.num_nodes) == 0), default=1)


def num_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_fabric(config: TrainingConfig, num_streams: int, *, skips_parameters: bool) -> Fabric:
    """Fabric for the configured devices; several processes use distributed data parallel.

    Args:
        config: devices and precision.
        num_streams: logical streams, which the processes share.
        skips_parameters: whether some parameters have no gradient in some updates, as with layer drop.
    """
    accelerator = resolve_accelerator(config.accelerator)
    precision = resolve_precision(config.precision, accelerator)
    devices = resolve_devices(config, num_streams)
    strategy = "auto"
    if devices * config.num_nodes > 1:
        strategy = "ddp_find_unused_parameters_true" if skips_parameters else "ddp"
    if config.num_nodes == 1:
        # Without it gloo looks the machine's own name up, which fails on some laptops.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    return Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=config.num_nodes,
        strategy=strategy,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
    )


@contextmanager
def peers_watched(fabric: Fabric) -> Iterator[None]:
    """Raise PeerError where the connection to another process of the run breaks."""
    try:
        yield
    except RuntimeError as error:
        broken = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
        if fabric.world_size == 1 or not broken:
            raise
        raise PeerError(
            "another process of this run has ended: the reason stands above, or the system stopped it (as for lack of "
            "memory); the same command goes on from the last checkpoint"
        ) from error


def settle_cpu(threads: int = 0) -> None:
    """Keep freed memory and prepared kernels in the process, flush denormals; to be called before any computation.

    All three slow small models on CPUs if left alone (docs/decisions.md).

    Args:
        threads: of this process; 0 leaves their number as it is.
    """
    if threads:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # else Fabric shares all cores among its processes
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
