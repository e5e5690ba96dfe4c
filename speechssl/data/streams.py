"""Which samples make up which micro-batch: a pure function of (seed, update, stream), planned from the index.

An update takes one micro-batch from each *logical stream*. A stream owns a fixed part of the corpus and passes over it
epoch by epoch, each epoch in a new order drawn from (seed, stream, epoch). So neither the number of processes nor where
a run was interrupted changes what an update sees, and any update is found at once, without going through those before.
"""

import hashlib
import itertools
import json
from typing import NamedTuple

import numpy as np

from speechssl.config import StreamConfig
from speechssl.data.cells import CELL_RATIO, NUM_CUTS, count_lengths, cut_sizes, fill_batches, round_down, round_up
from speechssl.data.corpus import Corpus, SampleRef
from speechssl.errors import DataError
from speechssl.remote.store import ShardStore
from speechssl.seeding import Purpose, numpy_generator
from speechssl.shards.addresses import redact

# Micro-batches of a stream after which each source has had its share exactly.
MIXTURE_CYCLE = 1000


class BatchSpec(NamedTuple):
    """One micro-batch: which samples, and which part of each."""

    refs: tuple[SampleRef, ...]
    starts: tuple[int, ...]
    """First audio sample of each."""
    num_samples: tuple[int, ...]
    """Audio samples of each; all equal in pretraining."""
    padded_samples: int
    """Audio samples that each takes up in the batch."""
    second_starts: tuple[int, ...] | None = None
    """First audio sample of another part of each, as long as the first, where two views are wanted."""


class ShardsAhead(NamedTuple):
    """What a stream reads of a source now, and what it reads after that."""

    source: int
    window: tuple[int, int]
    """Epoch, and window in it, of now."""
    now: tuple[str, ...]
    """Shards of this window."""
    following: tuple[str, ...]
    """Shards of the next one."""


class Position(NamedTuple):
    """Where a micro-batch stands in a stream's passes over a source."""

    epoch: int
    window: int
    batch: int
    """Within the window, in the epoch's order."""


