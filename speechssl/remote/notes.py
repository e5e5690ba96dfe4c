"""Notes of indexes that one process has fetched, left in the cache for those that were started together with it.

An index is small, but there are many, and each process of a run needs them all. What is taken from the cache has to be
as new as what the address would give, since a shard may be replaced between two runs. It is if the parent has fetched
it, as the first process of a run that starts the others, or if another one has since this process was started.
"""

import contextlib
import json
import math
import os
import time
import uuid
from pathlib import Path

from speechssl.files import PARTIAL

FRESH_SECONDS = 600.0
"""After which a note is of no use to anybody."""
NOTE_SUFFIX = ".note"


def leave_note(path: Path, key: str, began: float) -> None:
    """Say under which key the index of an address is in the cache, and when it was asked for (since the epoch)."""
    partial = path.with_name(f"{PARTIAL}{uuid.uuid4().hex}{NOTE_SUFFIX}")
    partial.write_text(json.dumps({"key": key, "process": os.getpid(), "began": began}))
    partial.replace(path)


def find_note(path: Path) -> str | None:
    """Key of the shard whose index another process has fetched in time; None if none has."""
    try:
        said = json.loads(path.read_text())
        key, process, began = str(said["key"]), int(said["process"]), float(said["began"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if process == os.getpid() or time.time() - began > FRESH_SECONDS:
        return None
    return key if process == os.getppid() or began >= _process_start() else None


def forget_old_notes(folder: Path) -> None:
    for path in folder.glob(f"*{NOTE_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if time.time() - path.stat().st_mtime > FRESH_SECONDS:
                path.unlink()


def _process_start() -> float:
    """Seconds since the epoch; infinite where the system does not tell."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return math.inf
