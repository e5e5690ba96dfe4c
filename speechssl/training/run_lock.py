"""One training run per folder at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechssl.errors import ConfigError
from speechssl.training.ranks import is_first_rank

LOCK_FILE = ".lock"


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold a run folder against other runs, on file systems that have locks; the first rank holds it for all.

    Raises:
        ConfigError: another run is training in it.
    """
    if not is_first_rank():
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
