"""The cache of shards from elsewhere, which several processes share."""

import os
import resource
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import RATE
from http_server import Fault, FaultyServer
from remote_site import FIRST, arrived, cached, content_of, names_cached, new_store, opened, other_process, wait_until

from speechssl.config import EvaluationSetConfig, StreamConfig
from speechssl.data.corpus import Corpus, read_corpus
from speechssl.data.reading import read_sample
from speechssl.data.remote.cache import cached_files, used_keys
from speechssl.data.remote.failures import ShardError, UnreachableError
from speechssl.data.remote.fetching import ATTEMPTS
from speechssl.data.remote.store import ShardStore, make_store
from speechssl.errors import ConfigError, DataError


def test_threads_fetch_a_shard_once(server: FaultyServer, store: ShardStore) -> None:
    corpus = opened(server, store)
    server.script[FIRST] = [Fault(delay_seconds=0.1)]
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(len(content_of(corpus, corpus.shards[0])))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1
    assert len(server.asked(FIRST)) == 1


def test_threads_that_wait_for_a_shard_fail_with_the_one_that_fetches_it(
    server: FaultyServer, store: ShardStore
) -> None:
    corpus = opened(server, store)
    server.script[FIRST] = [Fault(status=500, delay_seconds=0.2 * (i == 0)) for i in range(5 * ATTEMPTS)]
    errors: list[str] = []

    def read() -> None:
        with pytest.raises(UnreachableError) as caught:
            content_of(corpus, corpus.shards[0])
        errors.append(str(caught.value))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 3
    assert len(server.asked(FIRST)) == ATTEMPTS


def test_processes_fetch_a_shard_once(server: FaultyServer, store: ShardStore) -> None:
    corpus = opened(server, store)
    gate = threading.Event()
    server.script[FIRST] = [Fault(gate=gate)]
    process = other_process("store.open(corpus.shards[0]).close()", f"{server.url}/set/", str(store.folder))
    reader = threading.Thread(target=lambda: content_of(corpus, corpus.shards[0]))
    reader.start()
    wait_until(lambda: len(server.asked("shard-000004.tar.index")) == 2)
    time.sleep(0.1)  # the other one is at the lock, or comes there later
    gate.set()
    reader.join()
    process.communicate()
    assert process.returncode == 0
    assert len(server.asked(FIRST)) == 1


def use_in_order(corpus: Corpus, numbers: list[int]) -> None:
    """Open shards one after the other, each at another second of the file system's clock."""
    for second, number in enumerate(numbers):
        content_of(corpus, corpus.shards[number])
        key = corpus.store._shards[corpus.shards[number]].key  # type: ignore[union-attr]
        os.utime(corpus.store.folder / f"{key}.tar", (second, second))  # type: ignore[union-attr]


def room_for(num_shards: float, folder: Path) -> float:
    """Gigabytes for so many of the first shards, which are of equal size, and all indexes."""
    indexes = sum(path.stat().st_size for path in folder.glob("*.index"))
    return (indexes + num_shards * (folder / FIRST).stat().st_size) / 1e9


def test_what_was_used_longest_ago_goes_first(folder: Path, server: FaultyServer, tmp_path: Path) -> None:
    store = new_store(tmp_path, room_for(3.5, folder))
    corpus = opened(server, store)
    use_in_order(corpus, [0, 1, 2, 0])
    content_of(corpus, corpus.shards[3])
    assert names_cached(store) == {"0000", "0002", "0003"}
    assert sum(file.num_bytes for file in cached_files(store.folder)) <= room_for(3.5, folder) * 1e9
    content_of(corpus, corpus.shards[1])
    assert server.num_shards_sent() == 5, "what was evicted comes again"


def test_use_is_noted_when_a_shard_is_opened(folder: Path, server: FaultyServer, tmp_path: Path) -> None:
    corpus = opened(server, new_store(tmp_path))
    use_in_order(corpus, [0, 1])
    store = new_store(tmp_path, room_for(2.5, folder))
    again = opened(server, store)
    content_of(again, again.shards[0])
    content_of(again, again.shards[2])
    assert names_cached(store) == {"0000", "0002"}