class StreamPlan:
    """Plans every micro-batch of a run.

    Args:
        corpus: samples to draw from.
        config: limits on lengths and batches, and the shares of the sources.
        seed: of order and crops.
        crop: cut every sample of a batch to the shortest (pretraining), at random places; otherwise samples are whole.
        two_views: cut two parts out of each, which overlap only where the sample is too short for both; a batch then
            has half as many samples.

    Raises:
        DataError: fewer usable samples than streams, or a sample that exceeds a whole batch.
    """

    def __init__(self, corpus: Corpus, config: StreamConfig, *, seed: int, crop: bool, two_views: bool = False) -> None:
        self.sample_rate = corpus.sample_rate
        self.num_streams = config.num_streams
        self.seed = seed
        self.crop = crop
        self.two_views = two_views
        self.config = config
        self._corpus = corpus
        chosen = self._select()
        self._check(chosen)
        sources = split_sources(corpus, chosen, config)
        parts = [split_evenly(rows, config.num_streams) for rows in sources]
        self._rows = [list(stream) for stream in zip(*parts, strict=True)]  # of each stream, by source
        self._passes: dict[tuple[int, int], SourcePasses] = {}
        self._mixture = Mixture(source_shares(corpus, sources, config), seed)
        self.fingerprint = self._fingerprint()
        self.num_samples = len(chosen)
        self.seconds = int(corpus.num_samples[chosen].sum()) / corpus.sample_rate

    def epoch(self, update: int, stream: int) -> int:
        """Pass over its source that a stream's micro-batch of an update belongs to; all count from 0."""
        source, number = self._mixture.locate(stream, update)
        return self._passes_of(stream, source).locate(number).epoch

    def batch(self, update: int, stream: int) -> BatchSpec:
        """The micro-batch that a stream gives an update; both count from 0."""
        source, number = self._mixture.locate(stream, update)
        passes = self._passes_of(stream, source)
        position = passes.locate(number)
        rows = passes.rows_of(position)
        refs = tuple(self._corpus[i] for i in rows)
        if not self.crop:
            return whole_samples(refs)
        length = int(self._rounded(rows).min())
        rng = numpy_generator(self.seed, Purpose.CROPS, stream, source, *position)
        if self.two_views:
            pairs = [draw_two(ref.num_samples, length, rng) for ref in refs]
            firsts, seconds = zip(*pairs, strict=True)
            return BatchSpec(refs, firsts, (length,) * len(refs), length, seconds)
        starts = tuple(int(rng.integers(0, ref.num_samples - length + 1)) for ref in refs)
        return BatchSpec(refs, starts, (length,) * len(refs), length)

    @property
    def store(self) -> ShardStore | None:
        """Where the shards are read that are not on this machine; None if all are."""
        return self._corpus.store

    def shards_ahead(self, update: int, stream: int) -> ShardsAhead:
        """Shards of the window that a stream's micro-batch of an update is in, and of the one after it."""
        source, number = self._mixture.locate(stream, update)
        passes = self._passes_of(stream, source)
        position = passes.locate(number)
        following = passes.locate(number + passes.num_left(position))
        now, then = (self._shards_of(passes.rows_in(place.window)) for place in (position, following))
        return ShardsAhead(source, position[:2], now, then)

    def _shards_of(self, rows: np.ndarray) -> tuple[str, ...]:
        return tuple(self._corpus.shards[i] for i in np.unique(self._corpus.shard_numbers[rows]))

    def _passes_of(self, stream: int, source: int) -> "SourcePasses":
        key = (stream, source)
        if key not in self._passes:
            rows = self._rows[stream][source]
            max_samples = self._max_batch_seconds * self.sample_rate
            window = self.config.shuffle_hours * 3600 * self.sample_rate
            self._passes[key] = SourcePasses(rows, self._rounded(rows), max_samples, window, self.seed, key)
        return self._passes[key]

    def _select(self) -> np.ndarray:
        """Rows of the samples within the limits; counts those that are too short and too long."""
        lengths = self._corpus.num_samples
        too_short = lengths < self.config.min_seconds * self.sample_rate
        longest = float("inf") if self.crop else self.config.max_seconds * self.sample_rate
        too_long = lengths > longest
        self.num_too_short, self.num_too_long = int(too_short.sum()), int(too_long.sum())
        return np.flatnonzero(~(too_short | too_long))

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
        if seconds > self._max_batch_seconds:
            lasts = f"lasts {seconds:.1f} s" if not self.two_views else f"has two views of {seconds:.1f} s"
            raise DataError(
                f"{longest.shard}: {longest.key} {lasts}, more than a whole batch of max_batch_seconds "
                f"({config.max_batch_seconds:g}); raise it or lower max_seconds"
            )

    @property
    def _max_batch_seconds(self) -> float:
        """Limit on the samples of a batch, each heard once."""
        return self.config.max_batch_seconds / (2 if self.two_views else 1)

    def _rounded(self, rows: np.ndarray) -> np.ndarray:
        """Audio samples that each row takes up in a batch."""
        lengths = self._corpus.num_samples[rows]
        if not self.crop:
            return round_up(lengths)
        shortest = int(np.ceil(self.config.min_seconds * self.sample_rate))
        return np.maximum(round_down(np.minimum(lengths, int(self.config.max_seconds * self.sample_rate))), shortest)

    def _fingerprint(self) -> str:
        """Digest of all that decides the plan: samples, seed and batch geometry."""
        config = self.config
        geometry = [self.num_streams, config.max_batch_seconds, config.max_seconds, self.crop, self.seed]
        geometry += [config.shuffle_hours, CELL_RATIO, self._mixture.counts.tolist()]
        geometry += [2] if self.two_views else []
        digest = hashlib.sha256(json.dumps(geometry).encode())
        for rows in itertools.chain.from_iterable(self._rows):
            digest.update(self._corpus.key_hashes[rows].tobytes())
            digest.update(self._corpus.num_samples[rows].tobytes())
        return digest.hexdigest()


