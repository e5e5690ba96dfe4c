"""Micro-batches as tensors, decoded ahead of the training thread."""

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechssl.data.array_cache import ArrayCache
from speechssl.data.corpus import SampleRef
from speechssl.data.prefetching import Prefetcher
from speechssl.data.samples import read_audio_into, read_sample_audio
from speechssl.data.streams import BatchSpec, StreamPlan
from speechssl.errors import DataError
from speechssl.remote.failures import ShardError
from speechssl.remote.waiting import heed, result_of

logger = logging.getLogger(__name__)

UPDATES_AHEAD = 4


class Batch(NamedTuple):
    """One micro-batch."""

    keys: list[str]
    audio: Tensor
    """Float32 in -1..1, padded with zeros, (B, S)."""
    lengths: Tensor
    """Samples of each utterance, int64, (B,)."""
    texts: list[str | None]
    stream: int
    """Logical stream that it comes from."""
    clean: Tensor | None = None
    """Audio before augmentation, (B, S), if the task wants it."""
    second: Tensor | None = None
    """Another part of each sample, (B, S), if the task wants two views; as long as the first."""


class SampleCache(ArrayCache):
    """Decoded samples of a small corpus, as 16-bit integers."""

    def read(self, ref: SampleRef, sample_rate: int) -> np.ndarray:
        """Audio of a sample from memory, or from its shard, float32 (S,)."""
        key = (ref.shard, ref.key)
        found = self.get(key)
        if found is not None:
            return found.astype(np.float32) / 32768
        audio = read_sample_audio(ref, sample_rate)
        pcm = np.round(audio * 32768)
        if np.abs(pcm - audio * 32768).max() == 0:  # shards of more than 16 bits are not cached
            self.add(key, pcm.clip(-32768, 32767).astype(np.int16))
        return audio


class Quarantine:
    """Damaged samples of this process: left out of their batches and counted, up to a limit.

    Args:
        max_bad: samples that may be damaged; the next one raises.
        num_samples: of how many, for the message.
    """

    def __init__(self, max_bad: int, num_samples: int) -> None:
        self._max_bad = max_bad
        self._num_samples = num_samples
        self._lock = Lock()
        self.problems: dict[str, str] = {}
        """What is wrong, by key."""

    def admit(self, ref: SampleRef, error: DataError) -> None:
        """Take a damaged sample in.

        Raises:
            DataError: it is one too many; names the first ones.
        """
        with self._lock:
            is_new = ref.key not in self.problems
            self.problems[ref.key] = str(error)
            listed = list(self.problems.values())
        if len(listed) > self._max_bad:
            if self._max_bad == 0:
                raise error
            raise DataError(
                f"{len(listed)} of {self._num_samples} samples of this process are damaged, max_bad_share allows "
                f"{self._max_bad}:\n  " + "\n  ".join(listed[:5])
            ) from error
        if is_new:
            logger.warning("left out (%d of at most %d): %s", len(listed), self._max_bad, error)


def load_batch(
    spec: BatchSpec,
    sample_rate: int,
    *,
    stream: int = 0,
    cache: SampleCache | None = None,
    quarantine: Quarantine | None = None,
) -> Batch:
    """Read and decode one micro-batch; what the quarantine admits is missing from it.

    If nothing is left, silence without a transcript stands in, so that every update has its micro-batches.

    Raises:
        DataError: names shard and key of a sample that is missing or damaged.
    """
    quarantine = quarantine or Quarantine(0, 0)
    parts = [spec.starts] if spec.second_starts is None else [spec.starts, spec.second_starts]
    audio = torch.empty(len(parts), len(spec.refs), spec.padded_samples)
    whole: list[int] = []
    for i, (ref, length) in enumerate(zip(spec.refs, spec.num_samples, strict=True)):
        try:
            for part, starts in zip(audio, parts, strict=True):
                read_row(part[len(whole)].numpy(), ref, sample_rate, starts[i], length, cache)
        except ShardError:
            raise  # not a damaged sample: the shard may be whole, and cannot be had
        except DataError as error:
            quarantine.admit(ref, error)
            continue
        whole.append(i)
    if whole:
        refs = [spec.refs[i] for i in whole]
        texts = [ref.text for ref in refs]
        audio = audio[:, : len(whole)]
    else:
        refs, texts, whole, audio = [spec.refs[0]], [None], [0], torch.zeros(len(parts), 1, spec.padded_samples)
    second = audio[1] if len(parts) == 2 else None
    return Batch([ref.key for ref in refs], audio[0], lengths_of(spec, whole), texts, stream, second=second)


def read_row(
    row: np.ndarray, ref: SampleRef, sample_rate: int, start: int, length: int, cache: SampleCache | None
) -> None:
    """A part of a sample, from its first audio sample on, with zeros behind it, into (S,).

    Raises:
        DataError: names shard and key of what is missing or damaged.
    """
    if cache is None:
        read_audio_into(row[:length], ref, sample_rate, start=start)
    else:
        row[:length] = cache.read(ref, sample_rate)[start : start + length]
    row[length:] = 0


