"""What goes wrong with the files of a checkpoint, in words."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors

from speechssl.errors import CheckpointError


@contextmanager
def write_errors_named(path: Path, *, action: str = "write") -> Iterator[None]:
    """Turn what goes wrong with a disk into CheckpointError."""
    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot {action} the checkpoint: {_cause(error, path)}") from error


def _cause(error: Exception, path: Path) -> str:
    """Why writing failed, for a person; safetensors hides the system's reason in its text."""
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    free = f"{shutil.disk_usage(existing).free / 2**20:.0f} MiB left in {existing}"
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return (
            f"the disk is full ({free}); earlier checkpoints are intact. "
            "Free some space, or lower --training.keep_checkpoints, and give the same command again"
        )
    return f"{getattr(error, 'strerror', None) or error} ({free})"


@contextmanager
def read_errors_named(path: Path) -> Iterator[None]:
    """Turn the many ways in which a damaged file shows into CheckpointError."""
    try:
        yield
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: damaged or incomplete checkpoint ({type(error).__name__}: {reason}); "
            "restore it from a copy, or delete the folder to fall back on an earlier checkpoint"
        ) from error
