"""Which process of a run this one is, and of how many: one answer, from what started it; imports no torch.

torchrun tells each process its place in variables, and others have taken these up; srun has variables of its own. The
lock, the log, messages and Fabric go by what ``find_place`` makes of them.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from speechssl.errors import LaunchError

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
"""Variables of torchrun, Azure ML, Ray and others."""
_REMEDY = (
    "Start the processes of a run with torchrun or srun, as docs/distributed.md shows; if this command is to train by "
    "itself, unset what is left over (`env -u NAME speechssl ...`)"
)
_MPI_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "JSM_NAMESPACE_SIZE")
# slurm.h numbers the steps of the batch script and of an interactive shell, which srun has not started, from here on.
_FIRST_SPECIAL_STEP = 0xFFFFFFF0
# Names with which people ask SLURM for a shell, as Lightning knows them.
_SHELLS = ("bash", "interactive")


@dataclass(frozen=True)
class Place:
    """Where this process stands among those of its run; every machine has as many."""

    launcher: Literal["", "torchrun", "srun", "speechssl"] = ""
    """What has started all processes; empty if this one starts those of its machine, should there be others."""
    rank: int = 0
    """Among all processes."""
    world_size: int = 1
    """All processes that have been started."""
    local_rank: int = 0
    """Among those of this machine."""
    local_world_size: int = 1
    """Processes of this machine."""
    address: str = ""
    """Where the process of rank 0 is found."""
    port: int = 0
    """At which it listens."""

    @property
    def num_nodes(self) -> int:
        """Machines."""
        return self.world_size // self.local_world_size


ALONE = Place()
"""Of a command that nothing has started with others."""


def find_place(environment: Mapping[str, str] | None = None) -> Place:
    """The place of this process, as the variables say.

    Args:
        environment: of this process, if absent.

    Raises:
        LaunchError: they contradict each other, or are of a launcher that is not understood.
    """
    found = os.environ if environment is None else environment
    variables = {name: value.strip() for name, value in found.items() if value.strip()}
    given = {name: variables[name] for name in (*NAMES, "NODE_RANK") if name in variables}
    if given.keys() >= set(NAMES):
        return _of_torchrun(variables)
    if given.keys() == {"WORLD_SIZE", "LOCAL_RANK", "NODE_RANK"}:
        return _of_our_own(variables)
    place = _of_srun(variables)
    if place is not None:
        return place
    is_single = all(value == ("1" if name.endswith("SIZE") else "0") for name, value in given.items())
    if given and not (is_single and ("WORLD_SIZE" in given or given.keys() == {"NODE_RANK"})):
        _numbers(variables, *given)
        there = " and ".join(f"{name} is {value}" for name, value in given.items())
        missing = [name for name in NAMES if name not in given]
        raise LaunchError(f"{there}, but not set: {', '.join(missing)}. {_REMEDY}")
    _refuse_others(variables)
    return ALONE


def is_first_rank() -> bool:
    """Whether this process speaks and acts for its run; one whose variables contradict each other speaks for itself."""
    try:
        return find_place().rank == 0
    except LaunchError:
        return True


def _numbers(variables: Mapping[str, str], *names: str) -> list[int]:
    """Values of variables, all of which must be there."""
    for name in names:
        if not variables.get(name, "").isdecimal():
            raise LaunchError(f"{name} is {variables.get(name)!r}, expected a whole number from 0 on. {_REMEDY}")
    return [int(variables[name]) for name in names]


def _of_torchrun(variables: Mapping[str, str]) -> Place:
    rank, world_size, local_rank, local_world_size = _numbers(variables, *NAMES)
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in variables]
    if missing and world_size > 1:
        raise LaunchError(
            f"WORLD_SIZE is {world_size}, but not set, so that the processes do not know where to meet: "
            f"{', '.join(missing)}. {_REMEDY}"
        )
    [port] = [0] if missing else _numbers(variables, "MASTER_PORT")
    address = variables.get("MASTER_ADDR", "")
    return _checked(Place("torchrun", rank, world_size, local_rank, local_world_size, address, port))


def _of_our_own(variables: Mapping[str, str]) -> Place:
    """The processes that the first one has started with Fabric, and that one itself once it has."""
    world_size, local_rank = _numbers(variables, "WORLD_SIZE", "LOCAL_RANK")
    return _checked(Place("speechssl", local_rank, world_size, local_rank, world_size))


def _of_srun(variables: Mapping[str, str]) -> Place | None:
    """A task of several that srun has started."""
    if not _is_started_by_srun(variables) or variables.get("SLURM_STEP_NUM_TASKS", "1") == "1":
        return None
    rank, tasks, local_rank, num_nodes, job, step = _numbers(
        variables,
        *("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_NUM_NODES"),
        *("SLURM_JOB_ID", "SLURM_STEP_ID"),
    )
    spread = variables.get("SLURM_STEP_TASKS_PER_NODE", "")
    if tasks % num_nodes or "," in spread:
        raise LaunchError(
            f"srun has started {tasks} tasks on {num_nodes} machines, {spread or 'not the same number on each'}; give "
            "each machine as many (--ntasks-per-node)"
        )
    for name, value in (("RANK", rank), ("WORLD_SIZE", tasks), ("LOCAL_RANK", local_rank)):
        if variables.get(name, str(value)) != str(value):
            raise LaunchError(f"{name} is {variables[name]}, but it is {value} by what srun says. {_REMEDY}")
    # All tasks of a step know this port, and few of two steps have the same.
    port = variables.get("MASTER_PORT", str(15_000 + (job + step) % 10_000))
    address = variables.get("MASTER_ADDR") or first_host(variables.get("SLURM_STEP_NODELIST", "127.0.0.1"))
    [port_number] = _numbers({"MASTER_PORT": port}, "MASTER_PORT")
    return _checked(Place("srun", rank, tasks, local_rank, tasks // num_nodes, address, port_number))


def _is_started_by_srun(variables: Mapping[str, str]) -> bool:
    return "SLURM_STEP_ID" in variables and _numbers(variables, "SLURM_STEP_ID")[0] < _FIRST_SPECIAL_STEP


def first_host(nodes: str) -> str:
    """The first of SLURM's list of machines: "node003" of "node[003-006,009],login1"."""
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", nodes).split(",")[0].split()[0]