def lengths_of(spec: BatchSpec, chosen: list[int]) -> Tensor:
    """Audio samples of some of a micro-batch's samples, int64 (B,)."""
    return torch.tensor([spec.num_samples[i] for i in chosen], dtype=torch.int64)


class BatchLoader:
    """Yields the micro-batches of the streams that this process owns, one list per update.

    Decoding runs in threads, ahead of the training thread; what goes wrong there is raised here, in order.

    Args:
        plan: of the whole run.
        streams: logical streams of this process.
        start_update: first update to yield, counted from 0.
        max_updates: where to end.
        num_workers: threads; 0 decodes in the calling thread.
        cache_megabytes: memory for decoded audio of small corpora.
        augment: changes the micro-batch of an update, in the decoding threads.
        pin: put audio into page-locked memory, from which a GPU takes it without the host waiting.
    """

    def __init__(
        self,
        plan: StreamPlan,
        streams: Sequence[int],
        *,
        start_update: int,
        max_updates: int,
        num_workers: int,
        cache_megabytes: float = 1024,
        augment: Callable[[Batch, int], Batch] | None = None,
        pin: bool = False,
    ) -> None:
        self._pin = pin
        self._plan = plan
        self._streams = streams
        self._augment = augment
        self._updates = range(start_update, max_updates)
        self._num_workers = num_workers
        # A corpus that does not fit would only push itself out of the cache.
        fits = 2 * plan.seconds * plan.sample_rate <= cache_megabytes * 1e6
        self._cache = SampleCache(cache_megabytes) if fits else None
        num_samples = plan.num_samples * len(streams) // plan.num_streams
        self.quarantine = Quarantine(int(plan.config.max_bad_share * num_samples + 1e-9), num_samples)
        """Damaged samples so far."""
        self.wait_seconds = 0.0
        """Time that the caller has spent waiting for data."""
        self._prefetcher: Prefetcher | None = None

    def __iter__(self) -> Generator[list[Batch], None, None]:
        if self._num_workers == 0:
            with self._prefetching():
                loaded = (self._released(self._decode(self._specs(i), i), i) for i in self._updates)
                yield from self._timed(loaded)
            return
        leaving = Event()
        with (
            ThreadPoolExecutor(self._num_workers, initializer=heed, initargs=(leaving,)) as pool,
            self._prefetching(),
        ):
            pending: deque[Future[list[Batch]]] = deque()
            try:
                yield from self._timed(self._ahead(pool, pending))
            finally:
                leaving.set()  # before the workers are waited for, who may wait for a shard
                for future in pending:
                    future.cancel()

    def _ahead(self, pool: ThreadPoolExecutor, pending: deque[Future[list[Batch]]]) -> Iterator[list[Batch]]:
        num_done = self._updates.start
        for update in self._updates:
            # Planned here, in order: the plan is not made for several threads.
            specs = self._specs(update)
            pending.append(pool.submit(self._decode, specs, update))
            if len(pending) > UPDATES_AHEAD:
                yield self._released(result_of(pending.popleft()), num_done)
                num_done += 1
        while pending:
            yield self._released(result_of(pending.popleft()), num_done)
            num_done += 1

    def _timed(self, batches: Iterator[list[Batch]]) -> Iterator[list[Batch]]:
        while True:
            started = time.monotonic()
            result = next(batches, None)
            self.wait_seconds += time.monotonic() - started
            if result is None:
                return
            yield result

    @contextmanager
    def _prefetching(self) -> Iterator[None]:
        if self._plan.store is None:
            yield
            return
        self._prefetcher = Prefetcher(self._plan, self._streams, self._plan.store)
        try:
            yield
        finally:
            self._prefetcher.close()
            self._prefetcher = None

    def _released(self, batches: list[Batch], update: int) -> list[Batch]:
        if self._prefetcher is not None:
            self._prefetcher.release(update)
        return batches

    def _specs(self, update: int) -> list[BatchSpec]:
        if self._prefetcher is not None:
            self._prefetcher.announce(update)
        return [self._plan.batch(update, stream) for stream in self._streams]

    def _decode(self, specs: list[BatchSpec], update: int) -> list[Batch]:
        rate = self._plan.sample_rate
        batches = [
            load_batch(spec, rate, stream=stream, cache=self._cache, quarantine=self.quarantine)
            for spec, stream in zip(specs, self._streams, strict=True)
        ]
        if self._augment is not None:
            batches = [self._augment(batch, update) for batch in batches]
        return [pinned(batch) for batch in batches] if self._pin else batches


def pinned(batch: Batch) -> Batch:
    """The same with its audio in page-locked memory."""
    clean, second = (None if audio is None else audio.pin_memory() for audio in (batch.clean, batch.second))
    return batch._replace(audio=batch.audio.pin_memory(), clean=clean, second=second)
