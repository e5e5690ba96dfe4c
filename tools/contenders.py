"""What benchmarks share: contenders in processes of their own, the machine's limit, and their turns.

A contender has its own allocator, threads and peak memory, as its users have them. Its process imports this module and
the script, so both import PyTorch only where it is used: memory of a contender that does without it is its own.
"""

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

from speechssl.training.memory import peak_process_memory


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
                finish(device)
                connection.send(time.perf_counter() - started)
            case "check":
                connection.send(contender.check())
            case "memory":
                connection.send(float(peak_memory(device)))


def finish(device: str) -> None:
    """Wait for what a device is at."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def peak_memory(device: str) -> int:
    """Most bytes so far: of the device, or of this process on a CPU."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_reserved()
    return peak_process_memory()


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


class Outcome(NamedTuple):
    """What a contender has shown."""

    seconds: float
    """Median over the rounds."""
    peak_bytes: int
    figure: float
    """In which contenders must agree."""
    ratio: Ratio
    """How many times as fast as it the first contender is."""


def compare(
    contenders: Mapping[str, Callable[[], Contender]],
    *,
    device: str,
    audio_seconds: float,
    rounds: int,
    warmup: int,
    figure: str,
) -> dict[str, Outcome]:
    """Let contenders take turns and print a line about each; the first is ours.

    Args:
        contenders: each makes one, in its new process; must be picklable.
        device: "cpu" or "cuda".
        audio_seconds: that one run hears.
        rounds: in each, everyone runs once.
        warmup: runs of each before them, after the one that gives its figure.
        figure: name of what contenders must agree in.
    """
    processes = {name: Process(make, device) for name, make in contenders.items()}
    figures = {name: process.check() for name, process in processes.items()}
    seconds = take_turns(processes, rounds=rounds, warmup=warmup)
    peaks = {name: process.peak_bytes() for name, process in processes.items()}
    for process in processes.values():
        process.close()
    ours = next(iter(seconds))
    outcomes = {
        name: Outcome(statistics.median(values), peaks[name], figures[name], ratio(seconds[ours], values))
        for name, values in seconds.items()
    }
    for name, found in outcomes.items():
        print(
            f"  {name:18s} {audio_seconds / found.seconds:8.1f} audio-s/s {1e3 * found.seconds:9.1f} ms "
            f"{found.peak_bytes / 2**30:6.2f} GiB   {figure} {found.figure:.6f}"
            + ("" if name == ours else "   ours is {:.2f} times as fast ({:.2f} to {:.2f})".format(*found.ratio))
        )
    return outcomes


def gemm_limit(device: str, precision: str, *, size: int = 0, rounds: int = 9) -> float:
    """Operations per second of a large matrix product on this machine, the best of several runs."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    size = size or (8192 if device == "cuda" else 2048)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    best = 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        torch.mm(a, b, out=out)
        finish(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def describe_machine(device: str) -> dict[str, Any]:
    """What the figures are of."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else cpu_name()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def cpu_name() -> str:
    """The processor's own name, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return "CPU"