def _refuse_others(variables: Mapping[str, str]) -> None:
    """Raise LaunchError in one of several processes of MPI, and in a script of SLURM that has yet to call srun."""
    for name in _MPI_SIZES:
        if variables.get(name, "1") != "1" and not _is_started_by_srun(variables):
            raise LaunchError(f"{name} is {variables[name]}: MPI has started this process. {_REMEDY}")
    in_script = "SLURM_JOB_ID" in variables and not _is_started_by_srun(variables)
    if not in_script or variables.get("SLURM_JOB_NAME") in _SHELLS:
        return
    sizes = ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES")
    several = [f"{name} is {variables[name]}" for name in sizes if variables.get(name, "1") != "1"]
    if several:
        raise LaunchError(
            f"{' and '.join(several)}, and this process is the job's script alone: put `srun` before the command, or "
            "ask for one task (--ntasks 1) and give --training.devices to have it start the others of one machine"
        )


def _checked(place: Place) -> Place:
    """The place, if its numbers fit together."""
    if (
        not place.local_rank < place.local_world_size
        or not place.rank < place.world_size
        or (place.world_size % place.local_world_size)
    ):
        raise LaunchError(
            f"by {place.launcher} this process has rank {place.rank} of {place.world_size}, and is number "
            f"{place.local_rank} of {place.local_world_size} on its machine; ranks are below these numbers, and each "
            f"machine must have as many processes. {_REMEDY}"
        )
    return place
