"""Micro-batches as tensors, decoded ahead of the training thread."""

import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechssl.data.corpus import SampleRef
from speechssl.data.reading import Sample, read_sample
from speechssl.data.streams import BatchSpec, StreamPlan

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


class SampleCache:
    """Decoded samples of a small corpus, as 16-bit integers; a large corpus passes through.

    Args:
        megabytes: limit; what was used longest ago goes first.
    """

    def __init__(self, megabytes: float) -> None:
        self._limit = megabytes * 1e6
        self._bytes = 0
        self._lock = Lock()
        self._samples: OrderedDict[tuple[str, str], tuple[np.ndarray, Sample]] = OrderedDict()

    def read(self, ref: SampleRef, sample_rate: int) -> Sample:
        """Sample from memory, or from its shard."""
        key = (ref.shard, ref.key)
        with self._lock:
            found = self._samples.get(key)
            if found is not None:
                self._samples.move_to_end(key)
        if found is not None:
            pcm, sample = found
            return sample._replace(audio=pcm.astype(np.float32) / 32768)
        sample = read_sample(ref, sample_rate)
        pcm = np.round(sample.audio * 32768)
        if np.abs(pcm - sample.audio * 32768).max() == 0:  # shards of more than 16 bits are not cached
            self._add(key, pcm.clip(-32768, 32767).astype(np.int16), sample)
        return sample

    def _add(self, key: tuple[str, str], pcm: np.ndarray, sample: Sample) -> None:
        with self._lock:
            if key in self._samples or pcm.nbytes > self._limit:
                return
            self._samples[key] = (pcm, sample._replace(audio=np.empty(0, np.float32)))
            self._bytes += pcm.nbytes
            while self._bytes > self._limit:
                _, (oldest, _) = self._samples.popitem(last=False)
                self._bytes -= oldest.nbytes


def load_batch(spec: BatchSpec, sample_rate: int, *, stream: int = 0, cache: SampleCache | None = None) -> Batch:
    """Read and decode one micro-batch.

    Raises:
        DataError: names shard and key of a sample that is missing or damaged.
    """
    audio = torch.zeros(len(spec.refs), spec.padded_samples)
    texts = []
    for row, (ref, start, length) in enumerate(zip(spec.refs, spec.starts, spec.num_samples, strict=True)):
        sample = cache.read(ref, sample_rate) if cache else read_sample(ref, sample_rate)
        audio[row, :length] = torch.from_numpy(sample.audio[start : start + length])
        texts.append(sample.text)
    keys = [ref.key for ref in spec.refs]
    return Batch(keys, audio, torch.tensor(spec.num_samples, dtype=torch.int64), texts, stream)


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
    ) -> None:
        self._plan = plan
        self._streams = streams
        self._updates = range(start_update, max_updates)
        self._num_workers = num_workers
        self._cache = SampleCache(cache_megabytes)
        self.wait_seconds = 0.0
        """Time that the caller has spent waiting for data."""

    def __iter__(self) -> Iterator[list[Batch]]:
        if self._num_workers == 0:
            yield from self._timed(self._load(update) for update in self._updates)
            return
        with ThreadPoolExecutor(self._num_workers) as pool:
            pending: deque[Future[list[Batch]]] = deque()
            try:
                yield from self._timed(self._ahead(pool, pending))
            finally:
                for future in pending:
                    future.cancel()

    def _ahead(self, pool: ThreadPoolExecutor, pending: deque[Future[list[Batch]]]) -> Iterator[list[Batch]]:
        for update in self._updates:
            # Planned here, in order: the plan is not made for several threads.
            specs = self._specs(update)
            pending.append(pool.submit(self._decode, specs))
            if len(pending) > UPDATES_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _timed(self, batches: Iterator[list[Batch]]) -> Iterator[list[Batch]]:
        while True:
            started = time.monotonic()
            result = next(batches, None)
            self.wait_seconds += time.monotonic() - started
            if result is None:
                return
            yield result

    def _specs(self, update: int) -> list[BatchSpec]:
        return [self._plan.batch(update, stream) for stream in self._streams]

    def _decode(self, specs: list[BatchSpec]) -> list[Batch]:
        rate = self._plan.sample_rate
        return [
            load_batch(spec, rate, stream=stream, cache=self._cache)
            for spec, stream in zip(specs, self._streams, strict=True)
        ]

    def _load(self, update: int) -> list[Batch]:
        return self._decode(self._specs(update))
