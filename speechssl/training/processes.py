"""The processes of a run: how many there are, how they find each other, and how they end."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy, Strategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from speechssl.config import TrainingConfig
from speechssl.errors import ConfigError, RankError
from speechssl.training.machine import resolve_accelerator, resolve_precision
from speechssl.training.sharding import ShardedStrategy

FIRST_BUCKET_MEGABYTES = 1.0
"""Of gradients that ddp exchanges, as PyTorch has it."""


def training_problems(config: TrainingConfig) -> list[str]:
    """What is wrong with the numbers of devices and threads."""
    problems = [
        f"training.{name} is {value}, expected at least {least}"
        for name, value, least in (
            ("devices", config.devices, 1),
            ("num_nodes", config.num_nodes, 1),
            ("num_threads", config.num_threads, 0),
        )
        if value != "auto" and value < least
    ]
    if resolve_accelerator(config.accelerator) == "cuda":
        available = torch.cuda.device_count()
        if config.devices != "auto" and config.devices > available:
            problems.append(f"training.devices is {config.devices}, but {available} GPUs are available")
    return problems


def resolve_devices(config: TrainingConfig, num_streams: int) -> int:
    """Processes on this machine; "auto" becomes the largest number with a device each and equal shares of the streams.

    Raises:
        ConfigError: torchrun or SLURM has started another number, here or of machines, or the streams cannot be shared.
    """
    num_nodes = nodes_started()
    if num_nodes not in (None, config.num_nodes):
        raise ConfigError(
            f"processes were started on {num_nodes} machine(s), but training.num_nodes is {config.num_nodes}; give "
            f"--training.num_nodes {num_nodes}"
        )
    started = processes_started(config.num_nodes)
    if config.devices == "auto":
        available = {"cuda": torch.cuda.device_count(), "cpu": num_cores()}
        most = available.get(resolve_accelerator(config.accelerator), 1)
        fitting = [n for n in range(1, most + 1) if num_streams % (n * config.num_nodes) == 0]
        devices = started or max(fitting, default=1)
    else:
        devices = config.devices
    if started not in (None, devices):
        raise ConfigError(
            f"{started} processes were started on this machine, but training.devices is {devices}; give "
            f"--training.devices {started}, or auto"
        )
    world_size = devices * config.num_nodes
    if num_streams % world_size:
        raise ConfigError(
            f"num_streams is {num_streams}, but {world_size} processes share the streams evenly; "
            "choose a number of streams that the processes divide"
        )
    return devices


def processes_started(num_nodes: int) -> int | None:
    """Processes that torchrun or SLURM has started on this machine; None if starting them is left to this one."""
    if TorchElasticEnvironment.detect():
        return int(os.environ["LOCAL_WORLD_SIZE"])
    if SLURMEnvironment.detect():
        return max(1, int(os.environ["SLURM_NTASKS"]) // num_nodes)
    return None


def nodes_started() -> int | None:
    """Machines on which torchrun or SLURM has started processes; None if they are left to this process or not told."""
    if TorchElasticEnvironment.detect() and "WORLD_SIZE" in os.environ:
        return int(os.environ["WORLD_SIZE"]) // int(os.environ["LOCAL_WORLD_SIZE"])
    if SLURMEnvironment.detect() and "SLURM_NNODES" in os.environ:
        return int(os.environ["SLURM_NNODES"])
    return None


def num_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_fabric(config: TrainingConfig, num_streams: int, *, skips_parameters: bool) -> Fabric:
    """Fabric for the configured devices, with the configured strategy if there are several.

    Args:
        config: devices, strategy and precision.
        num_streams: logical streams, which the processes share.
        skips_parameters: whether some parameters have no gradient in some updates, as with layer drop.
    """
    accelerator = resolve_accelerator(config.accelerator)
    precision = resolve_precision(config.precision, accelerator)
    devices = resolve_devices(config, num_streams)
    strategy = build_strategy(config, devices * config.num_nodes, skips_parameters=skips_parameters)
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    if config.num_nodes == 1 and loopback:
        # Without it gloo looks the machine's own name up, which fails on some laptops.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # Fabric ends all processes when one has died, and says so at this level only.
    logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    return Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=config.num_nodes,
        strategy=strategy,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
    )


def build_strategy(config: TrainingConfig, num_processes: int, *, skips_parameters: bool) -> Strategy | Literal["auto"]:
    """How processes share a model; one process has it to itself."""
    if num_processes == 1:
        return "auto"
    match config.strategy:
        case "auto" | "ddp":
            size = config.gradient_bucket_megabytes
            return ReplicatedStrategy(
                in_bf16=config.reduce_in_bf16,
                find_unused_parameters=skips_parameters,
                # No buffer changes in training, so none has to be sent round.
                broadcast_buffers=False,
                # With one small bucket, as DDP does where it is given no size. With layer drop that is the last one to
                # be sent, which nothing hides.
                bucket_cap_mb_list=[min(FIRST_BUCKET_MEGABYTES, size), size],
            )
        case "fsdp":
            return ShardedStrategy(num_processes, in_bf16=config.reduce_in_bf16)


class ReplicatedStrategy(DDPStrategy):
    """Fabric's strategy for DDP, in which gradients may be exchanged in bf16.

    Args:
        in_bf16: halves the traffic; sums over micro-batches stay as they are.
        options: of DistributedDataParallel.
    """

    def __init__(self, *, in_bf16: bool, **options: Any) -> None:
        super().__init__(**options)
        self.in_bf16 = in_bf16

    def setup_module(self, module: nn.Module) -> DistributedDataParallel:
        """Give every process the weights of the first."""
        wrapped = super().setup_module(module)
        if self.in_bf16:
            # Imported here because it takes a quarter of a second, which other runs need not spend.
            from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

            wrapped.register_comm_hook(None, bf16_compress_hook)
        return wrapped


def announce(fabric: Fabric, text: str) -> None:
    """Print on the first rank of all; Fabric's own ``print`` does so on the first of every machine.

    A run goes on if nobody reads what it prints any more.
    """
    if fabric.is_global_zero:
        with suppress(BrokenPipeError):
            print(text)


@contextmanager
def ranks_together(fabric: Fabric) -> Iterator[None]:
    """End all ranks of this machine when the first one fails, and name a connection that broke.

    Raises:
        RankError: the connection to another rank of the run broke.
    """
    try:
        yield
    except BaseException as error:
        for process in getattr(fabric.strategy.launcher, "procs", []):
            process.terminate()
        if fabric.world_size > 1 and is_broken_connection(error):
            first_line = str(error).splitlines()[0]
            raise RankError(
                "the connection to another process of this run broke: it has ended for a reason that stands above, or "
                f"the system stopped it, as for lack of memory ({first_line})"
            ) from error
        raise


def is_broken_connection(error: BaseException) -> bool:
    """Whether a collective operation failed for want of a peer."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error) and "onnect" in str(error)
