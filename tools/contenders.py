"""What benchmarks share: contenders in processes of their own, the machine's limit, and their turns.

A contender has its own allocator, threads and peak memory, as its users have them.
"""

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

import torch

from speechssl.training.machine import peak_memory


class Contender(Protocol):
    """What takes part in a benchmark."""

    def run(self) -> None:
        """Do once what is timed."""

    def check(self) -> float:
        """A figure in which contenders must agree, as a loss."""


class Ratio(NamedTuple):
    """A speed over a peer's, from turns that were neighbours."""

    median: float
    low: float
    high: float


class Process:
    """A contender at work.

    Args:
        make: makes the contender, in the new process; must be picklable.
        device: "cpu" or "cuda".
    """

    def __init__(self, make: Callable[[], Contender], device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, device), daemon=True)
        self._process.start()
        theirs.close()

    def _ask(self, what: str) -> float:
        self._connection.send(what)
        try:
            answer: float = self._connection.recv()
        except (EOFError, OSError):
            sys.exit("a contender has ended; its error stands above")
        return answer

    def seconds(self) -> float:
        """Time of one run."""
        return self._ask("run")

    def check(self) -> float:
        """The contender's figure."""
        return self._ask("check")

    def peak_bytes(self) -> int:
        """Most memory so far: of the device, or of the process on a CPU."""
        return int(self._ask("memory"))

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join()


def _serve(connection: Connection, make: Callable[[], Contender], device: str) -> None:
    contender = make()
    while True:
        try:
            what = connection.recv()
        except (EOFError, OSError):
            return
        match what:
            case "run":
                started = time.perf_counter()
                contender.run()
                if device == "cuda":
                    torch.cuda.synchronize()
                connection.send(time.perf_counter() - started)
            case "check":
                connection.send(contender.check())
            case "memory":
                connection.send(float(peak_memory(device)))


def take_turns(contenders: Mapping[str, Process], *, rounds: int, warmup: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round; in a round everyone runs once."""
    for contender in contenders.values():
        for _ in range(warmup):
            contender.seconds()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            seconds[name].append(contender.seconds())
    return seconds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """How many times as fast as theirs, round by round, from the seconds of both."""
    values = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return Ratio(statistics.median(values), values[0], values[-1])


def gemm_limit(device: str, dtype: torch.dtype, *, size: int = 0, rounds: int = 9) -> float:
    """Operations per second of a large matrix product on this machine, the best of several runs."""
    size = size or (8192 if device == "cuda" else 2048)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    best = 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        torch.mm(a, b, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def describe_machine(device: str) -> dict[str, Any]:
    """What the figures are of."""
    name = torch.cuda.get_device_name() if device == "cuda" else cpu_name()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def cpu_name() -> str:
    """The processor's own name, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return "CPU"
