"""The plan of micro-batches: exact, complete, elastic."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl.config import StreamConfig
from speechssl.data.batches import BatchLoader
from speechssl.data.corpus import Corpus, join, read_corpus
from speechssl.data.index import ShardIndex, StringColumn, key_hash
from speechssl.data.streams import BatchSpec, StreamPlan, epoch_batches
from speechssl.errors import DataError

RATE = 100


def corpus(lengths: list[int], num_shards: int = 1) -> Corpus:
    shards = [list(enumerate(lengths))[s::num_shards] for s in range(num_shards)]
    return join([made_index(f"s{s}", shard) for s, shard in enumerate(shards)])


def made_index(name: str, samples: list[tuple[int, int]]) -> ShardIndex:
    """Index of a shard that does not exist, of samples given by number and length."""
    keys = [f"k{i}" for i, _ in samples]
    return ShardIndex(
        Path(name),
        RATE,
        0,
        "",
        offsets=np.zeros(len(keys), np.int64),
        sizes=np.zeros(len(keys), np.int64),
        num_samples=np.array([n for _, n in samples], np.int64),
        checksums=np.zeros(len(keys), np.uint32),
        key_hashes=np.array([key_hash(key) for key in keys], np.uint64),
        keys=StringColumn.of(keys),
        texts=None,
    )


def one_epoch(plan: StreamPlan, stream: int, epoch: int = 0) -> list[BatchSpec]:
    specs, update = [], 0
    while plan.epoch(update, stream) <= epoch:
        if plan.epoch(update, stream) == epoch:
            specs.append(plan.batch(update, stream))
        update += 1
    return specs


@pytest.mark.parametrize("num_streams", [1, 2, 3, 7])
@pytest.mark.parametrize("num_shards", [1, 2, 5])
@pytest.mark.parametrize("crop", [False, True])
def test_every_utterance_exactly_once_per_epoch(num_streams: int, num_shards: int, crop: bool) -> None:
    data = corpus([50 + 7 * i % 300 for i in range(41)], num_shards)
    plan = StreamPlan(data, StreamConfig(num_streams=num_streams, max_batch_seconds=10), seed=3, crop=crop)
    for epoch in range(3):
        seen = Counter(ref.key for s in range(num_streams) for spec in one_epoch(plan, s, epoch) for ref in spec.refs)
        assert seen == Counter(ref.key for ref in data)


def test_padded_batches_stay_within_the_limit() -> None:
    plan = StreamPlan(corpus(list(range(50, 900, 13))), StreamConfig(max_batch_seconds=20), seed=0, crop=False)
    for spec in one_epoch(plan, 0):
        assert max(spec.num_samples) <= spec.padded_samples
        assert len(spec.refs) * spec.padded_samples <= 20 * RATE


def test_padded_batches_have_few_lengths() -> None:
    data = corpus(list(range(50, 900, 7)))
    specs = one_epoch(StreamPlan(data, StreamConfig(max_batch_seconds=30), seed=0, crop=False), 0)
    specs += epoch_batches(data, 30)
    assert all(spec.padded_samples % 25 == 0 for spec in specs)
    assert all(spec.padded_samples - max(spec.num_samples) < 25 for spec in specs)


def test_crops_are_equal_in_length_and_inside_their_samples() -> None:
    config = StreamConfig(max_batch_seconds=20, max_seconds=3)
    plan = StreamPlan(corpus(list(range(100, 900, 13))), config, seed=0, crop=True)
    starts = set()
    for spec in one_epoch(plan, 0):
        assert len(set(spec.num_samples)) == 1
        assert spec.num_samples[0] <= 3 * RATE
        for ref, start, length in zip(spec.refs, spec.starts, spec.num_samples, strict=True):
            assert 0 <= start <= ref.num_samples - length
            starts.add(start)
    assert len(starts) > 10


def test_crops_have_few_lengths_and_lose_little() -> None:
    data = corpus(list(range(100, 900, 7)))
    specs = one_epoch(StreamPlan(data, StreamConfig(max_batch_seconds=30), seed=0, crop=True), 0)
    assert all(spec.num_samples[0] % 25 == 0 for spec in specs)
    kept = sum(sum(spec.num_samples) for spec in specs) / data.num_samples.sum()
    assert kept > 0.85


def test_plan_is_a_function_of_seed_and_update_alone() -> None:
    data = corpus(list(range(50, 450, 9)))
    config = StreamConfig(num_streams=2, max_batch_seconds=15)
    straight = StreamPlan(data, config, seed=5, crop=True)
    trace = [straight.batch(update, stream) for update in range(40) for stream in range(2)]
    resumed = StreamPlan(data, config, seed=5, crop=True)
    assert resumed.batch(37, 1) == trace[37 * 2 + 1]
    assert resumed.batch(4, 0) == trace[4 * 2]
    other = StreamPlan(data, config, seed=6, crop=True)
    assert [other.batch(u, s) for u in range(40) for s in range(2)] != trace


def test_epochs_differ_in_order_and_in_batches() -> None:
    plan = StreamPlan(corpus(list(range(50, 450, 4))), StreamConfig(max_batch_seconds=15), seed=0, crop=False)
    first = [{ref.key for ref in spec.refs} for spec in one_epoch(plan, 0, 0)]
    second = [{ref.key for ref in spec.refs} for spec in one_epoch(plan, 0, 1)]
    assert sum(batch in second for batch in first) < len(first) / 2


def test_fingerprint_tells_data_seed_and_geometry_apart() -> None:
    base = {"seed": 0, "crop": True}
    same = StreamPlan(corpus([100, 200]), StreamConfig(), **base).fingerprint
    assert StreamPlan(corpus([100, 200]), StreamConfig(num_workers=5), **base).fingerprint == same
    assert StreamPlan(corpus([100, 201]), StreamConfig(), **base).fingerprint != same
    assert StreamPlan(corpus([100, 200]), StreamConfig(max_batch_seconds=50), **base).fingerprint != same
    assert StreamPlan(corpus([100, 200]), StreamConfig(), seed=1, crop=True).fingerprint != same


def test_short_and_long_samples_are_left_out_and_counted() -> None:
    data = corpus([10, 100, 100, 900])
    plan = StreamPlan(data, StreamConfig(min_seconds=0.5, max_seconds=5), seed=0, crop=False)
    assert (plan.num_too_short, plan.num_too_long) == (1, 1)
    assert StreamPlan(data, StreamConfig(min_seconds=0.5, max_seconds=5), seed=0, crop=True).num_too_long == 0


def test_impossible_plans_say_what_to_do() -> None:
    with pytest.raises(DataError, match=r"expected at least num_streams \(3\)"):
        StreamPlan(corpus([100, 100]), StreamConfig(num_streams=3), seed=0, crop=True)
    with pytest.raises(DataError, match=r"k1 lasts 9\.0 s, more than a whole batch"):
        StreamPlan(corpus([100, 900]), StreamConfig(max_batch_seconds=5), seed=0, crop=False)


def test_evaluation_pass_covers_everything_once() -> None:
    data = corpus([30, 500, 20, 410, 77])
    specs = epoch_batches(data, 6)
    assert sorted(ref.key for spec in specs for ref in spec.refs) == sorted(ref.key for ref in data)


def test_workers_and_ranks_do_not_change_the_batches(shards: Path) -> None:
    data = read_corpus([str(shards)])
    plan = StreamPlan(data, StreamConfig(num_streams=2, max_batch_seconds=4), seed=0, crop=True)

    def load(streams: list[int], num_workers: int, start: int = 0) -> list[list[torch.Tensor]]:
        loader = BatchLoader(plan, streams, start_update=start, max_updates=9, num_workers=num_workers)
        return [[batch.audio for batch in batches] for batches in loader]

    together = load([0, 1], 0)
    assert len(together) == 9
    for num_workers in (1, 3):
        for one, other in zip(together, load([0, 1], num_workers), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    for stream in (0, 1):
        alone = load([stream], 2, start=4)
        assert all(torch.equal(a[0], b[stream]) for a, b in zip(alone, together[4:], strict=True))


def test_a_damaged_sample_stops_the_loader_with_its_name(shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "shards"
    copy.mkdir()
    for path in shards.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    data = read_corpus([str(copy)])
    victim = data[3]
    content = bytearray(Path(victim.shard).read_bytes())
    content[victim.offset + 600 : victim.offset + 4000] = bytes(3400)
    Path(victim.shard).write_bytes(content)
    plan = StreamPlan(data, StreamConfig(max_batch_seconds=4), seed=0, crop=True)
    loader = BatchLoader(plan, [0], start_update=0, max_updates=20, num_workers=2)
    with pytest.raises(DataError, match=victim.key):
        list(loader)
