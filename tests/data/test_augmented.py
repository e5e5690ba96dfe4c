"""Augmented micro-batches: the same on any number of processes, and clean targets beside noisy input."""

import shutil
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


def two_views(corpus: Corpus, config: AugmentationConfig, *, workers: int = 0, start: int = 0) -> list[Batch]:
    streams = StreamConfig(num_streams=2, max_batch_seconds=4, max_seconds=0.4, max_bad_share=0.5)
    plan = StreamPlan(corpus, streams, seed=1, crop=True, two_views=True)
    augment = make_augmenter(config, corpus, 1)
    loader = BatchLoader(plan, [0, 1], start_update=start, max_updates=6, num_workers=workers, augment=augment)
    return [batch for batches in loader for batch in batches]


def second_of(batch: Batch) -> torch.Tensor:
    assert batch.second is not None
    return batch.second


def test_two_views_are_augmented_each_by_itself_at_one_speed(corpus: Corpus) -> None:
    noise = AugmentationConfig(noise=NoiseConfig(prob=1.0))
    for plain, noisy in zip(two_views(corpus, AugmentationConfig()), two_views(corpus, noise), strict=True):
        one, other = noisy.audio - plain.audio, second_of(noisy) - second_of(plain)
        assert (one.abs().amax(1) > 0).all()
        assert (other.abs().amax(1) > 0).all()
        both = torch.nn.functional.cosine_similarity(one, other)
        assert both.abs().max() < 0.5  # two noises, not one at two levels
    fast = AugmentationConfig(speed=SpeedConfig(prob=0.5, factors=[0.8]))
    shapes = {(batch.audio.shape == second_of(batch).shape, batch.audio.shape[1]) for batch in two_views(corpus, fast)}
    assert all(same for same, _ in shapes)
    assert len(shapes) > 1


def test_two_views_do_not_depend_on_workers_or_resuming(corpus: Corpus) -> None:
    together = two_views(corpus, EVERYTHING)
    for one, other in zip(two_views(corpus, EVERYTHING, workers=3, start=2), together[4:], strict=True):
        assert torch.equal(one.audio, other.audio)
        assert torch.equal(second_of(one), second_of(other))


def test_a_damaged_sample_is_missing_from_both_views(shards: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(shards, tmp_path / "shards")
    shard = min(copied.glob("*.tar"))
    content = bytearray(shard.read_bytes())
    first = content.index(b"fLaC")
    content[first : first + 400] = bytes(400)
    shard.write_bytes(content)
    batches = two_views(read_corpus([str(copied)]), AugmentationConfig())
    whole = two_views(read_corpus([str(shards)]), AugmentationConfig())
    missing = {key for batch in whole for key in batch.keys} - {key for batch in batches for key in batch.keys}
    assert len(missing) == 1
    assert all(batch.audio.shape == second_of(batch).shape for batch in batches)
