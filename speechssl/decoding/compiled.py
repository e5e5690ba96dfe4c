"""Loops over numbers as machine code, by numba, which librosa brings; without it they run as they are, slowly."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

try:
    import numba
except ImportError:  # as on machines that it is not built for
    numba = None  # type: ignore[assignment, unused-ignore]

Function = TypeVar("Function", bound=Callable[..., Any])
is_compiled = numba is not None
_SOURCES = Path(__file__).parent


def compiled(function: Function) -> Function:
    """Compile a function when it is first called; what comes of it is kept beside the source, or in the user's cache.

    It does not hold Python's lock while it runs. numba looks only at the file of a function to see whether what it
    kept is still right, not at those of the functions that it calls: so each state of these sources has a folder.
    """
    if numba is None:
        return function
    settings: Any = numba.config
    usual = settings.CACHE_DIR
    settings.CACHE_DIR = str(Path(usual or _SOURCES / "__pycache__") / f"numba_{sources_digest(_SOURCES)}")
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # no folder can be written
        return cast(Function, numba.njit(nogil=True)(function))
    finally:
        settings.CACHE_DIR = usual


def sources_digest(folder: Path) -> str:
    """A short digest of the Python files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def inlined(function: Function) -> Function:
    """Compile a small function into those that call it: else its arrays are counted in and out at every call, which
    takes longer than what it does with them."""
    return function if numba is None else cast(Function, numba.njit(nogil=True, forceinline=True)(function))


def part(function: Function) -> Function:
    """Compile a step of a compiled function, which keeps it."""
    return function if numba is None else cast(Function, numba.njit(nogil=True)(function))
