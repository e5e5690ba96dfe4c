"""Runs of one or several ranks without the seconds that each process of a user's takes to import PyTorch."""

import contextlib
import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

# A server imports once, computes nothing, and forks a process per rank.
RANKS = multiprocessing.get_context("forkserver")
RANKS.set_forkserver_preload(["speechssl.verbs.pretrain", "speechssl.verbs.finetune"])
FIRST_PORT = 15_000

Variables = dict[str, str | int]
Launcher = Callable[[int, int], Variables]


class Ended(NamedTuple):
    """How a run ended."""

    statuses: list[int | None]
    """Exit statuses of the ranks; None for one that hung."""
    text: str
    """What all of them printed, on standard output and error."""


def as_torchrun(rank: int, num_ranks: int) -> Variables:
    """Variables that torchrun would set for processes of one machine."""
    return {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_ranks, "LOCAL_WORLD_SIZE": num_ranks,
        "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip


def as_srun(rank: int, num_ranks: int) -> Variables:
    """Variables that SLURM's srun would set for tasks on as many machines."""
    return {
        "SLURM_JOB_ID": 4711, "SLURM_STEP_ID": 0, "SLURM_STEP_NUM_TASKS": num_ranks, "SLURM_STEP_NUM_NODES": num_ranks,
        "SLURM_PROCID": rank, "SLURM_LOCALID": 0, "SLURM_NODEID": rank, "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip


def run_ranks(argv: list[str], num_ranks: int, *, timeout: float = 300, launcher: Launcher = as_torchrun) -> Ended:
    """Run a speechssl command to its end, as a launcher would start it if there are several ranks.

    Args:
        argv: verb and options.
        num_ranks: processes, all on this machine.
        timeout: seconds after which a rank is taken to hang.
        launcher: which.
    """
    with tempfile.NamedTemporaryFile() as printed:
        path = Path(printed.name)
        processes = start_ranks(argv, num_ranks, path, launcher)
        try:
            for process in processes:
                process.join(timeout)
            statuses = [process.exitcode for process in processes]
        finally:
            for process in processes:
                process.kill()
        return Ended(statuses, path.read_text())


def start_ranks(
    argv: list[str],
    num_ranks: int,
    printed: Path,
    launcher: Launcher = as_torchrun,
    *,
    target: Callable[[list[str], Variables, Path], None] | None = None,
) -> list[BaseProcess]:
    """Start a speechssl command; what its ranks print is added to a file. ``target`` does more than ``run_rank``."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    variables: list[Variables] = [
        {**launcher(rank, num_ranks), **meeting} if num_ranks > 1 else {} for rank in range(num_ranks)
    ]
    processes: list[BaseProcess] = [
        RANKS.Process(target=target or run_rank, args=(argv, own, printed), daemon=True) for own in variables
    ]
    for process in processes:
        process.start()
    return processes


def run_rank(argv: list[str], variables: Variables, printed: Path) -> None:
    from speechssl.cli import main

    # Ignored where a script has started the tests in the background; a person's terminal sends it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update({name: str(value) for name, value in variables.items()})
    # Fabric's launcher would start what stands here, which is pytest.
    sys.argv = ["speechssl", *argv]
    with printed.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(main(argv))


def free_port() -> int:
    """A port of this machine that nobody listens at, nor is given by the system before it is used.

    Systems give ports from 32768 on to whoever asks for any. These ones are what a SLURM job's number becomes.
    """
    for port in random.SystemRandom().sample(range(FIRST_PORT, FIRST_PORT + 10_000), 100):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")
