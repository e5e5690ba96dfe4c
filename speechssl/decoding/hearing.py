"""Many recordings heard in batches of windows of like lengths, read ahead of the model."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from speechssl.config import ModelConfig, TranscribeConfig
from speechssl.data.cells import round_up
from speechssl.decoding.long_form import Recording, Window
from speechssl.errors import DataError
from speechssl.remote.failures import ShardError
from speechssl.remote.waiting import heed, result_of

BATCHES_PER_POOL = 16

Output = TypeVar("Output")
Item = TypeVar("Item")


@dataclass
class Heard(Generic[Output]):
    """A recording, and what the model gave for it."""

    recording: Recording
    problem: str = ""
    """Why it cannot be read to its end; empty if it can."""
    num_windows: int = 0
    """Read so far."""
    is_read: bool = False
    outputs: dict[int, Output] = field(default_factory=dict)
    """Of its windows, by their numbers; but for those that were taken."""
    num_taken: int = 0
    """Windows whose output was taken as soon as it was its turn."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come of it."""
        return self.is_read and (bool(self.problem) or len(self.outputs) + self.num_taken == self.num_windows)

    def in_order(self) -> list[Output]:
        """What the model gave for its windows."""
        return [self.outputs[number] for number in range(self.num_windows)]

    def let_take(self, take: Callable[["Heard[Output]", Output], None]) -> None:
        """Give away, in order, what nothing before it is waited for."""
        while self.num_taken in self.outputs:
            take(self, self.outputs.pop(self.num_taken))
            self.num_taken += 1


class Piece(NamedTuple):
    """A window of a recording."""

    heard: Heard
    number: int
    window: Window


class Windows(NamedTuple):
    """How long recordings are cut."""

    seconds: float = TranscribeConfig.window_seconds
    """Length, margins included."""
    margin_seconds: float = TranscribeConfig.margin_seconds


USUAL_WINDOWS = Windows()


class Pool(NamedTuple):
    """Windows that are read, and the recordings that begin among them."""

    begun: list[Heard]
    pieces: list[Piece]


class Padded(NamedTuple):
    """Windows as a batch."""

    audio: Tensor
    """Float32 (B, S), zeros behind the shorter ones."""
    lengths: Tensor | None
    """Samples of each, int64 (B,); None if all have S."""


def hear(
    recordings: Iterable[Recording],
    model: ModelConfig,
    represent: Callable[[list[Window]], Sequence[Output]],
    *,
    max_batch_seconds: float,
    windows: Windows = USUAL_WINDOWS,
    batches_per_pool: int = BATCHES_PER_POOL,
    take: Callable[[Heard[Output], Output], None] | None = None,
) -> Generator[Heard[Output], None, None]:
    """Let a model hear recordings in the windows of ``speechssl transcribe``.

    Batches are a function of the recordings alone, in this order.

    Args:
        recordings: read in another thread, one after the other, each to its end.
        model: that hears them.
        represent: gives the model's output for each window of a batch.
        max_batch_seconds: padded audio per batch; a longer window is a batch of its own.
        windows: that longer recordings are heard in.
        batches_per_pool: so much audio is sorted by length at a time, and as much is read meanwhile.
        take: is given the outputs of each recording's windows in order, which are then not kept.

    Yields:
        Every recording, in order, as soon as it and those before it are done; what cannot be read has a problem.

    Raises:
        ShardError: a shard cannot be had.
    """
    max_samples = max_batch_seconds * model.sample_rate
    open_recordings: deque[Heard] = deque()
    for pool in ahead(read_pools(recordings, model, windows, batches_per_pool * max_samples)):
        open_recordings += pool.begun
        for batch in cut_batches(pool.pieces, max_samples):
            for piece, output in zip(batch, represent([piece.window for piece in batch]), strict=True):
                piece.heard.outputs[piece.number] = output
                if take is not None:
                    piece.heard.let_take(take)
            while open_recordings and open_recordings[0].is_done:
                yield open_recordings.popleft()
    yield from open_recordings


def read_pools(
    recordings: Iterable[Recording], model: ModelConfig, windows: Windows, max_samples: float
) -> Iterator[Pool]:
    """Read windows until they have so many samples; what they are of is read on in the next pool."""
    pool = Pool([], [])
    num_samples = 0
    for recording in recordings:
        heard: Heard = Heard(recording)
        pool.begun.append(heard)
        try:
            for window in recording.windows(model, windows.seconds, windows.margin_seconds):
                pool.pieces.append(Piece(heard, heard.num_windows, window))
                heard.num_windows += 1
                num_samples += len(window.samples)
                if num_samples >= max_samples:
                    yield pool
                    pool, num_samples = Pool([], []), 0
        except ShardError:
            raise  # nothing is wrong with the recording
        except DataError as error:
            heard.problem = str(error)
            pool.pieces[:] = [piece for piece in pool.pieces if piece.heard is not heard]
        heard.is_read = True
    yield pool


def cut_batches(pieces: Sequence[Piece], max_samples: float) -> Iterator[list[Piece]]:
    """Windows in batches of like lengths, the longest first."""
    batch: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: -len(piece.window.samples)):  # stable
        if batch and padded_length(batch[0].window) * (len(batch) + 1) > max_samples:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def padded_length(window: Window) -> int:
    """Samples that the longest window of several takes up; few lengths, so that few kernels have to be prepared."""
    return int(round_up(np.array([len(window.samples)]))[0])


def pad(windows: Sequence[Window]) -> Padded:
    """Windows one below the other; a single one is left as it is."""
    if len(windows) == 1:
        return Padded(torch.from_numpy(windows[0].samples)[None], None)
    lengths = torch.tensor([len(window.samples) for window in windows])
    audio = torch.zeros(len(windows), max(map(padded_length, windows)))
    for row, window in zip(audio, windows, strict=True):
        row[: len(window.samples)] = torch.from_numpy(window.samples)
    return Padded(audio, lengths)


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """The same items, each made in a thread of its own while the one before it is used."""
    leaving, end = Event(), object()
    with ThreadPoolExecutor(1, initializer=heed, initargs=(leaving,)) as thread:
        pending = thread.submit(next, items, end)
        try:
            while (item := result_of(pending)) is not end:
                pending = thread.submit(next, items, end)
                yield item  # type: ignore[misc]
        finally:
            leaving.set()
            pending.cancel()