def test_shards_in_use_stay_even_if_the_limit_does_not_hold(
    folder: Path, server: FaultyServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = new_store(tmp_path, room_for(2.5, folder))
    corpus = opened(server, store)
    store.keep(corpus.shards[:2])
    use_in_order(corpus, [0, 1])
    assert not store.prefetch(corpus.shards[2]), "nothing is fetched ahead at the expense of what is in use"
    assert caplog.text == ""
    for number in (2, 3, 4):
        content_of(corpus, corpus.shards[number])
        assert names_cached(store) >= {"0000", "0001"}
        assert cached(store) == 3
    assert caplog.text.count("GB more than cache_gigabytes") == 1
    store.keep([])
    assert store.prefetch(corpus.shards[0])
    assert not list(store.folder.glob("*.using"))
    assert not list(store.folder.glob("*.alive"))


def test_shards_in_use_elsewhere_stay_until_their_user_is_dead(
    folder: Path, server: FaultyServer, tmp_path: Path
) -> None:
    store = new_store(tmp_path, room_for(1.5, folder))
    code = "store.keep(corpus.shards[:1]); store.open(corpus.shards[0]).close(); print('ready', flush=True); input()"
    process = other_process(code, f"{server.url}/set/", str(store.folder))
    corpus = opened(server, store)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    content_of(corpus, corpus.shards[1])
    content_of(corpus, corpus.shards[2])
    assert names_cached(store) == {"0000", "0002"}
    process.kill()
    process.communicate()
    content_of(corpus, corpus.shards[3])
    assert names_cached(store) == {"0003"}
    assert not list(store.folder.glob("*.using"))


def test_what_is_being_fetched_is_not_evicted(folder: Path, server: FaultyServer, tmp_path: Path) -> None:
    store = new_store(tmp_path, room_for(1.2, folder))
    corpus = opened(server, store)
    stuck = Fault(cut_after=100_000, gate=threading.Event())
    server.script[FIRST] = [stuck]
    reader = threading.Thread(target=lambda: content_of(corpus, corpus.shards[0]))
    reader.start()
    wait_until(lambda: arrived(store) >= 100_000)
    content_of(corpus, corpus.shards[1])
    stuck.gate.set()  # type: ignore[union-attr]
    reader.join()
    assert server.asked(FIRST)[1].range == "bytes=100000-"


def test_leftovers_of_dead_processes_are_evicted_too(folder: Path, server: FaultyServer, tmp_path: Path) -> None:
    store = new_store(tmp_path, room_for(1.5, folder))
    corpus = opened(server, store)
    (store.folder / f".partial_{'ab' * 16}.tar").write_bytes(bytes(10_000_000))
    (store.folder / "dead.using").write_text(f'["{"ab" * 16}"]')
    content_of(corpus, corpus.shards[0])
    assert arrived(store) == 0
    assert cached(store) == 1
    assert used_keys(store.folder) == set()


def test_a_shard_that_rots_in_the_cache_is_fetched_again(
    folder: Path, server: FaultyServer, store: ShardStore, caplog: pytest.LogCaptureFixture
) -> None:
    corpus, local = opened(server, store), read_corpus([str(folder)])
    read_sample(corpus[0], RATE)
    file = next(store.folder.glob("[0-9a-f]*.tar"))
    file.write_bytes(bytes(file.stat().st_size))
    np.testing.assert_array_equal(read_sample(corpus[0], RATE).audio, read_sample(local[0], RATE).audio)
    assert "damaged in the cache" in caplog.text
    wrong = corpus[0]._replace(checksum=1)
    with pytest.raises(DataError, match=r"are not the .* that were indexed"):
        read_sample(wrong, RATE)
    assert len(server.asked(FIRST)) == 2, "what is whole is not fetched again for an index that is wrong"


def test_a_fetch_can_be_interrupted(server: FaultyServer, tmp_path: Path) -> None:
    store = ShardStore(tmp_path / "cache", backoff_seconds=60)
    corpus = opened(server, store)
    server.script[FIRST] = [Fault(status=500)]
    errors: list[Exception] = []

    def read() -> None:
        try:
            content_of(corpus, corpus.shards[0])
        except ShardError as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: len(server.asked(FIRST)) == 1)
    time.sleep(0.05)
    store.interrupt()
    reader.join(5)
    assert "interrupted" in str(errors[0])
    assert len(content_of(corpus, corpus.shards[0])) > 0, "the next one is not"


def test_the_cache_has_its_usual_place_and_a_limit_that_makes_sense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ShardStore().folder == tmp_path / "xdg" / "speechssl" / "shards"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ShardStore().folder == tmp_path / ".cache" / "speechssl" / "shards"
    assert ShardStore(Path("~/own")).folder == tmp_path / "own"
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="expected more than 0"):
            ShardStore(gigabytes=wrong)
    training = StreamConfig(cache=tmp_path, cache_gigabytes=7)
    dev = make_store(EvaluationSetConfig(), training)
    assert (dev.folder, dev._cache._limit) == (tmp_path, 7e9)
    own = make_store(EvaluationSetConfig(cache=tmp_path / "own", cache_gigabytes=3), training)
    assert (own.folder, own._cache._limit) == (tmp_path / "own", 3e9)
    assert make_store(EvaluationSetConfig())._cache._limit == 100e9


def test_a_cache_that_cannot_be_made_is_named(server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/cache: the cache of shards cannot be used \(Not a directory\)"):
        opened(server, ShardStore(tmp_path / "file" / "cache"))


def test_a_full_disk_is_no_failure_of_the_network(server: FaultyServer, store: ShardStore) -> None:
    corpus = opened(server, store)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(ShardError, match=r"the cache of shards cannot be used \(File too large\); free some"):
            content_of(corpus, corpus.shards[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(server.asked(FIRST)) == 1


def test_a_list_that_is_being_written_is_left_to_its_owner(tmp_path: Path) -> None:
    partial = tmp_path / ".partial_0123.using"
    partial.write_text("[]")
    assert used_keys(tmp_path) == set()
    assert partial.exists()
