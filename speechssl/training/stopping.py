"""Signals that ask a training run to end: Ctrl-C, SIGTERM of whoever wants the machine, the warning of a scheduler.

The update that is being computed is finished and saved. All ranks do so after the same update, though a signal may
reach one of them alone.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from speechssl.remote.waiting import heed
from speechssl.training.machine import to_device

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""SLURM and others send one of the latter two some time before they end a job, if they are asked to."""
PATIENCE_SECONDS = 10.0
"""For which one of several ranks goes on waiting for its data: without it no rank can finish the update."""
REPEAT_SECONDS = 0.3
"""Within which a second Ctrl-C is the same one: torchrun hands on what the terminal has sent already."""


class Interrupted(BaseException):
    """A signal came where nothing has to be finished."""


class StopSignals:
    """Takes down the first signal, in a ``with`` statement; a second Ctrl-C raises KeyboardInterrupt at once.

    Signals that whoever started the process has had ignored stay so. Outside the main thread none can be taken. One
    that ``speaks`` says on standard error that the run is about to end.
    """

    def __init__(self, *, speaks: bool = True) -> None:
        self.number: int | None = None
        """The signal that came."""
        self._speaks = speaks
        self._patience = float("inf")
        self._since = 0.0
        self._interruptible = False
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._earlier[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    def is_set(self) -> bool:
        """Whether a wait for data is to end, as ``data.remote.waiting`` asks."""
        return self.requested and time.monotonic() - self._since >= self._patience

    @contextmanager
    def waiting(self, patience: float) -> Iterator[None]:
        """Let waits for data inside end with InterruptedFetchError, that many seconds after a signal."""
        self._patience = patience
        heed(self)
        try:
            yield
        finally:
            heed(None)
            self._patience = float("inf")

    @contextmanager
    def interruptible(self, *, enabled: bool = True) -> Iterator[None]:
        """Let a signal raise Interrupted inside, at once."""
        if enabled and self.requested:
            raise Interrupted
        self._interruptible = enabled
        try:
            yield
        finally:
            self._interruptible = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is None:
            self.number, self._since = number, now
            if self._interruptible:
                raise Interrupted
            if self._speaks and self._patience > 0:
                self._speak(number)
        elif number == signal.SIGINT and now - self._since > REPEAT_SECONDS:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise KeyboardInterrupt

    def _speak(self, number: int) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        text = f"\nspeechssl: {name}: ending after this update, and saving it; Ctrl-C again ends at once\n"
        with suppress(OSError):
            os.write(2, text.encode())  # a print that the signal has interrupted does not bear another


class Agreement:
    """Whether any rank has been asked to stop, as all of them come to know after the same update.

    Each update a number rides on a sum that the ranks exchange anyway. On a GPU it is read an update later, when it has
    long arrived, so that the host does not wait for the device.
    """

    def __init__(self, fabric: Fabric, stop: StopSignals) -> None:
        self._fabric = fabric
        self._stop = stop
        self._coming: deque[tuple[Tensor, torch.cuda.Event | None]] = deque(maxlen=2)

    def sum_of(self, value: float) -> Tensor:
        """Sum of a number over all ranks, on the device; what asks them to stop goes with it."""
        if self._fabric.world_size == 1:
            return to_device(torch.tensor(value), self._fabric.device)
        own = to_device(torch.tensor([value, float(self._stop.requested)]), self._fabric.device)
        total, requests = self._fabric.all_reduce(own, reduce_op="sum")
        event = None
        if requests.is_cuda:
            requests = torch.empty((), pin_memory=True).copy_(requests, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._coming.append((requests, event))
        return total

    def reached(self) -> bool:
        """Whether to stop, after an update."""
        if self._fabric.world_size == 1:
            return self._stop.requested
        if not self._coming:
            return False
        requests, event = self._coming[-1]
        if event is not None:
            if len(self._coming) == 1:
                return False
            requests, event = self._coming[0]
            event.synchronize()  # type: ignore[union-attr]
        return bool(requests > 0)

    def now(self) -> bool:
        """Whether to stop, where no update is computed; every rank waits here for the others."""
        if self._fabric.world_size == 1:
            return self._stop.requested
        requests = torch.tensor(float(self._stop.requested), device=self._fabric.device)
        total: Any = self._fabric.all_reduce(requests, reduce_op="sum")
        return bool(total > 0)
