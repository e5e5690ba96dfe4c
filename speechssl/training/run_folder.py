"""The folder of a training run: tried before anything is read, and held against other runs."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechssl.errors import ConfigError
from speechssl.outputs import check_output_folder, has_json, has_json_lines
from speechssl.training.checkpoints import BEST_FILE, parse_best
from speechssl.training.ranks import is_first_rank
from speechssl.training.run_log import LOG_FILE, SUMMARY_FILE

LOCK_FILE = ".lock"


def check_run_folder(run: Path) -> None:
    """Try whether a run can be written in a folder, which may hold other things; the first rank does it for all.

    Raises:
        ConfigError: it cannot, or would replace a file of another origin.
    """
    if not is_first_rank():
        return
    check_output_folder(
        run,
        ours={
            LOG_FILE: has_json_lines("kind", "update", "wall_seconds"),
            SUMMARY_FILE: has_json("updates", "wall_seconds"),
            BEST_FILE: lambda path: parse_best(path) is not None,
        },
    )
    for name in ("checkpoints", "tensorboard"):
        check_output_folder(run / name)


@contextmanager
def run_lock(run: Path, *, doing: str = "training in") -> Iterator[None]:
    """Hold a run folder against other runs, on file systems that have locks; the first rank holds it for all.

    Args:
        run: the folder.
        doing: what is done in it, for the message.

    Raises:
        ConfigError: another process does it.
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
                f"{run}: another process is {doing} this folder; wait for it, stop it, or give another --output"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
