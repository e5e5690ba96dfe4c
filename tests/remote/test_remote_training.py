"""Training on shards from elsewhere."""

import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from http_server import Fault, FaultyServer
from remote_site import (
    FIRST,
    load,
    loader_of,
    names_cached,
    new_store,
    opened,
    wait_until,
)
from test_runs import losses, pretrain_config

from speechssl.config import AugmentationConfig, NoiseConfig, ScheduleConfig, SpeechMixingConfig, StreamConfig
from speechssl.data.augmented import make_augmenter
from speechssl.data.corpus import read_corpus
from speechssl.data.streams import StreamPlan
from speechssl.remote.failures import NotFoundError
from speechssl.remote.store import ShardStore
from speechssl.verbs import pretrain


def test_batches_are_bit_equal_to_those_of_local_shards(folder: Path, server: FaultyServer, store: ShardStore) -> None:
    local = load(read_corpus([str(folder)]))
    server.script[FIRST] = [Fault(status=503)]
    for num_workers in (0, 2):
        remote = load(opened(server, store), num_workers=num_workers, shuffle_hours=4 / 3600)
        assert len(remote) == 9
    remote = load(opened(server, store))
    for ones, others in zip(remote, local, strict=True):
        for one, other in zip(ones, others, strict=True):
            assert one.keys == other.keys
            assert torch.equal(one.audio, other.audio)
    remote_plan, local_plan = (
        StreamPlan(corpus, StreamConfig(max_batch_seconds=4), seed=0, crop=True)
        for corpus in (opened(server, store), read_corpus([str(folder)]))
    )
    assert remote_plan.fingerprint == local_plan.fingerprint, "a run may go on with the other"


def test_local_shards_are_read_where_they_are(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShardStore, "open", None)
    corpus = read_corpus([str(folder)], store=ShardStore(tmp_path / "cache"))
    assert corpus.store is None
    assert len(load(corpus)) == 9
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "xdg").exists()


def test_windows_name_their_shards_and_those_of_the_next(server: FaultyServer, store: ShardStore) -> None:
    corpus = opened(server, store)
    config = StreamConfig(num_streams=2, max_batch_seconds=2, shuffle_hours=3 / 3600)
    plan = StreamPlan(corpus, config, seed=0, crop=True)
    for stream in range(2):
        windows: list[tuple[tuple[int, int], set[str], tuple[str, ...], tuple[str, ...]]] = []
        for update in range(120):
            ahead, read = plan.shards_ahead(update, stream), {ref.shard for ref in plan.batch(update, stream).refs}
            assert read <= set(ahead.now)
            if windows and windows[-1][0] == ahead.window:
                windows[-1][1].update(read)
                assert windows[-1][2:] == (ahead.now, ahead.following)
            else:
                windows.append((ahead.window, set(read), ahead.now, ahead.following))
        assert len({window for (_, window), *_ in windows}) > 2
        for (_, read, now, following), (_, _, then, _) in itertools.pairwise(windows):
            assert read == set(now)
            assert following == then


def test_the_next_window_is_fetched_while_the_first_is_trained_on(server: FaultyServer, store: ShardStore) -> None:
    corpus = opened(server, store)
    loader, _ = loader_of(corpus, num_workers=0, num_streams=1, max_batch_seconds=2, shuffle_hours=3 / 3600)
    ahead = loader._plan.shards_ahead(0, 0)
    wanted = {name[-8:-4] for name in (*ahead.now, *ahead.following)}
    assert set(ahead.following) - set(ahead.now)
    assert len(wanted) < 5
    batches = iter(loader)
    next(batches)
    wait_until(lambda: names_cached(store) == wanted)
    time.sleep(0.05)
    assert names_cached(store) == wanted, "no more than that"
    assert store._cache.kept == {store._shards[name].key for name in (*ahead.now, *ahead.following)}
    batches.close()  # type: ignore[attr-defined]
    assert store._cache.kept == set()


def test_a_window_is_kept_until_its_last_batch_is_decoded(server: FaultyServer, store: ShardStore) -> None:
    corpus = opened(server, store)
    options = {"num_streams": 1, "max_batch_seconds": 2, "shuffle_hours": 2 / 3600}
    loader, _ = loader_of(corpus, num_workers=1, updates=60, **options)
    keys = {name: shard.key for name, shard in store._shards.items()}
    fewest = len(keys)
    for update, (batch,) in enumerate(loader):
        spec = loader._plan.batch(update + 1, 0)
        in_use = store._cache.kept
        if update < 59:
            assert {keys[ref.shard] for ref in spec.refs} <= in_use
        fewest = min(fewest, len(in_use))
        assert batch.keys
    assert fewest < len(keys)