class SourcePasses:
    """One stream's passes over its part of one source.

    The part is cut into windows of neighbouring samples. An epoch takes the windows in a new order, and the batches of
    a window, one window after the other, so that few shards are read at a time. Epochs take turns among the cuts into
    batches.

    Args:
        rows: the part, as rows of the corpus, (N,).
        lengths: what each takes up in a batch, rounded to cells, (N,).
        max_samples: limit on a batch.
        window_samples: audio samples of a window.
        seed: of the order.
        key: of the part, its stream and source.
    """

    def __init__(
        self,
        rows: np.ndarray,
        lengths: np.ndarray,
        max_samples: float,
        window_samples: float,
        seed: int,
        key: tuple[int, ...],
    ) -> None:
        self._rows = rows
        self._lengths = lengths
        self._seed = seed
        self._key = key
        num_windows = min(len(rows), max(1, round(int(lengths.sum()) / window_samples)))
        self._bounds = np.linspace(0, len(rows), num_windows + 1).astype(int)
        counts = [count_lengths(lengths[start:end]) for start, end in itertools.pairwise(self._bounds)]
        self._sizes = [[cut_sizes(window, max_samples, cut) for window in counts] for cut in range(NUM_CUTS)]
        self._num_batches = np.array([[len(sizes) for sizes in cut] for cut in self._sizes])  # (cuts, windows)
        self._order: tuple[int, np.ndarray, np.ndarray] | None = None  # epoch, windows in order, where each ends
        self._filled: tuple[int, int, list[np.ndarray]] | None = None  # epoch, window, its batches

    def locate(self, number: int) -> Position:
        """Where the stream's micro-batch of a number, counted from 0, stands."""
        rounds, within = divmod(number, int(self._num_batches.sum()))
        ends = np.cumsum(self._num_batches.sum(1))
        cut = int(np.searchsorted(ends, within, side="right"))
        epoch, within = rounds * NUM_CUTS + cut, within - int(ends[cut - 1] if cut else 0)
        if self._order is None or self._order[0] != epoch:
            order = numpy_generator(self._seed, Purpose.ORDER, *self._key, epoch).permutation(
                self._num_batches.shape[1]
            )
            self._order = (epoch, order, np.cumsum(self._num_batches[cut][order]))
        _, order, ends = self._order
        place = int(np.searchsorted(ends, within, side="right"))
        return Position(epoch, int(order[place]), within - int(ends[place - 1] if place else 0))

    def num_left(self, position: Position) -> int:
        """Micro-batches of a window from a position on."""
        return int(self._num_batches[position.epoch % NUM_CUTS, position.window]) - position.batch

    def rows_in(self, window: int) -> np.ndarray:
        """Rows of the corpus in a window."""
        return self._rows[self._bounds[window] : self._bounds[window + 1]]

    def rows_of(self, position: Position) -> np.ndarray:
        """Rows of the corpus in a micro-batch."""
        epoch, window, batch = position
        if self._filled is None or self._filled[:2] != (epoch, window):
            start, end = self._bounds[window], self._bounds[window + 1]
            rng = numpy_generator(self._seed, Purpose.ORDER, *self._key, epoch, window)
            batches = fill_batches(self._lengths[start:end], self._sizes[epoch % NUM_CUTS][window], rng)
            self._filled = (epoch, window, [start + batches[i] for i in rng.permutation(len(batches))])
        return self._rows[self._filled[2][batch]]


