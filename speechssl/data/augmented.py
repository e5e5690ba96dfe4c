"""Micro-batches with augmentation: what is drawn is a pure function of (seed, update, stream, key)."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from speechssl.audio.augmentation import Augmenter
from speechssl.audio.reading import Samples
from speechssl.audio.resampling import resample
from speechssl.config import AugmentationConfig
from speechssl.data.array_cache import ArrayCache
from speechssl.data.batches import Batch
from speechssl.data.corpus import Corpus, read_corpus
from speechssl.data.samples import read_sample_audio
from speechssl.remote.store import ShardStore
from speechssl.seeding import Purpose, numpy_generator
from speechssl.shards.table import key_hash

logger = logging.getLogger(__name__)


class BatchAugmenter:
    """Augments micro-batches; the speed is drawn for all of a micro-batch, everything else for each sample.

    Args:
        augmenter: the stages.
        seed: of the run.
        keeps_clean: also keep the audio as it was, at the drawn speed, for targets that do not hear the noise.
        pools: recordings that stages draw from, by their number in them.
    """

    def __init__(
        self, augmenter: Augmenter, seed: int, *, keeps_clean: bool, pools: Mapping[str, Corpus] | None = None
    ) -> None:
        self.pools = dict(pools or {})
        self._augmenter = augmenter
        self._seed = seed
        self._keeps_clean = keeps_clean

    def __call__(self, batch: Batch, update: int) -> Batch:
        """The micro-batch of an update, counted from 0, as it is heard."""
        fast, heard = self._hear(batch, batch.audio, update, Purpose.AUGMENTATION)
        padded = round(batch.audio.shape[1] * len(fast[0]) / int(batch.lengths[0]))
        padded = max(padded, *(len(row) for row in fast))
        second = None
        if batch.second is not None:
            second = pad(self._hear(batch, batch.second, update, Purpose.SECOND_VIEW)[1], padded)
        return batch._replace(
            audio=pad(heard, padded),
            lengths=torch.tensor([len(row) for row in heard], dtype=torch.int64),
            clean=pad(fast, padded) if self._keeps_clean else None,
            second=second,
        )

    def _hear(
        self, batch: Batch, audio: torch.Tensor, update: int, purpose: Purpose
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Rows of (B, S) at the drawn speed, and what is then heard of them."""
        rows = [row[:length].numpy() for row, length in zip(audio, batch.lengths.tolist(), strict=True)]
        where = (batch.stream, update)
        fast = [self._augmenter.change_speed(row, numpy_generator(self._seed, Purpose.SPEED, *where)) for row in rows]
        heard = [
            self._augmenter.augment(row, numpy_generator(self._seed, purpose, *where, key_hash(key)))
            for key, row in zip(batch.keys, fast, strict=True)
        ]
        return fast, heard


def pad(rows: list[np.ndarray], num_samples: int) -> torch.Tensor:
    """Rows of float32 (S,) as one tensor, zeros behind each, (B, num_samples)."""
    audio = torch.zeros(len(rows), num_samples)
    for target, row in zip(audio, rows, strict=True):
        target[: len(row)] = torch.from_numpy(row)
    return audio


def is_active(config: AugmentationConfig) -> bool:
    """Whether any stage may be drawn."""
    return any(stage.prob > 0 for stage in vars(config).values())


def make_augmenter(
    config: AugmentationConfig,
    corpus: Corpus,
    seed: int,
    *,
    store: ShardStore | None = None,
    keeps_clean: bool = False,
) -> BatchAugmenter | None:
    """Augmenter of a run; None if no stage is on. Without ``speech.shards``, other voices are those trained on.

    ``store`` reads shards from elsewhere.

    Raises:
        ConfigError: a stage that cannot work.
        DataError: its shards are missing or damaged.
    """
    if not is_active(config):
        return None
    rate = corpus.sample_rate
    speech = read_pool(config.speech.shards, rate, store) if config.speech.prob > 0 else None
    if config.speech.prob > 0 and speech is None:
        speech = CorpusPool(corpus, rate)
        if corpus.store is not None:
            logger.warning(
                "augmentation.speech draws from all training shards, of which some are elsewhere: each draw may fetch "
                "one. Give it shards of its own (augmentation.speech.shards)"
            )
    noise = read_pool(config.noise.shards, rate, store) if config.noise.prob > 0 else None
    responses = read_pool(config.reverberation.shards, rate, store) if config.reverberation.prob > 0 else None
    augmenter = Augmenter(config, rate, noise=noise, speech=speech, responses=responses)
    named = {"speech": speech, "noise": noise, "reverberation": responses}
    pools = {stage: pool.corpus for stage, pool in named.items() if pool is not None}
    return BatchAugmenter(augmenter, seed, keeps_clean=keeps_clean, pools=pools)


def fastest(config: AugmentationConfig) -> float:
    """Highest factor on the speed that may be drawn, 1 without any."""
    return max([1.0, *config.speed.factors]) if config.speed.prob > 0 else 1.0


class CorpusPool:
    """The samples of a corpus as an ``AudioPool``; those used last stay decoded. Threads may share it.

    Args:
        corpus: recordings.
        sample_rate: wanted rate in Hz; a corpus of another one is resampled.
        max_cached_megabytes: decoded audio to keep; 1 MB holds 16 s at 16 kHz.
    """

    def __init__(self, corpus: Corpus, sample_rate: int, *, max_cached_megabytes: float = 256.0) -> None:
        self.corpus = corpus
        self.sample_rate = sample_rate
        self._cache = ArrayCache(max_cached_megabytes)

    def __len__(self) -> int:
        return len(self.corpus)

    def audio(self, i: int) -> Samples:
        """Recording ``i`` at the wanted rate, float32 (S,), read-only.

        Raises:
            DataError: names shard and key of what is missing or damaged.
        """
        audio = self._cache.get(i)
        if audio is None:
            audio = read_sample_audio(self.corpus[i], self.corpus.sample_rate)
            audio = resample(audio, self.corpus.sample_rate, self.sample_rate)
            audio.flags.writeable = False  # it is shared by all that draw it
            self._cache.add(i, audio)
        return audio


def read_pool(shards: Sequence[str], sample_rate: int, store: ShardStore | None = None) -> CorpusPool | None:
    """Pool of the shards that the patterns name; None if there are none.

    Raises:
        DataError: as ``read_corpus``.
    """
    return CorpusPool(read_corpus(shards, store=store), sample_rate) if shards else None
