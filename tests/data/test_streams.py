"""The plan of micro-batches: exact, complete, elastic."""

import itertools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechssl.config import StreamConfig
from speechssl.config.limits import check
from speechssl.data.batches import Batch, BatchLoader
from speechssl.data.corpus import Corpus, SampleRef, join, read_corpus
from speechssl.data.streams import (
    MIXTURE_CYCLE,
    BatchSpec,
    Mixture,
    StreamPlan,
    epoch_batches,
    source_shares,
    split_sources,
)
from speechssl.errors import ConfigError, DataError
from speechssl.shards.index import ShardIndex
from speechssl.shards.table import SampleEntry, columns_of_entries

RATE = 100


def corpus(lengths: list[int], num_shards: int = 1) -> Corpus:
    shards = [list(enumerate(lengths))[s::num_shards] for s in range(num_shards)]
    return join([made_index(f"s{s}", shard) for s, shard in enumerate(shards)])


def made_index(name: str, samples: list[tuple[int, int]]) -> ShardIndex:
    """Index of a shard that does not exist, of samples given by number and length."""
    entries = [
        SampleEntry(key=f"k{i}", offset=0, size=0, num_samples=length, audio_start=0, audio_size=0, checksum=0)
        for i, length in samples
    ]
    columns = columns_of_entries(entries) | {"texts": None, "speakers": None, "languages": None}
    return ShardIndex(shard=Path(name), sample_rate=RATE, shard_bytes=0, sha256="", **columns)


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


def test_shapes_come_again_after_every_cut_had_its_turn() -> None:
    for crop in (False, True):
        plan = StreamPlan(corpus(list(range(50, 900, 3))), StreamConfig(max_batch_seconds=30), seed=0, crop=crop)
        shapes = [Counter((len(s.refs), s.padded_samples) for s in one_epoch(plan, 0, epoch)) for epoch in range(8)]
        assert shapes[:4] == shapes[4:]


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


def test_crops_lose_little_and_are_never_too_short() -> None:
    data = corpus(list(range(100, 900, 7)))
    plan = StreamPlan(data, StreamConfig(max_batch_seconds=30, min_seconds=1), seed=0, crop=True)
    specs = one_epoch(plan, 0)
    assert min(spec.padded_samples for spec in specs) >= RATE
    assert sum(sum(spec.num_samples) for spec in specs) / data.num_samples.sum() > 0.93


def test_any_update_is_found_without_those_before() -> None:
    data = corpus([50 + 7 * i % 300 for i in range(41)])
    plan = StreamPlan(data, StreamConfig(num_streams=2, max_batch_seconds=10), seed=0, crop=False)
    with_replay = StreamPlan(data, StreamConfig(num_streams=2, max_batch_seconds=10), seed=0, crop=False)
    trace = [with_replay.batch(update, 1) for update in range(500)]
    assert plan.batch(499, 1) == trace[499]
    assert plan.batch(10**12, 1).refs


def test_windows_are_read_one_after_the_other_in_a_new_order_each_epoch() -> None:
    data = corpus([100 + i % 50 for i in range(300)])
    config = StreamConfig(max_batch_seconds=5, shuffle_hours=60 / 3600)
    plan = StreamPlan(data, config, seed=0, crop=False)
    orders = []
    for epoch in range(4):
        rows = [int(ref.key[1:]) for spec in one_epoch(plan, 0, epoch) for ref in spec.refs]
        assert sorted(rows) == list(range(300))
        windows = [row * 6 // 300 for row in rows]  # 373 s of audio in windows of about a minute
        order = [window for window, _ in itertools.groupby(windows)]
        assert sorted(order) == list(range(6))
        orders.append(order)
    assert len({tuple(order) for order in orders}) > 1


def test_sources_have_their_shares_and_keep_their_own_epochs() -> None:
    data = join(
        [made_index("a", [(i, 100) for i in range(90)]), made_index("b", [(90 + i, 100) for i in range(10)])], [0, 1]
    )
    config = StreamConfig(shards=["a", "b"], max_batch_seconds=2.1, source_weights=[1, 3], num_streams=2)
    plan = StreamPlan(data, config, seed=0, crop=False)
    seen: Counter[str] = Counter()
    for update in range(2000):
        seen.update(ref.key for ref in plan.batch(update, 1).refs)
    rare, frequent = sum(seen[f"k{i}"] for i in range(90)), sum(seen[f"k{i}"] for i in range(90, 100))
    # Of the part of 5 samples, batches hold 2, 2 and 1.
    assert frequent == pytest.approx(1500 * 5 / 3, abs=2)
    assert rare == pytest.approx(500 * 45 / 23, abs=2)
    again = StreamPlan(data, config, seed=0, crop=False)
    assert again.batch(1777, 1) == plan.batch(1777, 1)
    assert max(seen[f"k{i}"] for i in range(95, 100)) - min(seen[f"k{i}"] for i in range(95, 100)) <= 1


def test_temperature_evens_out_the_hours() -> None:
    data = join(
        [made_index("a", [(i, 100) for i in range(160)]), made_index("b", [(160 + i, 100) for i in range(10)])], [0, 1]
    )
    for temperature, share in ((1, 10 / 170), (2, 1 / 5), (1000, 0.5)):
        config = StreamConfig(shards=["a", "b"], source_temperature=temperature)
        sources = split_sources(data, np.arange(170), config)
        assert source_shares(data, sources, config)[1] == pytest.approx(share, abs=0.002)


@pytest.mark.parametrize("shares", [[1, 3000], [1, 1999, 1], [1e-9, 1, 1, 1]])
def test_a_source_is_heard_however_small_its_share(shares: list[float]) -> None:
    counts = Mixture(np.array(shares) / sum(shares), 0).counts
    assert counts.sum() == MIXTURE_CYCLE
    assert counts.min() == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source_weights": [1.0]}, "source_weights has 1 numbers for 2 entries"),
        ({"source_weights": [1.0, 0.0]}, "source_weights holds 0, expected more than 0"),
        ({"source_temperature": 0.5}, "1 or more"),
        ({"source_weights": [1.0, 1.0], "source_temperature": 2}, "give one of them"),
    ],
)
def test_senseless_shares_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(StreamConfig(shards=["a", "b"], **options))


