"""Shards as pools that augmentation draws from."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import RATE, write_corpus
from shards_to_verify import read_sample

from speechssl.audio.augmentation import Augmenter
from speechssl.config import AugmentationConfig, NoiseConfig, ShardConfig
from speechssl.data import augmented
from speechssl.data.augmented import CorpusPool, read_pool
from speechssl.data.corpus import Corpus, SampleRef, read_corpus
from speechssl.data.samples import read_sample_audio
from speechssl.errors import DataError
from speechssl.verbs import shard as ingest


@pytest.fixture
def corpus(shards: Path) -> Corpus:
    return read_corpus([str(shards)])


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys in the order in which they are decoded."""
    keys = []

    def counted(ref: SampleRef, sample_rate: int) -> np.ndarray:
        keys.append(ref.key)
        return read_sample_audio(ref, sample_rate)

    monkeypatch.setattr(augmented, "read_sample_audio", counted)
    return keys


def test_the_samples_of_a_corpus(corpus: Corpus) -> None:
    pool = CorpusPool(corpus, RATE)
    assert len(pool) == len(corpus) == 24
    for i in (0, 23, 5):
        np.testing.assert_array_equal(pool.audio(i), read_sample(corpus[i], RATE).audio)


def test_another_rate_is_resampled(corpus: Corpus) -> None:
    audio = CorpusPool(corpus, 8000).audio(3)
    original = read_sample(corpus[3], RATE).audio
    assert audio.dtype == np.float32
    assert len(audio) == len(original) // 2
    # Half of the power of white noise lies in the half of the band that is left.
    assert np.mean(audio**2) == pytest.approx(np.mean(original**2) / 2, rel=0.1)


def test_recent_samples_stay_decoded_within_the_limit(corpus: Corpus, reads: list[str]) -> None:
    bytes_of = 4 * corpus.num_samples.astype(float)
    pool = CorpusPool(corpus, RATE, max_cached_megabytes=(bytes_of[0] + bytes_of[2] + 1) / 1e6)
    for i in (0, 1, 0, 0, 1):
        pool.audio(i)
    assert len(reads) == 2
    pool.audio(0)
    pool.audio(2)  # 1 was used least recently, and goes
    pool.audio(0)
    assert len(reads) == 3
    pool.audio(1)
    assert len(reads) == 4


def test_what_exceeds_the_limit_is_not_kept_and_drives_nothing_out(corpus: Corpus, reads: list[str]) -> None:
    pool = CorpusPool(corpus, RATE, max_cached_megabytes=4 * float(corpus.num_samples[0]) / 1e6)
    for i in (0, 23, 23, 0):
        pool.audio(i)
    assert reads == [corpus[0].key, corpus[23].key, corpus[23].key]


def test_threads_get_the_same(corpus: Corpus) -> None:
    pool = CorpusPool(corpus, RATE, max_cached_megabytes=0.2)
    wanted = [i % 6 for i in range(60)]
    with ThreadPoolExecutor(4) as threads:
        for i, audio in zip(wanted, threads.map(pool.audio, wanted), strict=True):
            assert len(audio) == corpus.num_samples[i]
    assert pool._cache._num_bytes == sum(audio.nbytes for audio in pool._cache._arrays.values()) <= 0.2e6


def test_nobody_can_write_to_what_is_shared(corpus: Corpus) -> None:
    for rate in (RATE, 8000):
        with pytest.raises(ValueError, match="read-only"):
            CorpusPool(corpus, rate).audio(0)[0] = 1


def test_pools_by_patterns(shards: Path) -> None:
    assert read_pool([], RATE) is None
    pool = read_pool([str(shards)], RATE)
    assert pool is not None
    assert len(pool) == 24
    with pytest.raises(DataError, match="nowhere: no shards here"):
        read_pool([str(shards / "nowhere")], RATE)


def test_damaged_recordings_are_named(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000])
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "out"))
    pool = CorpusPool(read_corpus([str(tmp_path / "out")]), RATE)
    shard = tmp_path / "out" / "shard-000000.tar"
    content = bytearray(shard.read_bytes())
    content[2000] ^= 255
    shard.write_bytes(content)
    with pytest.raises(DataError, match=r"shard-000000\.tar: u000"):
        pool.audio(0)


def test_augmentation_takes_them(corpus: Corpus) -> None:
    audio = read_sample(corpus[0], RATE).audio
    config = AugmentationConfig(noise=NoiseConfig(1.0, snr_db=(10, 10)))
    noisy = Augmenter(config, RATE, noise=CorpusPool(corpus, RATE)).augment(audio, np.random.default_rng(0))
    assert 10 * np.log10(np.mean(audio**2) / np.mean((noisy - audio) ** 2)) == pytest.approx(10, abs=0.2)