class Mixture:
    """Which source gives a stream's micro-batch of an update.

    In each cycle of updates every source has its share exactly, in an order drawn anew; so the number of micro-batches
    that a source has given before is known without counting them.

    Args:
        shares: of the micro-batches, one per source, summing to 1.
        seed: of the order.
    """

    def __init__(self, shares: np.ndarray, seed: int) -> None:
        self._seed = seed
        exact = shares * MIXTURE_CYCLE
        self.counts = np.floor(exact).astype(int)
        largest_rests = np.argsort(self.counts - exact, kind="stable")[: MIXTURE_CYCLE - self.counts.sum()]
        self.counts[largest_rests] += 1
        # However small its share, a source is heard: it takes its turn from those that have the most.
        for source in np.flatnonzero(self.counts == 0):
            self.counts[source] += 1
            self.counts[np.argmax(self.counts)] -= 1
        self._cycles: dict[int, tuple[int, np.ndarray, np.ndarray]] = {}

    def locate(self, stream: int, update: int) -> tuple[int, int]:
        """The source of a micro-batch, and its number among those that the source gives the stream."""
        if len(self.counts) == 1:
            return 0, update
        cycle, place = divmod(update, MIXTURE_CYCLE)
        if stream not in self._cycles or self._cycles[stream][0] != cycle:
            rng = numpy_generator(self._seed, Purpose.MIXTURE, stream, cycle)
            sources = rng.permutation(np.repeat(np.arange(len(self.counts)), self.counts))
            earlier = (sources[:, None] == np.arange(len(self.counts))).cumsum(0) - 1  # (updates, sources)
            self._cycles[stream] = (cycle, sources, earlier)
        _, sources, earlier = self._cycles[stream]
        source = int(sources[place])
        return source, cycle * int(self.counts[source]) + int(earlier[place, source])


def split_sources(corpus: Corpus, chosen: np.ndarray, config: StreamConfig) -> list[np.ndarray]:
    """The chosen rows of each source: one per entry of ``shards`` if they have shares, else one in all.

    Raises:
        DataError: a source with fewer usable samples than streams.
    """
    if not config.source_weights and not config.source_temperature:
        return [chosen]
    source_of = corpus.shard_sources[corpus.shard_numbers[chosen]]
    sources = [chosen[source_of == i] for i in range(len(config.shards))]
    for name, rows in zip(config.shards, sources, strict=True):
        if len(rows) < config.num_streams:
            raise DataError(
                f"{redact(name)}: {len(rows)} samples that no entry before it names, expected at least num_streams "
                f"({config.num_streams}); give more audio or fewer streams"
            )
    return sources


def source_shares(corpus: Corpus, sources: list[np.ndarray], config: StreamConfig) -> np.ndarray:
    """Share of each source in the micro-batches: by weights, or by seconds to the power of 1 / temperature."""
    weights = config.source_weights
    if not weights:
        exponent = 1 / config.source_temperature if config.source_temperature else 1.0
        weights = [float(corpus.num_samples[rows].sum()) ** exponent for rows in sources]
    return np.array(weights) / sum(weights)


def split_evenly(chosen: np.ndarray, num_streams: int) -> list[np.ndarray]:
    """Contiguous parts of nearly equal numbers of samples, so that a stream reads few shards."""
    bounds = np.linspace(0, len(chosen), num_streams + 1).astype(int)
    return [chosen[start:end] for start, end in itertools.pairwise(bounds)]


def draw_two(num_samples: int, length: int, rng: np.random.Generator) -> tuple[int, int]:
    """Where two parts of a length begin in a sample: anywhere side by side, or else at its two ends."""
    spare = num_samples - 2 * length
    if spare < 0:
        return 0, num_samples - length
    first, second = np.sort(rng.integers(0, spare + 1, size=2))
    return int(first), int(second) + length


def epoch_batches(corpus: Corpus, max_batch_seconds: float) -> list[BatchSpec]:
    """One pass over whole samples, longest first, for evaluation."""
    lengths = round_up(corpus.num_samples)
    batches = fill_batches(lengths, cut_sizes(count_lengths(lengths), max_batch_seconds * corpus.sample_rate))
    return [whole_samples(tuple(corpus[i] for i in chosen)) for chosen in reversed(batches)]


def whole_samples(refs: tuple[SampleRef, ...]) -> BatchSpec:
    """Batch of samples from end to end, padded to the edge of the longest one's cell."""
    num_samples = tuple(ref.num_samples for ref in refs)
    return BatchSpec(refs, (0,) * len(refs), num_samples, int(round_up(np.array(num_samples)).max()))
