"""How the processes of a run find each other: a wait that has an end, and says for whom it is."""

import atexit
import os
import socket
import sys
import time
from datetime import timedelta

import torch
from lightning_fabric.plugins.environments import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from torch import distributed
from torch.distributed import TCPStore

from speechssl.errors import LaunchError, RankError
from speechssl.training.layout import Layout
from speechssl.training.ranks import Place

MEETING_SECONDS = 600.0
"""How long the first process that comes waits for the last one."""
_QUIET_SECONDS, _REPEAT_SECONDS, _POLL_SECONDS = 20.0, 60.0, 0.2
_ANSWER = timedelta(seconds=30)


class RunEnvironment(ClusterEnvironment):
    """What Fabric asks about the processes of a run, answered from the one place that knows."""

    def __init__(self, place: Place, layout: Layout) -> None:
        super().__init__()
        self.place = place
        self.layout = layout
        self._port = place.port

    @property
    def creates_processes_externally(self) -> bool:
        return self.place.world_size is not None

    @property
    def main_address(self) -> str:
        return self.place.address or "127.0.0.1"

    @property
    def main_port(self) -> int:
        if self._port is None:
            self._port = find_free_network_port()
        return self._port

    @staticmethod
    def detect() -> bool:
        return True

    def world_size(self) -> int:
        return self.layout.world_size

    def set_world_size(self, size: int) -> None:
        """It is known."""

    def global_rank(self) -> int:
        rank = self.place.rank
        return rank if self.creates_processes_externally else rank * self.layout.devices

    def set_global_rank(self, rank: int) -> None:
        """It is known."""

    def local_rank(self) -> int:
        return self.place.local_rank

    def node_rank(self) -> int:
        return self.place.node_rank

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Called before Fabric starts the other processes of this machine, which are told their places by variables."""
        if not self.creates_processes_externally:
            os.environ.pop("RANK", None)  # it was the machine's
            os.environ["LOCAL_WORLD_SIZE"] = str(num_devices)


def join(environment: ClusterEnvironment | None, device: torch.device) -> None:
    """Make the process group of a run, before Fabric would, which waits for half an hour without a word.

    Raises:
        LaunchError: the processes do not come together; the first one says so, and who cannot reach it.
        RankError: they do not, and another process says why.
    """
    assert isinstance(environment, RunEnvironment)
    if environment.place.launcher == "torchrun":
        return  # it has brought them together, and keeps the store in which they meet
    if device.type == "cuda":
        torch.cuda.set_device(device)
    address = environment.main_address, environment.main_port
    store = Meeting(environment.global_rank(), environment.world_size(), address).hold()
    distributed.init_process_group(
        distributed.get_default_backend_for_device(device),
        store=store,
        rank=environment.global_rank(),
        world_size=environment.world_size(),
        device_id=None if device.type == "cpu" else device,
    )
    # NCCL warns of groups that are left, and a thread of Gloo that comes back to Python when that is ending aborts it.
    atexit.register(distributed.destroy_process_group)


class Meeting:
    """Where the processes of a run come together: a store that the first one keeps, at the address."""

    def __init__(
        self, rank: int, world_size: int, address: tuple[str, int], *, seconds: float = MEETING_SECONDS
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self.address = address
        self.seconds = seconds
        self._began = time.monotonic()
        self._next_word = _QUIET_SECONDS

    @property
    def place(self) -> str:
        """Address, for messages."""
        return "{}:{}".format(*self.address)

    def hold(self) -> TCPStore:
        """Wait until all have come.

        Raises:
            LaunchError, RankError: as ``join``.
        """
        try:
            store = self.open() if self.rank == 0 else self.enter()
            self.check(store)
            self.wait_for_all(store)
        except distributed.DistError as error:
            raise self.broken(error) from error
        return store

    def open(self) -> TCPStore:
        """The store, in the first process."""
        _, port = self.address
        try:
            # By its own name, since that by which others know it may lead elsewhere, or nowhere yet.
            return TCPStore("localhost", port, is_master=True, wait_for_workers=False, timeout=_ANSWER)
        except distributed.DistNetworkError as error:
            if "EADDRINUSE" not in str(error):
                raise
            raise LaunchError(
                f"port {port} of this machine is taken, at which the other processes would look for the first one; "
                "give all of them another MASTER_PORT, or wait for the run that has it"
            ) from error

    def enter(self) -> TCPStore:
        """The store of the first process, as soon as that answers."""
        while True:
            try:
                socket.create_connection(self.address, timeout=5).close()
                break
            except OSError as error:
                self.wait(
                    f"the first of {self.world_size} processes at {self.place} (MASTER_ADDR, MASTER_PORT): "
                    f"{error.strerror or error}"
                )
        return TCPStore(*self.address, is_master=False, wait_for_workers=False, timeout=_ANSWER)

    def check(self, store: TCPStore) -> None:
        """Compare what this process knows with what others know; a difference is told to all."""
        expected = store.compare_set("processes", "", str(self.world_size)).decode()
        problem = ""
        if expected != str(self.world_size):
            problem = f"WORLD_SIZE is {expected} in one process of this run and {self.world_size} in another"
        elif store.add(f"process {self.rank}", 1) > 1:
            problem = f"two processes of this run have rank {self.rank}; each needs a RANK of its own"
        if problem:
            store.set("problem", problem)
            raise LaunchError(f"{problem} (docs/distributed.md)")

    def wait_for_all(self, store: TCPStore) -> None:
        """Wait for the last."""
        store.add("here", 1)
        while True:
            if store.check(["problem"]):
                raise RankError(store.get("problem").decode())
            here = store.add("here", 0)
            if here >= self.world_size:
                return
            verb = "is" if here == 1 else "are"
            self.wait(f"{self.world_size} processes at {self.place}; {here} {verb} here", quiet=self.rank > 0)

    def wait(self, awaited: str, *, quiet: bool = False) -> None:
        """Wait for a moment, and say for what when it lasts; the first speaks for those that have found it.

        Raises:
            LaunchError: it has lasted too long; RankError if another says so.
        """
        passed = time.monotonic() - self._began
        if passed > self.seconds:
            message = f"waited for {passed / 60:.0f} minutes for {awaited}; docs/distributed.md says how to start them"
            raise RankError(message) if quiet else LaunchError(message)
        if passed > self._next_word and not quiet:
            self._next_word += _REPEAT_SECONDS
            print(f"speechssl: waiting for {awaited}", file=sys.stderr, flush=True)
        time.sleep(_POLL_SECONDS)

    def broken(self, error: Exception) -> Exception:
        """What to raise when the store does not answer."""
        if self.rank == 0:
            return error
        reason = str(error).splitlines()[0]
        return RankError(f"the first process of this run, at {self.place}, has ended or is none: {reason}")


def is_broken_connection(error: BaseException) -> bool:
    """Whether a collective operation failed for want of a peer."""
    if isinstance(error, distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error) and "onnect" in str(error)
