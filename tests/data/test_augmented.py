"""Augmented micro-batches: the same on any number of processes, and clean targets beside noisy input."""

from pathlib import Path

import pytest
import torch

from speechssl.config import (
    AugmentationConfig,
    GainConfig,
    NoiseConfig,
    SpeechMixingConfig,
    SpeedConfig,
    StreamConfig,
    TelephoneConfig,
)
from speechssl.data.augmented import fastest, make_augmenter
from speechssl.data.batches import Batch, BatchLoader
from speechssl.data.corpus import Corpus, read_corpus
from speechssl.data.streams import StreamPlan

EVERYTHING = AugmentationConfig(
    speed=SpeedConfig(prob=0.5),
    noise=NoiseConfig(prob=0.7),
    speech=SpeechMixingConfig(prob=0.3),
    telephone=TelephoneConfig(prob=0.3, codings=["pcm", "mulaw"]),
    gain=GainConfig(prob=0.5),
)


@pytest.fixture(scope="module")
def corpus(shards: Path) -> Corpus:
    return read_corpus([str(shards)])


def load(
    corpus: Corpus,
    config: AugmentationConfig,
    streams: list[int],
    *,
    start: int = 0,
    workers: int = 0,
    crop: bool = True,
) -> list[list[Batch]]:
    plan = StreamPlan(corpus, StreamConfig(num_streams=2, max_batch_seconds=4), seed=1, crop=crop)
    augment = make_augmenter(config, corpus, 1, keeps_clean=True)
    return list(BatchLoader(plan, streams, start_update=start, max_updates=8, num_workers=workers, augment=augment))


def test_processes_workers_and_resuming_do_not_change_what_is_heard(corpus: Corpus) -> None:
    together = load(corpus, EVERYTHING, [0, 1])
    for stream in (0, 1):
        alone = load(corpus, EVERYTHING, [stream], start=3, workers=3)
        for one, other in zip(alone, together[3:], strict=True):
            assert torch.equal(one[0].audio, other[stream].audio)
            assert torch.equal(one[0].lengths, other[stream].lengths)


def test_every_pass_over_a_sample_is_heard_differently(corpus: Corpus) -> None:
    config = AugmentationConfig(noise=NoiseConfig(prob=1.0))
    heard: dict[str, list[torch.Tensor]] = {}
    for batches in load(corpus, config, [0, 1], crop=False):
        for batch in batches:
            for key, row, length in zip(batch.keys, batch.audio, batch.lengths.tolist(), strict=True):
                heard.setdefault(key, []).append(row[:length])
    repeated = [rows for rows in heard.values() if len(rows) > 1]
    assert repeated
    assert not any(torch.equal(rows[0], rows[1]) for rows in repeated)


def test_the_clean_audio_is_kept_at_the_same_speed(corpus: Corpus) -> None:
    plain = load(corpus, AugmentationConfig(), [0])
    noisy = load(corpus, AugmentationConfig(noise=NoiseConfig(prob=1.0)), [0])
    for (one,), (other,) in zip(plain, noisy, strict=True):
        assert one.clean is None
        assert other.clean is not None
        assert torch.equal(other.clean, one.audio)
        assert not torch.equal(other.audio, one.audio)
    fast = load(corpus, AugmentationConfig(speed=SpeedConfig(prob=1.0, factors=[1.25])), [0])
    for (one,), (other,) in zip(plain, fast, strict=True):
        assert other.audio.shape[1] == pytest.approx(one.audio.shape[1] / 1.25, abs=2)
        assert other.clean is not None
        assert torch.equal(other.clean, other.audio)
        assert len(set(other.lengths.tolist())) == 1  # crops stay equally long


def test_without_stages_there_is_no_augmenter(corpus: Corpus) -> None:
    assert make_augmenter(AugmentationConfig(), corpus, 0) is None
    assert fastest(AugmentationConfig()) == 1.0
    assert fastest(AugmentationConfig(speed=SpeedConfig(prob=0.1, factors=[0.9, 1.2]))) == 1.2
