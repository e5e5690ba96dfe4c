"""Memory of the machine and of this process, as the system tells; needs no PyTorch."""

import os
import resource
import sys


def available_memory() -> float:
    """Bytes that new processes may take up without swapping, in a container within its limit; all there is where the
    system does not tell."""
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:  # noqa: PTH123
            return min(free_memory(), float(file.read()))  # "max" is no number
    except (OSError, ValueError):
        return free_memory()


def free_memory() -> float:
    """What the machine has free."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024.0 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def peak_process_memory() -> int:
    """Most bytes that this process has had in memory so far, mapped files included."""
    try:
        # getrusage would begin with what the parent had when it started this process.
        with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
