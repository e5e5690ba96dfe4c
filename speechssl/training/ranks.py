"""Which process of a run this one is, and of how many: one answer, from what started it; imports no torch.

Whatever starts processes tells each its place in variables of its own. ``find_place`` alone reads them; the lock, the
log, messages and the processes' meeting go by its answer.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from speechssl.errors import LaunchError

OWN_LAUNCHER = "speechssl"
"""The first process of a machine, of those that it has started with Fabric."""
_REMEDY = (
    "If this command is to train by itself, unset what is left over (`env -u NAME speechssl ...`); docs/distributed.md "
    "says how several processes are started"
)
# slurm.h numbers the steps of the batch script and of an interactive shell, which srun has not started, from here on.
_FIRST_SPECIAL_STEP = 0xFFFFFFF0
# Names with which people ask SLURM for a shell, as Lightning knows them.
_SHELLS = ("bash", "interactive")


@dataclass(frozen=True)
class Place:
    """Where this process stands among those of its run."""

    launcher: str = ""
    """What has started all processes; empty if those of a machine beyond its first are left to that one."""
    rank: int = 0
    """Among all processes; where the others of a machine are yet to be started, that of the machine."""
    world_size: int | None = None
    """All processes; None where they are yet to be started."""
    local_rank: int = 0
    """Among those of this machine."""
    local_world_size: int | None = None
    """Processes of this machine, as of every other; None if they are yet to be started, or nothing says."""
    node_rank: int = 0
    """Of this machine."""
    num_nodes: int | None = None
    """Machines; None if nothing says."""
    address: str | None = None
    """Where the first process is found; None if all are on this machine."""
    port: int | None = None
    """At which it listens; None: one that is free."""
    job_tasks: int = 1
    """Tasks of the SLURM job in whose script this process runs, of which srun would start each."""
    job_nodes: int = 1
    """Machines of that job."""


ALONE = Place()
"""Of whoever asks nobody: a command that trains nothing."""


class _Names(NamedTuple):
    """Variables in which a launcher tells a process its place."""

    launcher: str
    rank: str
    world_size: str
    local_rank: str
    local_world_size: str


_OMPI, _JSM = "OMPI_COMM_WORLD_", "JSM_NAMESPACE_"
_MPI = (
    _Names("mpirun", f"{_OMPI}RANK", f"{_OMPI}SIZE", f"{_OMPI}LOCAL_RANK", f"{_OMPI}LOCAL_SIZE"),
    _Names("mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    _Names("jsrun", f"{_JSM}RANK", f"{_JSM}SIZE", f"{_JSM}LOCAL_RANK", f"{_JSM}LOCAL_SIZE"),
)


class _Variables:
    """Variables of the environment; an empty one counts as absent."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str) -> str | None:
        return self._environment.get(name, "").strip() or None

    def number(self, name: str) -> int | None:
        text = self.text(name)
        if text is not None and not text.isdecimal():
            raise LaunchError(f"{name} is {text!r}, expected a whole number from 0 on. {_REMEDY}")
        return None if text is None else int(text)

    def numbers(self, launcher: str, *names: str) -> list[int]:
        """Several, all of which must be there."""
        found = {name: self.number(name) for name in names}
        missing = [name for name, value in found.items() if value is None]
        if missing:
            there = ", ".join(f"{name} is {value}" for name, value in found.items() if value is not None)
            raise LaunchError(
                f"{there or f'{launcher} has started this process'}, but {' and '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not set. {_REMEDY}"
            )
        return [value for value in found.values() if value is not None]

    def meeting(self) -> tuple[str | None, int | None]:
        """Address and port of the first process."""
        port = self.number("MASTER_PORT")
        if port is not None and not 0 < port < 2**16:
            raise LaunchError(f"MASTER_PORT is {port}, expected a port, from 1 to 65535. {_REMEDY}")
        return self.text("MASTER_ADDR"), port


