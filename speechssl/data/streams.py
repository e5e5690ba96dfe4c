"""Which samples make up which micro-batch: a pure function of (seed, update, stream), planned from the index.

An update takes one micro-batch from each *logical stream*. A stream owns a fixed part of the corpus and passes over it
epoch by epoch, each epoch in a new order drawn from (seed, stream, epoch). So neither the number of processes nor where
a run was interrupted changes what an update sees.
"""

import hashlib
import itertools
import json
from typing import NamedTuple

import numpy as np

from speechssl.config import StreamConfig
from speechssl.data.corpus import Corpus, SampleRef
from speechssl.errors import DataError

ORDER, CROPS = 0, 1
# Lengths are compared after a seeded change of up to this share, so that batches differ between epochs.
LENGTH_JITTER = 0.1
# Crops are cut, and batches of whole samples padded, to multiples of this: kernels are prepared per shape, and a new
# one in every update halves the speed on CPUs.
LENGTH_GRID_SECONDS = 0.25


class BatchSpec(NamedTuple):
    """One micro-batch: which samples, and which part of each."""

    refs: tuple[SampleRef, ...]
    starts: tuple[int, ...]
    """First audio sample of each."""
    num_samples: tuple[int, ...]
    """Audio samples of each; all equal in pretraining."""
    padded_samples: int
    """Audio samples that each takes up in the batch."""


class EpochPlan(NamedTuple):
    """Batches of one stream and epoch, in order: indices into the stream's samples."""

    batches: list[np.ndarray]


class StreamPlan:
    """Plans every micro-batch of a run.

    Args:
        corpus: samples to draw from.
        config: limits on lengths and batches.
        seed: of order and crops.
        crop: cut every sample of a batch to the shortest (pretraining), at random places; otherwise samples are whole.

    Raises:
        DataError: fewer usable samples than streams, or a sample that exceeds a whole batch.
    """

    def __init__(self, corpus: Corpus, config: StreamConfig, *, seed: int, crop: bool) -> None:
        self.sample_rate = corpus.sample_rate
        self.num_streams = config.num_streams
        self.seed = seed
        self.crop = crop
        self.config = config
        self._corpus = corpus
        chosen, self.num_too_short, self.num_too_long = self._select()
        self._check(chosen)
        self._streams = split_evenly(chosen, config.num_streams)
        self._lengths = [self._used_lengths(corpus.num_samples[stream]) for stream in self._streams]
        self._first_batch: list[list[int]] = [[0] for _ in self._streams]  # of each epoch planned so far
        self._epochs: dict[int, tuple[int, EpochPlan]] = {}  # stream to its latest epoch's number and plan
        self.fingerprint = self._fingerprint()

    def epoch(self, update: int, stream: int) -> int:
        """Pass over the stream's samples that an update belongs to; both count from 0."""
        return self._locate(update, stream)[0]

    def batch(self, update: int, stream: int) -> BatchSpec:
        """The micro-batch that a stream gives an update; both count from 0."""
        epoch, position = self._locate(update, stream)
        chosen = self._plan(stream, epoch).batches[position]
        refs = tuple(self._corpus[i] for i in self._streams[stream][chosen])
        if not self.crop:
            return whole_samples(refs, self.sample_rate)
        length = int(self._lengths[stream][chosen].min())
        draws = self._generator(CROPS, stream, epoch, position)
        starts = tuple(int(draws.integers(0, ref.num_samples - length + 1)) for ref in refs)
        return BatchSpec(refs, starts, (length,) * len(refs), length)

    def _select(self) -> tuple[np.ndarray, int, int]:
        """Samples within the limits, and how many are too short and too long."""
        lengths = self._corpus.num_samples
        too_short = lengths < self.config.min_seconds * self.sample_rate
        longest = float("inf") if self.crop else self.config.max_seconds * self.sample_rate
        too_long = lengths > longest
        return np.flatnonzero(~(too_short | too_long)), int(too_short.sum()), int(too_long.sum())

    def _check(self, chosen: np.ndarray) -> None:
        config = self.config
        if len(chosen) < max(1, config.num_streams):
            raise DataError(
                f"{len(chosen)} of {len(self._corpus)} samples are between min_seconds ({config.min_seconds:g}) and "
                f"max_seconds ({config.max_seconds:g}), expected at least num_streams ({config.num_streams}); "
                "give more audio, wider limits or fewer streams"
            )
        longest = self._corpus[chosen[self._corpus.num_samples[chosen].argmax()]]
        seconds = min(longest.num_samples / self.sample_rate, config.max_seconds)
        if seconds > config.max_batch_seconds:
            raise DataError(
                f"{longest.shard}: {longest.key} lasts {seconds:.1f} s, more than a whole batch of max_batch_seconds "
                f"({config.max_batch_seconds:g}); raise it or lower max_seconds"
            )

    def _used_lengths(self, lengths: np.ndarray) -> np.ndarray:
        if not self.crop:
            return pad_to_grid(lengths, self.sample_rate)
        lengths = np.minimum(lengths, int(self.config.max_seconds * self.sample_rate))
        grid = int(LENGTH_GRID_SECONDS * self.sample_rate)
        return np.where(lengths >= 2 * grid, lengths // grid * grid, lengths)

    def _locate(self, update: int, stream: int) -> tuple[int, int]:
        """Epoch of an update and position in it; plans epochs until it is reached."""
        firsts = self._first_batch[stream]
        while firsts[-1] <= update:
            firsts.append(firsts[-1] + len(self._plan(stream, len(firsts) - 1).batches))
        epoch = int(np.searchsorted(firsts, update, side="right")) - 1
        return epoch, update - firsts[epoch]

    def _plan(self, stream: int, epoch: int) -> EpochPlan:
        known = self._epochs.get(stream)
        if known is not None and known[0] == epoch:
            return known[1]
        draws = self._generator(ORDER, stream, epoch)
        lengths = self._lengths[stream]
        order = np.argsort(lengths * draws.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(lengths)), kind="stable")
        batches = cut_batches(order, lengths, self.config.max_batch_seconds * self.sample_rate)
        plan = EpochPlan([batches[i] for i in draws.permutation(len(batches))])
        self._epochs[stream] = (epoch, plan)
        return plan

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, *key])))

    def _fingerprint(self) -> str:
        """Digest of all that decides the plan: samples, seed and batch geometry."""
        config = self.config
        geometry = [self.num_streams, config.max_batch_seconds, config.max_seconds, self.crop, self.seed]
        geometry += [LENGTH_GRID_SECONDS, LENGTH_JITTER]
        digest = hashlib.sha256(json.dumps(geometry).encode())
        for stream in self._streams:
            digest.update(self._corpus.key_hashes[stream].tobytes())
            digest.update(self._corpus.num_samples[stream].tobytes())
        return digest.hexdigest()


