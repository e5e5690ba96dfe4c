"""Loops over numbers as machine code, by numba, which librosa brings; without it they run as they are, slowly."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

try:
    import numba
except ImportError:  # as on machines that it is not built for
    numba = None  # type: ignore[assignment, unused-ignore]

Function = TypeVar("Function", bound=Callable[..., Any])
is_compiled = numba is not None


def compiled(function: Function) -> Function:
    """Compile a function when it is first called; what comes of it is kept beside the source, or in the user's cache.

    It does not hold Python's lock while it runs. What is kept is not made anew when a function that it calls changes:
    whoever works on one of those deletes the ``.nbi`` files beside the sources.
    """
    if numba is None:
        return function
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # neither folder can be written
        return cast(Function, numba.njit(nogil=True)(function))


def inlined(function: Function) -> Function:
    """Compile a small function into those that call it: else its arrays are counted in and out at every call, which
    takes longer than what it does with them."""
    return function if numba is None else cast(Function, numba.njit(nogil=True, forceinline=True)(function))


def part(function: Function) -> Function:
    """Compile a step of a compiled function, which keeps it."""
    return function if numba is None else cast(Function, numba.njit(nogil=True)(function))