def find_place(environment: Mapping[str, str] | None = None) -> Place:
    """The place of this process, as the variables say.

    Args:
        environment: of this process, if absent.

    Raises:
        LaunchError: they contradict each other.
    """
    variables = _Variables(os.environ if environment is None else environment)
    given = {name for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK") if variables.text(name)}
    if variables.text("TORCHELASTIC_RUN_ID"):
        return _checked(_of_torchrun(variables))
    if len(given) == 3:
        return _checked(_of_each_process(variables))
    if given == {"WORLD_SIZE", "LOCAL_RANK"} and variables.text("LOCAL_WORLD_SIZE") and variables.text("NODE_RANK"):
        return _checked(_of_our_own(variables))
    place = _of_srun(variables) or _of_mpi(variables)
    if place is not None:
        _check_agreement(place, variables)
        return _checked(place)
    if given == {"RANK", "WORLD_SIZE"}:
        return _checked(_of_each_machine(variables))
    if given and (given != {"WORLD_SIZE"} or variables.number("WORLD_SIZE") != 1):
        variables.numbers("", *sorted(given | {"RANK", "WORLD_SIZE"}))
    return _alone(variables)


def is_first_rank() -> bool:
    """Whether this process speaks and acts for its run; one whose variables contradict each other speaks for itself."""
    try:
        return find_place().rank == 0
    except LaunchError:
        return True


def _of_torchrun(variables: _Variables) -> Place:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, world_size, local_rank, local_world_size = variables.numbers("torchrun", *names)
    address, port = variables.meeting()
    return Place("torchrun", rank, world_size, local_rank, local_world_size, address=address, port=port)


def _of_each_process(variables: _Variables) -> Place:
    """Azure ML, Ray, DeepSpeed, and scripts by hand: each process is told both of its ranks."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    rank, world_size, local_rank = variables.numbers("", *names)
    address, port = _meeting_of_several(variables, world_size)
    local_world_size = variables.number("LOCAL_WORLD_SIZE")
    return Place(
        "RANK, WORLD_SIZE and LOCAL_RANK", rank, world_size, local_rank, local_world_size, address=address, port=port
    )


def _of_our_own(variables: _Variables) -> Place:
    """The processes that the first one of a machine has started, and that one itself once it has."""
    names = ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK")
    world_size, local_rank, local_world_size, node_rank = variables.numbers(OWN_LAUNCHER, *names)
    address, port = variables.meeting()
    rank = node_rank * local_world_size + local_rank
    return Place(OWN_LAUNCHER, rank, world_size, local_rank, local_world_size, address=address, port=port)


def _of_each_machine(variables: _Variables) -> Place:
    """Kubeflow, Vertex AI, Azure ML: one process per machine or pod, which starts what else its devices need."""
    rank, num_nodes = variables.numbers("", "RANK", "WORLD_SIZE")
    if rank >= num_nodes:
        raise LaunchError(f"RANK is {rank} and WORLD_SIZE {num_nodes}, expected a RANK below that. {_REMEDY}")
    address, port = _meeting_of_several(variables, num_nodes)
    return Place(rank=rank, node_rank=rank, num_nodes=num_nodes, address=address, port=port)


def _of_srun(variables: _Variables) -> Place | None:
    """A task of several that srun has started."""
    tasks = variables.number("SLURM_STEP_NUM_TASKS") or variables.number("SLURM_NTASKS") or 1
    if tasks == 1 or not _is_started_by_srun(variables):
        return None
    rank, local_rank, node_rank = variables.numbers("srun", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
    num_nodes = variables.number("SLURM_STEP_NUM_NODES") or variables.number("SLURM_NNODES") or 1
    spread = variables.text("SLURM_STEP_TASKS_PER_NODE") or ""
    if tasks % num_nodes or "," in spread:
        raise LaunchError(
            f"srun has started {tasks} tasks on {num_nodes} machines, {spread or 'not the same number on each'}; give "
            "each machine as many (--ntasks-per-node)"
        )
    address, port = variables.meeting()
    nodes = variables.text("SLURM_STEP_NODELIST") or variables.text("SLURM_NODELIST") or "127.0.0.1"
    job, step = variables.number("SLURM_JOB_ID") or 0, variables.number("SLURM_STEP_ID") or 0
    return Place(
        "srun", rank, tasks, local_rank, tasks // num_nodes, node_rank, num_nodes,
        address=address or first_host(nodes),
        # All tasks of a step know it, and few of two steps have the same.
        port=port or 15_000 + (job + step) % 10_000,
    )  # fmt: skip


def _is_started_by_srun(variables: _Variables) -> bool:
    step = variables.number("SLURM_STEP_ID")
    if step is not None:
        return step < _FIRST_SPECIAL_STEP
    return (variables.number("SLURM_PROCID") or 0) > 0


def first_host(nodes: str) -> str:
    """The first of SLURM's list of machines: "node003" of "node[003-006,009],login1"."""
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", nodes).split(",")[0].split()[0]


def _of_mpi(variables: _Variables) -> Place | None:
    """A process of several that an MPI launcher has started; of MPI itself nothing is used."""
    for names in _MPI:
        if (variables.number(names.world_size) or 1) == 1 or variables.text(names.rank) is None:
            continue
        rank, world_size, local_rank, local_world_size = variables.numbers(names.launcher, *names[1:])
        address, port = variables.meeting()
        if local_world_size == world_size:
            address, port = address or "127.0.0.1", port or 29_500
        elif address is None or port is None:
            raise LaunchError(
                f"{names.launcher} has started processes on several machines, but MASTER_ADDR or MASTER_PORT is not "
                "set: they do not know where to meet; give all of them the address of the one with rank 0 and a free "
                "port of it"
            )
        return Place(names.launcher, rank, world_size, local_rank, local_world_size, address=address, port=port)
    return None


def _alone(variables: _Variables) -> Place:
    """A process that starts the others of its machine itself, if there are to be any."""
    node_rank = variables.number("NODE_RANK") or 0
    address, port = variables.meeting()
    if address is not None and port is not None and variables.text("NODE_RANK"):
        return Place(rank=node_rank, node_rank=node_rank, address=address, port=port)
    if node_rank > 0:
        raise LaunchError(f"NODE_RANK is {node_rank}, but MASTER_ADDR or MASTER_PORT is not set. {_REMEDY}")
    in_job = variables.text("SLURM_JOB_ID") is not None and not _is_started_by_srun(variables)
    if not in_job or variables.text("SLURM_JOB_NAME") in _SHELLS:
        return ALONE
    nodes = variables.number("SLURM_NNODES") or 1
    tasks = variables.number("SLURM_NTASKS") or (variables.number("SLURM_NTASKS_PER_NODE") or 1) * nodes
    return Place(job_tasks=tasks, job_nodes=nodes)


def _meeting_of_several(variables: _Variables, number: int) -> tuple[str | None, int | None]:
    address, port = variables.meeting()
    if number > 1 and (address is None or port is None):
        missing = "MASTER_PORT is" if address else "MASTER_ADDR is" if port else "MASTER_ADDR and MASTER_PORT are"
        raise LaunchError(
            f"WORLD_SIZE is {number}, but {missing} not set: the processes do not know where to meet; give all of them "
            f"the address of the one with RANK 0 and a free port of it. {_REMEDY}"
        )
    return address, port


def _check_agreement(place: Place, variables: _Variables) -> None:
    for name, value in (("RANK", place.rank), ("WORLD_SIZE", place.world_size), ("LOCAL_RANK", place.local_rank)):
        found = variables.number(name)
        if found is not None and found != value:
            raise LaunchError(f"{name} is {found}, but it is {value} by what {place.launcher} says. {_REMEDY}")


def _checked(place: Place) -> Place:
    """The place, if its numbers fit together; with the machines that follow from them."""
    world_size, local_world_size = place.world_size, place.local_world_size
    if world_size is None:
        return place
    if place.rank >= world_size:
        raise LaunchError(
            f"by {place.launcher} this process has rank {place.rank} of {world_size}, expected one below. {_REMEDY}"
        )
    if local_world_size is None:
        return place
    if place.local_rank >= local_world_size or world_size % local_world_size:
        raise LaunchError(
            f"by {place.launcher} this process is number {place.local_rank} of {local_world_size} on this machine and "
            f"of {world_size} in all; each machine must have as many. {_REMEDY}"
        )
    node_rank = place.node_rank if place.num_nodes else place.rank // local_world_size
    return replace(place, node_rank=node_rank, num_nodes=world_size // local_world_size)
