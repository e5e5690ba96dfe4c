"""The processes of a run: what they share, how they begin, and how they end."""

import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy, Strategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from speechssl.config import TrainingConfig
from speechssl.errors import RankError, RunStopped
from speechssl.training.layout import is_loopback, resolve_layout, with_local_size
from speechssl.training.machine import resolve_accelerator, resolve_precision
from speechssl.training.ranks import OWN_LAUNCHER, Place, find_place
from speechssl.training.rendezvous import RunEnvironment, is_broken_connection, join
from speechssl.training.sharding import ShardedStrategy

FIRST_BUCKET_MEGABYTES = 1.0
"""Of gradients that ddp exchanges, as PyTorch has it."""
ENDING_SECONDS = 15
"""That a process may take to end when all it had to do is done."""


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
    place = with_local_size(config, place or find_place())
    accelerator = resolve_accelerator(config.accelerator)
    precision = resolve_precision(config.precision, accelerator)
    layout = resolve_layout(config, num_streams, place)
    strategy = build_strategy(config, layout.world_size, skips_parameters=skips_parameters)
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    if loopback and (layout.num_nodes == 1 or is_loopback(place.address)):
        # Without it gloo looks the machine's own name up, which fails on some laptops.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # Fabric ends all processes when one has died, and says so at this level only.
    logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    return Fabric(
        accelerator=accelerator,
        devices=layout.devices,
        num_nodes=layout.num_nodes,
        strategy=strategy,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        plugins=[RunEnvironment(place, layout)],
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

    def setup_environment(self) -> None:
        """Bring the processes together."""
        join(self.cluster_environment, self.root_device)
        super().setup_environment()

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
        fabric.launch()


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
        environment = getattr(fabric.strategy.launcher, "cluster_environment", None)
        if isinstance(environment, RunEnvironment) and environment.place.launcher == OWN_LAUNCHER:
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


def wait_for_ends(processes: Sequence[subprocess.Popen]) -> None:
    """Wait until processes that are about to end have done so; kill those that do not."""
    for process in processes:
        try:
            process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
