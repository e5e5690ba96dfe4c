"""Shards as pools of recordings that augmentation draws from (``AudioPool`` in ``audio/augmentation.py``)."""

from collections.abc import Sequence

from speechssl.audio.reading import Samples
from speechssl.audio.resampling import resample
from speechssl.data.array_cache import ArrayCache
from speechssl.data.corpus import Corpus, read_corpus
from speechssl.data.reading import read_sample_audio
from speechssl.remote.store import ShardStore


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
