"""Commands that are killed, again and again, at drawn moments."""

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from forked_ranks import start_ranks
from small_runs import SPEECHSSL, run_as_user


class Running(Protocol):
    """A command in a process of its own."""

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...
    def wait(self) -> object: ...


class Forked:
    """A command in a forked rank."""

    def __init__(self, argv: list[str], printed: Path) -> None:
        [self.process] = start_ranks(argv, 1, printed)

    def poll(self) -> int | None:
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()

    def wait(self) -> None:
        self.process.join()


def start_as_user(argv: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*SPEECHSSL, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def finish_as_user(argv: list[str]) -> None:
    done = run_as_user(argv)
    assert done.returncode == 0, done.stderr


def kill_often(
    start: Callable[[], Running],
    progress: Callable[[], object],
    num_kills: int,
    draws: random.Random,
    *,
    most_seconds: float = 0.1,
) -> None:
    """Start a command again and again, and kill it a drawn time after it has got further."""
    killed = 0
    for _ in range(num_kills):
        before = progress()
        process = start()
        deadline = time.monotonic() + 60
        while progress() == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(draws.uniform(0, most_seconds))
        killed += process.poll() is None
        process.kill()
        process.wait()
    assert killed > num_kills / 2, "it ended before it could be killed: give it more to do"
