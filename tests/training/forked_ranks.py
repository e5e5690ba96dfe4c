"""Runs of several ranks without the seconds that each process of a user's takes to import PyTorch."""

import multiprocessing
import os
import socket
import sys
from pathlib import Path

# A server imports once, computes nothing, and forks a process per rank.
RANKS = multiprocessing.get_context("forkserver")
RANKS.set_forkserver_preload(["speechssl.pretrain", "speechssl.finetune"])


def run_ranks(argv: list[str], num_ranks: int, errors: Path, *, timeout: float = 120) -> list[int | None]:
    """Run a speechssl command as torchrun would start it; exit statuses of the ranks, None for one that hangs.

    Args:
        argv: verb and options.
        num_ranks: processes, all on this machine.
        errors: file for what they print.
        timeout: seconds after which a rank is taken to hang.
    """
    port = free_port()
    processes = [
        RANKS.Process(target=run_rank, args=(argv, rank, num_ranks, port, errors), daemon=True)
        for rank in range(num_ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout)
    statuses = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return statuses


def run_rank(argv: list[str], rank: int, num_ranks: int, port: int, errors: Path) -> None:
    from speechssl.cli import main

    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_ranks, "LOCAL_WORLD_SIZE": num_ranks}
    if num_ranks > 1:
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
        os.environ.update({name: str(value) for name, value in variables.items()})
    with errors.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(main(argv))


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
