"""How many processes a run has: what the configuration asks for, held against what has been started."""

from dataclasses import replace
from typing import NamedTuple

import torch

from speechssl.config import TrainingConfig
from speechssl.cores import num_cores
from speechssl.errors import ConfigError, LaunchError
from speechssl.training.machine import resolve_accelerator
from speechssl.training.ranks import Place, find_place


class Layout(NamedTuple):
    """How many processes a run has."""

    devices: int
    """On each machine."""
    num_nodes: int
    """Machines."""

    @property
    def world_size(self) -> int:
        """In all."""
        return self.devices * self.num_nodes


def check_launch(config: TrainingConfig, num_streams: int) -> None:
    """Raise what resolve_layout does, before anything expensive is begun."""
    resolve_layout(config, num_streams, find_place())


def planned_layout(config: TrainingConfig, num_streams: int) -> Layout:
    """Processes of a run that is yet to be started, as it is configured.

    Raises:
        ConfigError: the streams cannot be shared.
    """
    return resolve_layout(config, num_streams, Place(num_nodes=1 if config.num_nodes == "auto" else config.num_nodes))


def resolve_layout(config: TrainingConfig, num_streams: int, place: Place) -> Layout:
    """Processes of a run; "auto" becomes the largest number with a device each and equal shares of the streams.

    Raises:
        ConfigError: other processes were started than the configuration says, here or on other machines, or nobody
            starts those of other machines, there are fewer GPUs, or the streams cannot be shared.
    """
    place = with_local_size(config, place)
    in_batch_script = place.world_size is None and place.job_tasks > 1
    if in_batch_script and place.job_nodes > 1:
        raise ConfigError(f"{describe_job(place)}: put `srun` before the command, as docs/distributed.md shows")
    num_nodes = resolve_nodes(config, place)
    if config.devices == "auto":
        available = {"cuda": torch.cuda.device_count(), "cpu": num_cores()}
        most = available.get(resolve_accelerator(config.accelerator), 1)
        fitting = [n for n in range(1, most + 1) if num_streams % (n * num_nodes) == 0]
        devices = place.local_world_size or max(fitting, default=1)
    else:
        devices = config.devices
        if resolve_accelerator(config.accelerator) == "cuda" and devices > torch.cuda.device_count():
            raise ConfigError(f"training.devices is {devices}, but {torch.cuda.device_count()} GPUs are available")
    if place.local_world_size not in (None, devices):
        raise ConfigError(
            f"{place.local_world_size} processes were started on this machine, but training.devices is {devices}; give "
            f"--training.devices {place.local_world_size}, or auto"
        )
    if in_batch_script and devices != place.job_tasks:
        raise ConfigError(
            f"{describe_job(place)}, and training.devices is {devices}: put `srun` before the command, or give "
            f"--training.devices {place.job_tasks} to have this one start them"
        )
    layout = Layout(devices, num_nodes)
    if num_streams % layout.world_size:
        raise ConfigError(
            f"num_streams is {num_streams}, but {layout.world_size} processes share the streams evenly; "
            "choose a number of streams that the processes divide"
        )
    return layout


def with_local_size(config: TrainingConfig, place: Place) -> Place:
    """A place with the number of processes of its machine, where the launcher tells a process its ranks alone.

    Raises:
        LaunchError: it does not follow from the configuration either.
    """
    if place.world_size is None or place.local_world_size is not None:
        return place
    size = place.world_size if is_loopback(place.address) else config.devices
    if size == "auto" or place.world_size % size or place.local_rank >= size:
        raise LaunchError(
            f"LOCAL_RANK is {place.local_rank} and WORLD_SIZE {place.world_size}, but LOCAL_WORLD_SIZE is not set and "
            f"training.devices is {config.devices}; give the number of processes on each machine as either"
        )
    num_nodes = place.world_size // size
    return replace(place, local_world_size=size, num_nodes=num_nodes, node_rank=place.rank // size)


def resolve_nodes(config: TrainingConfig, place: Place) -> int:
    """Machines of a run."""
    if place.num_nodes is not None:
        if config.num_nodes not in ("auto", place.num_nodes):
            raise ConfigError(
                f"processes were started on {place.num_nodes} machine(s), but training.num_nodes is "
                f"{config.num_nodes}; give --training.num_nodes {place.num_nodes}, or auto"
            )
        return place.num_nodes
    num_nodes = 1 if config.num_nodes == "auto" else config.num_nodes
    if place.node_rank >= num_nodes:
        raise LaunchError(
            f"NODE_RANK is {place.node_rank}, but training.num_nodes is {config.num_nodes}; unset the one, or give "
            "the number of machines as the other"
        )
    if num_nodes > 1 and place.address is None:
        raise ConfigError(
            f"training.num_nodes is {num_nodes}, but nothing has started processes on other machines: start this "
            "command on each with torchrun or srun, or with NODE_RANK, MASTER_ADDR and MASTER_PORT set "
            "(docs/distributed.md)"
        )
    return num_nodes


def describe_job(place: Place) -> str:
    """What is amiss with a command that srun has not started."""
    where = "this machine" if place.job_nodes == 1 else f"{place.job_nodes} machines"
    return f"the SLURM job has {place.job_tasks} tasks on {where}, of which this process is the script alone"


def is_loopback(address: str | None) -> bool:
    """Whether an address is that of this machine alone."""
    return address is not None and (address in ("localhost", "::1") or address.startswith("127."))