def test_a_source_smaller_than_the_streams_is_named() -> None:
    data = join([made_index("a", [(0, 100), (1, 100)]), made_index("b", [(2, 100)])], [0, 1])
    with pytest.raises(DataError, match="b: 1 samples that no entry before it names"):
        StreamPlan(data, StreamConfig(shards=["a", "b"], source_temperature=1, num_streams=2), seed=0, crop=True)


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


@pytest.fixture
def damaged(shards: Path, tmp_path: Path) -> tuple[Corpus, SampleRef]:
    """The shards with one damaged sample."""
    shutil.copytree(shards, tmp_path / "shards")
    data = read_corpus([str(tmp_path / "shards")])
    victim = data[3]
    content = bytearray(Path(victim.shard).read_bytes())
    content[victim.offset + 600 : victim.offset + 4000] = bytes(3400)
    Path(victim.shard).write_bytes(content)
    return data, victim


def load_all(data: Corpus, config: StreamConfig) -> tuple[list[Batch], BatchLoader]:
    plan = StreamPlan(data, config, seed=0, crop=True)
    loader = BatchLoader(plan, [0], start_update=0, max_updates=20, num_workers=2)
    return [batch for batches in loader for batch in batches], loader


def test_a_damaged_sample_stops_the_loader_with_its_name(damaged: tuple[Corpus, SampleRef]) -> None:
    data, victim = damaged
    with pytest.raises(DataError, match=f"{victim.key}: .* are not the .* that were indexed"):
        load_all(data, StreamConfig(max_batch_seconds=4))


def test_a_bounded_share_of_damaged_samples_is_left_out_and_counted(
    damaged: tuple[Corpus, SampleRef], caplog: pytest.LogCaptureFixture
) -> None:
    data, victim = damaged
    batches, loader = load_all(data, StreamConfig(max_batch_seconds=4, max_bad_share=1 / 24))
    whole, _ = load_all(data.subset(np.delete(np.arange(24), 3)), StreamConfig(max_batch_seconds=4))
    assert list(loader.quarantine.problems) == [victim.key]
    assert {key for batch in batches for key in batch.keys} == {key for batch in whole for key in batch.keys}
    assert all(len(batch.keys) == len(batch.audio) == len(batch.texts) for batch in batches)
    assert caplog.text.count("left out (1 of at most 1)") == 1


def test_more_damage_than_allowed_is_named(damaged: tuple[Corpus, SampleRef]) -> None:
    data, _ = damaged
    Path(data.shards[-1]).unlink()
    # Threads that read ahead may have found more than the first that was too many.
    told = r"(?s)([3-9]|\d\d) of 24 samples of this process are damaged, max_bad_share allows 2:"
    with pytest.raises(DataError, match=told):
        load_all(data, StreamConfig(max_batch_seconds=2, max_bad_share=2 / 24))


def test_silence_stands_in_for_a_batch_of_damaged_samples(damaged: tuple[Corpus, SampleRef]) -> None:
    data, victim = damaged
    alone = data.subset(np.array([3]))
    batches, _ = load_all(alone, StreamConfig(max_batch_seconds=2, max_bad_share=1))
    assert len(batches) == 20
    assert all(batch.keys == [victim.key] and batch.texts == [None] for batch in batches)
    assert all(len(batch.audio) == 1 and not batch.audio.any() for batch in batches)


def test_two_views_lie_side_by_side_where_there_is_room() -> None:
    config = StreamConfig(max_batch_seconds=12, max_seconds=2)
    plan = StreamPlan(corpus(list(range(210, 900, 13))), config, seed=0, crop=True, two_views=True)
    seen, orders = [], set()
    for spec in one_epoch(plan, 0):
        assert spec.second_starts is not None
        assert 2 * len(spec.refs) * spec.padded_samples <= 12 * RATE
        for ref, first, second, length in zip(
            spec.refs, spec.starts, spec.second_starts, spec.num_samples, strict=True
        ):
            assert 0 <= first <= second <= ref.num_samples - length
            apart = second - first
            assert apart >= length if ref.num_samples >= 2 * length else apart == ref.num_samples - length
            seen.append(ref.key)
            orders.add((first, second))
    assert len(seen) == len(set(seen)) == plan.num_samples
    assert len(orders) > len(seen) / 2


def test_two_views_are_another_plan_and_need_twice_the_room() -> None:
    data, config = corpus([300, 400]), StreamConfig(max_batch_seconds=7)
    one = StreamPlan(data, config, seed=0, crop=True)
    with pytest.raises(DataError, match=r"k1 has two views of 4\.0 s, more than a whole batch"):
        StreamPlan(data, config, seed=0, crop=True, two_views=True)
    shorter = StreamConfig(max_batch_seconds=7, max_seconds=3)
    assert StreamPlan(data, shorter, seed=0, crop=True, two_views=True).fingerprint != one.fingerprint
