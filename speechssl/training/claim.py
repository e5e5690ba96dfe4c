"""One training run per folder at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechssl.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"


@contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Hold a run folder against other runs, on file systems that have locks; helpers of this run may share it.

    Raises:
        ConfigError: another run is training in it.
    """
    if fcntl is None or os.environ.get("LOCAL_RANK", "0") != "0":
        yield
        return
    run.mkdir(parents=True, exist_ok=True)
    with (run / LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{run}: another process is training in this folder; wait for it, stop it, or give another --output"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
