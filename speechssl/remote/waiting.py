"""Waits that end when their result is not wanted any more.

A server may be silent for a minute before that counts as a failure. Whoever starts threads that fetch gives them an
event to ``heed``, and sets it before waiting for their end. In the main thread training gives the signals that it has
taken upon itself; else Ctrl-C ends the waits there.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Protocol, TypeVar

from speechssl.remote.failures import InterruptedFetchError

Result = TypeVar("Result")

POLL_SECONDS = 0.2


class Unwanted(Protocol):
    """An event, or what answers like one."""

    def is_set(self) -> bool: ...


_thread = threading.local()


def heed(unwanted: Unwanted | None) -> None:
    """Let the waits of this thread end with InterruptedFetchError once the event is set; None: not any more."""
    _thread.unwanted = unwanted


def check_wanted() -> None:
    unwanted: Unwanted | None = getattr(_thread, "unwanted", None)
    if unwanted is not None and unwanted.is_set():
        raise InterruptedFetchError("fetching a shard was interrupted")


def pause(seconds: float) -> None:
    """Sleep for as long as this thread is wanted."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, POLL_SECONDS))
        check_wanted()


def abandonable(function: Callable[[], Result]) -> Result:
    """Call what may block for long, in a thread that is left behind if its result is not wanted any more."""
    future: Future[Result] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return result_of(future)


def result_of(future: Future[Result]) -> Result:
    """Result of a future. The wait is in pieces: one without end may miss the Ctrl-C that comes just before it."""
    while not wait([future], POLL_SECONDS).done:
        check_wanted()
    return future.result()
