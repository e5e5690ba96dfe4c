"""The processes of a run: what they share, how they begin, and how they end."""

import atexit
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy, Strategy
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from speechssl.config import TrainingConfig
from speechssl.cores import num_cores
from speechssl.errors import ConfigError, LaunchError, RankError, RunStopped
from speechssl.training.machine import resolve_accelerator, resolve_precision
from speechssl.training.ranks import NAMES, Place, find_place
from speechssl.training.sharding import ShardedStrategy

FIRST_BUCKET_MEGABYTES = 1.0
"""Of gradients that ddp exchanges, as PyTorch has it."""
ENDING_SECONDS = 15
"""That a process may take to end when all it had to do is done."""


def count_devices(config: TrainingConfig, num_streams: int, place: Place | None = None) -> int:
    """Processes of each machine, one per device; "auto" is the largest number that divides the streams evenly.

    Args:
        config: number and kind of devices.
        num_streams: logical streams, which all processes share.
        place: of this process; what its variables say, if absent.

    Raises:
        ConfigError: other processes were started than the configuration says, there are fewer GPUs, or the streams
            cannot be shared.
    """
    place = place or find_place()
    kind = resolve_accelerator(config.accelerator)
    available = {"cuda": torch.cuda.device_count(), "cpu": num_cores()}.get(kind, 1)
    if config.devices != "auto":
        devices = config.devices
    elif place.launcher:
        devices = place.local_world_size
    else:
        devices = max((n for n in range(1, available + 1) if num_streams % n == 0), default=1)
    if place.launcher and place.local_world_size != devices:
        raise ConfigError(
            f"{place.local_world_size} processes were started on this machine, but training.devices is {devices}; give "
            f"--training.devices {place.local_world_size}, or auto"
        )
    if kind == "cuda" and devices > available:
        raise ConfigError(f"training.devices is {devices}, but {available} GPUs are available")
    if num_streams % (devices * place.num_nodes):
        raise ConfigError(
            f"num_streams is {num_streams}, but {devices * place.num_nodes} processes share the streams evenly; "
            "choose a number of streams that the processes divide"
        )
    return devices


def make_fabric(
    config: TrainingConfig, num_streams: int, *, skips_parameters: bool, place: Place | None = None
) -> Fabric:
    """Fabric for the configured devices, with the configured strategy if there are several.

    Args:
        config: devices, strategy and precision.
        num_streams: logical streams, which the processes share.
        skips_parameters: whether some parameters have no gradient in some updates, as with layer drop.
        place: of this process; what its variables say, if absent.
    """
    place = place or find_place()
    precision = resolve_precision(config.precision, resolve_accelerator(config.accelerator))
    devices = count_devices(config, num_streams, place)
    _tell_place(place)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # Fabric ends all processes when one has died, and says so at this level only.
    logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    started = place.launcher in ("torchrun", "srun")
    return Fabric(
        accelerator=resolve_accelerator(config.accelerator),
        devices=devices,
        num_nodes=place.num_nodes,
        strategy=build_strategy(config, devices * place.num_nodes, skips_parameters=skips_parameters),
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        plugins=[TorchElasticEnvironment() if started else LightningEnvironment()],
    )


def _tell_place(place: Place) -> None:
    """Have Fabric and PyTorch know what we do, by the variables that they read."""
    if place.launcher == "srun":
        numbers = (place.rank, place.world_size, place.local_rank, place.local_world_size)
        os.environ.update(zip(NAMES, map(str, numbers), strict=True))
        os.environ.update(MASTER_ADDR=place.address, MASTER_PORT=str(place.port))
    elif not place.launcher:
        for name in NAMES:  # of a run of one process
            os.environ.pop(name, None)
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    if loopback and place.num_nodes == 1:
        # Without it gloo looks the machine's own name up, which fails on some laptops.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)


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
        with warnings.catch_warnings():
            # Newer PyTorch speaks against the option, and for it where buffers are not to be sent at all.
            warnings.filterwarnings("ignore", message=".*broadcast_buffers")
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


def launch(fabric: Fabric) -> None:
    """Start the other processes that this one is to start, and meet all of the run.

    Raises:
        LaunchError: they do not come together.
    """
    with ranks_together(fabric):
        try:
            fabric.launch()
        except distributed.DistError as error:
            where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')} (MASTER_ADDR, MASTER_PORT)"
            raise LaunchError(
                f"the {fabric.world_size} processes of this run did not come together at {where}: "
                f"{str(error).splitlines()[0]}; docs/distributed.md says how to start them"
            ) from error
    if distributed.is_initialized():
        # NCCL warns of groups that are left, and a thread of Gloo that comes back to Python when that is ending
        # aborts it.
        atexit.register(distributed.destroy_process_group)


@contextmanager
def ranks_together(fabric: Fabric) -> Iterator[None]:
    """End all ranks of this machine when the first one fails, and name a connection that broke.

    Raises:
        RankError: the connection to another rank of the run broke.
    """
    started: Sequence[subprocess.Popen] = getattr(fabric.strategy.launcher, "procs", [])
    try:
        yield
    except RunStopped:
        # All have agreed to stop. Fabric kills the first rank of a machine when one that it has started ends with a
        # status other than 0, before it can give its own.
        if find_place().launcher == "speechssl" and not started:
            raise SystemExit(0) from None
        wait_for_ends(started)
        raise
    except BaseException as error:
        for process in started:
            process.kill()
        if fabric.world_size > 1 and is_broken_connection(error):
            first_line = str(error).splitlines()[0]
            raise RankError(
                "the connection to another process of this run broke: it has ended for a reason that stands above, or "
                f"the system stopped it, as for lack of memory ({first_line})"
            ) from error
        raise


def is_broken_connection(error: BaseException) -> bool:
    """Whether a collective operation failed for want of a peer."""
    if isinstance(error, distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error) and "onnect" in str(error)


def wait_for_ends(processes: Sequence[subprocess.Popen]) -> None:
    """Wait until processes that are about to end have done so; kill those that do not."""
    for process in processes:
        try:
            process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
