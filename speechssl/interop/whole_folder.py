"""A new folder for a model, which is there when it is whole, or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors

from speechssl.errors import CheckpointError
from speechssl.files import partial_of, written_whole
from speechssl.interop.tensors import first_line
from speechssl.outputs import check_output_folder


def check_new(output: Path) -> None:
    """Raise CheckpointError if the name is taken, ConfigError if no folder of it can be made."""
    if os.path.lexists(output):
        raise CheckpointError(f"{output}: is there already; delete it or choose another --output")
    check_output_folder(partial_of(output))


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A folder that gets its name when all is well, and is deleted otherwise.

    Raises:
        CheckpointError: nothing can be written there.
    """
    try:
        with written_whole(output) as partial:
            partial.mkdir()
            yield partial
    except (OSError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise CheckpointError(f"{output}: cannot be written ({reason}); nothing is left of it") from error
