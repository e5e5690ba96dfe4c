"""Whether the installed packages go together: torch and torchaudio may not, and no resolver knows.

Tried on Linux, with the default builds:

- torchaudio 2.11.0 loads with torch 2.11 to 2.14; torch 2.15 is built for another CUDA, and both refuse it.
- torchaudio 2.11.1 loads with torch 2.13 and newer; older ones lack a symbol.

This module imports neither, so that what is wrong is said before anything is loaded.
"""

import importlib
import re
import sys
from importlib import metadata
from types import ModuleType

from speechssl.errors import InstallationError


def versions_that_clash() -> str | None:
    """What is wrong with the installed torch and torchaudio, and the remedy; None if nothing is known to be."""
    torch, torchaudio = _version("torch"), _version("torchaudio")
    if not (torch and torchaudio):
        return None
    cuda = sys.platform == "linux" and not torch.endswith("+cpu")
    if _numbers(torchaudio) > (2, 11, 0) and _numbers(torch) < (2, 13):
        fitting = "torchaudio==2.11.0"
    elif _numbers(torchaudio) < (2, 11, 1) and _numbers(torch) >= (2, 15) and cuda:
        fitting = "'torchaudio>=2.11.1'"
    else:
        return None
    return f"torchaudio {torchaudio} does not load with torch {torch}; install another: {_pip(fitting)}"


def check_installation() -> None:
    """Raises InstallationError if packages are installed of which it is known that they do not load together."""
    clash = versions_that_clash()
    if clash is not None:
        raise InstallationError(clash)


def import_torchaudio(module: str = "torchaudio") -> ModuleType:
    """Imports torchaudio or one of its modules.

    Raises:
        InstallationError: it cannot be loaded, with the reason in a line and the remedy.
    """
    check_installation()
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # of its libraries, or of its look at versions of CUDA
        if isinstance(error, ModuleNotFoundError) and error.name == "torchaudio":
            raise InstallationError(f"torchaudio is not installed: {_pip('torchaudio')}") from error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InstallationError(
            f"torchaudio {_version('torchaudio')} cannot be loaded beside torch {_version('torch')} ({reason}); take "
            f"the newest of both, of one kind (CUDA or CPU): {_pip('--upgrade torch torchaudio')}"
        ) from error


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])


def _pip(what: str) -> str:
    return f"{sys.executable} -m pip install {what}"