def test_waiting_for_the_network_counts_as_waiting_for_data(server: FaultyServer, store: ShardStore) -> None:
    corpus = opened(server, store)
    for name in corpus.shards:
        server.script[Path(name).name] = [Fault(delay_seconds=0.3)]
    loader, _ = loader_of(corpus)
    list(loader)
    assert loader.wait_seconds >= 0.3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_shard_that_cannot_be_had_stops_the_training_thread_whatever_is_allowed(
    num_workers: int, server: FaultyServer, site: Path, store: ShardStore
) -> None:
    corpus = opened(server, store)
    (site / "set" / "shard-000002.tar").unlink()
    loader, _ = loader_of(corpus, num_workers=num_workers, max_bad_share=1.0)
    with pytest.raises(NotFoundError, match=r"shard-000002.tar: not found"):
        list(loader)
    assert loader.quarantine.problems == {}


def test_leaving_early_ends_what_is_being_fetched(server: FaultyServer, tmp_path: Path) -> None:
    store = ShardStore(tmp_path / "cache", backoff_seconds=60)
    corpus = opened(server, store)
    loader, _ = loader_of(corpus, num_workers=1, num_streams=1, max_batch_seconds=2, shuffle_hours=3 / 3600)
    ahead = loader._plan.shards_ahead(0, 0)
    late = next(name for name in ahead.following if name not in ahead.now)
    server.script[Path(late).name] = [Fault(status=500)] * 9
    started = time.monotonic()
    batches = iter(loader)
    next(batches)
    wait_until(lambda: len(server.asked(Path(late).name)) == 1)
    batches.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 10


def test_a_failed_prefetch_is_tried_again_when_it_matters(
    server: FaultyServer, store: ShardStore, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = opened(server, store)
    loader, _ = loader_of(corpus, num_workers=0, num_streams=1, max_batch_seconds=2, shuffle_hours=3 / 3600)
    ahead = loader._plan.shards_ahead(0, 0)
    late = next(name for name in ahead.following if name not in ahead.now)
    server.script[Path(late).name] = [Fault(status=403)]
    batches = iter(loader)
    next(batches)
    wait_until(lambda: "HTTP 403" in caplog.text)
    assert len(list(batches)) == 8
    assert "It is tried again when a sample of it is needed." in caplog.text


def test_a_run_on_shards_from_elsewhere_is_the_run_on_local_ones(
    folder: Path, server: FaultyServer, tmp_path: Path
) -> None:
    runs = {}
    for name, shards in (("local", str(folder)), ("remote", f"{server.url}/set/")):
        config = pretrain_config(folder, tmp_path / name, max_updates=4)
        data = replace(config.data, shards=[shards], cache=tmp_path / "cache")
        pretrain.run(replace(config, data=data, dev=replace(config.dev, shards=[shards])))
        runs[name] = losses(tmp_path / name)
    assert runs["remote"] == runs["local"]
    assert len(list((tmp_path / "cache").glob("*.tar"))) == 5
    assert not (tmp_path / "xdg").exists(), "the dev set has the same cache"


def test_no_checkpoint_has_credentials_and_a_run_with_new_ones_goes_on(
    folder: Path, server: FaultyServer, tmp_path: Path
) -> None:
    config = pretrain_config(folder, tmp_path / "run", max_updates=4)
    constant = ScheduleConfig(decay="none", warmup=0.0)
    for signature, updates in (("secret1", 4), ("secret2", 8)):
        address = f"http://me:secret@{server.host}/set/?sig={signature}"
        data = replace(config.data, shards=[address], cache=tmp_path / f"cache{updates}")
        now = replace(config, data=data, dev=replace(config.dev, shards=[address]), schedule=constant)
        pretrain.run(replace(now, training=replace(config.training, max_updates=updates)))
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if b"secret" in path.read_bytes()]


def test_pools_of_augmentation_have_the_cache_of_the_data(folder: Path, server: FaultyServer, tmp_path: Path) -> None:
    config = AugmentationConfig(noise=NoiseConfig(prob=1.0, shards=[f"{server.url}/set/"]))
    augment = make_augmenter(config, read_corpus([str(folder)]), 0, store=new_store(tmp_path))
    assert augment is not None
    for batches in load(read_corpus([str(folder)])):
        augment(batches[0], 0)
    assert list((tmp_path / "cache").glob("*.tar"))
    assert not (tmp_path / "xdg").exists()


def test_voices_drawn_from_shards_elsewhere_are_warned_of(
    server: FaultyServer, store: ShardStore, caplog: pytest.LogCaptureFixture
) -> None:
    make_augmenter(AugmentationConfig(speech=SpeechMixingConfig(prob=0.5)), opened(server, store), 0)
    assert "Give it shards of its own" in caplog.text