def split_evenly(chosen: np.ndarray, num_streams: int) -> list[np.ndarray]:
    """Contiguous parts of nearly equal numbers of samples, so that a stream reads few shards."""
    bounds = np.linspace(0, len(chosen), num_streams + 1).astype(int)
    return [chosen[start:end] for start, end in itertools.pairwise(bounds)]


def cut_batches(order: np.ndarray, lengths: np.ndarray, max_samples: float) -> list[np.ndarray]:
    """Cut an order into batches whose padded length (number times longest) stays within a limit."""
    batches = []
    start, longest = 0, 0
    for end, i in enumerate(order):
        grown = max(longest, int(lengths[i]))
        if end > start and grown * (end - start + 1) > max_samples:
            batches.append(order[start:end])
            start, grown = end, int(lengths[i])
        longest = grown
    batches.append(order[start:])
    return batches


def epoch_batches(corpus: Corpus, max_batch_seconds: float) -> list[BatchSpec]:
    """One pass over whole samples, longest first, for evaluation."""
    rate = corpus.sample_rate
    order = np.argsort(-corpus.num_samples, kind="stable")
    batches = cut_batches(order, pad_to_grid(corpus.num_samples, rate), max_batch_seconds * rate)
    return [whole_samples(tuple(corpus[i] for i in chosen), rate) for chosen in batches]


def whole_samples(refs: tuple[SampleRef, ...], sample_rate: int) -> BatchSpec:
    """Batch of samples from end to end, padded to the grid of lengths."""
    num_samples = tuple(ref.num_samples for ref in refs)
    return BatchSpec(refs, (0,) * len(refs), num_samples, int(pad_to_grid(np.array(num_samples), sample_rate).max()))


def pad_to_grid(lengths: np.ndarray, sample_rate: int) -> np.ndarray:
    """The next multiples of the grid of lengths."""
    grid = int(LENGTH_GRID_SECONDS * sample_rate)
    return -(-lengths // grid) * grid
