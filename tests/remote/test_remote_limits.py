"""How full the cache of shards from elsewhere gets, and what is evicted."""

import os
import threading
from pathlib import Path

import pytest
from http_server import Fault, FaultyServer
from remote_site import (
    FIRST,
    arrived,
    cached,
    content_of,
    load,
    names_cached,
    new_store,
    opened,
    wait_until,
)

from speechssl.data.corpus import Corpus
from speechssl.remote.cache import cached_files


def use_in_order(corpus: Corpus, numbers: list[int]) -> None:
    """Open shards one after the other, each at another second of the file system's clock."""
    for second, number in enumerate(numbers):
        content_of(corpus, corpus.shards[number])
        key = corpus.store._shards[corpus.shards[number]].key  # type: ignore[union-attr]
        os.utime(corpus.store.folder / f"{key}.tar", (second, second))  # type: ignore[union-attr]


def room_for(num_shards: float, folder: Path) -> float:
    """Gigabytes for so many of the first shards, which are of equal size."""
    return num_shards * (folder / FIRST).stat().st_size / 1e9


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


def test_what_is_fetched_ahead_evicts_nothing_in_use_and_what_is_read_what_was_used_longest_ago(
    folder: Path, server: FaultyServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = new_store(tmp_path, room_for(2.5, folder))
    corpus = opened(server, store)
    store.keep(corpus.shards[:2])
    use_in_order(corpus, [0, 1])
    assert not store.prefetch(corpus.shards[2])
    assert names_cached(store) == {"0000", "0001"}
    assert caplog.text == ""
    for number, others in ((2, {"0001"}), (3, {"0001"}), (0, {"0001"})):
        content_of(corpus, corpus.shards[number])
        assert names_cached(store) == {corpus.shards[number][-8:-4], *others}
    assert caplog.text.count("do not fit into cache_gigabytes") == 1
    store.keep([])
    assert store.prefetch(corpus.shards[4])


def test_room_is_reserved_for_what_is_on_its_way(folder: Path, server: FaultyServer, tmp_path: Path) -> None:
    store = new_store(tmp_path, room_for(2.5, folder))
    corpus = opened(server, store)
    store.keep(corpus.shards[:3])
    stuck = Fault(cut_after=10_000, gate=threading.Event())
    server.script[FIRST] = [stuck]
    reader = threading.Thread(target=lambda: store.prefetch(corpus.shards[0]))
    reader.start()
    wait_until(lambda: arrived(store) >= 10_000)
    assert store.prefetch(corpus.shards[1])
    ahead = store.prefetch(corpus.shards[2])
    stuck.gate.set()  # type: ignore[union-attr]
    reader.join()
    assert not ahead, "there was room for it, but not for what was on its way"
    assert names_cached(store) == {"0000", "0001"}


@pytest.mark.parametrize("shards_that_fit", [1.5, 0.5])
def test_the_limit_holds_while_shards_are_fetched_ahead_and_read(
    shards_that_fit: float, folder: Path, server: FaultyServer, tmp_path: Path
) -> None:
    server.piece_seconds = 0.01
    store = new_store(tmp_path, room_for(shards_that_fit, folder))
    corpus = opened(server, store)
    most, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.002):
            most = max(most, sum(file.num_bytes for file in cached_files(store.folder)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert len(load(corpus, updates=4)) == 4
    finally:
        ended.set()
        watcher.join()
    largest = max(path.stat().st_size for path in folder.glob("*.tar"))
    assert largest <= most <= max(room_for(shards_that_fit, folder) * 1e9, largest)


def test_what_another_process_has_just_used_is_not_evicted_by_what_is_fetched_ahead(
    folder: Path, server: FaultyServer, tmp_path: Path
) -> None:
    store, other = (new_store(tmp_path, room_for(2.5, folder)) for _ in range(2))
    corpus, corpus_of_other = opened(server, store), opened(server, other)
    other.keep(corpus.shards[:1])
    content_of(corpus_of_other, corpus.shards[0])
    use_in_order(corpus, [1])
    assert store.prefetch(corpus.shards[2]), "in place of what was used long ago"
    assert names_cached(store) == {"0000", "0002"}
    assert not store.prefetch(corpus.shards[3])
    other.keep([])
    assert store.prefetch(corpus.shards[3]), "in place of what was given up"
    assert names_cached(store) == {"0002", "0003"}


def test_two_that_wait_for_room_do_not_wait_for_each_other(folder: Path, server: FaultyServer, tmp_path: Path) -> None:
    """Each has left a part of its shard, and neither both parts nor a shard and a part fit."""
    store = new_store(tmp_path, room_for(1.2, folder))
    corpus = opened(server, store)
    store.folder.mkdir(exist_ok=True)
    for name in corpus.shards[:2]:
        shard = store._shards[name]
        store._cache.partial_path(shard.key, shard.num_bytes).write_bytes(b"x")
    readers = [threading.Thread(target=content_of, args=(corpus, name)) for name in corpus.shards[:2]]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(20)
    assert not any(reader.is_alive() for reader in readers)


def test_what_is_being_fetched_is_not_evicted(folder: Path, server: FaultyServer, tmp_path: Path) -> None:
    store = new_store(tmp_path, room_for(2.2, folder))
    corpus = opened(server, store)
    stuck = Fault(cut_after=100_000, gate=threading.Event())
    server.script[FIRST] = [stuck]
    reader = threading.Thread(target=lambda: content_of(corpus, corpus.shards[0]))
    reader.start()
    wait_until(lambda: arrived(store) >= 100_000)
    content_of(corpus, corpus.shards[1])
    content_of(corpus, corpus.shards[2])
    assert names_cached(store) == {"0002"}
    stuck.gate.set()  # type: ignore[union-attr]
    reader.join()
    assert server.asked(FIRST)[1].range == "bytes=100000-"


def test_what_is_read_waits_for_what_is_fetched_if_both_do_not_fit(
    folder: Path, server: FaultyServer, tmp_path: Path
) -> None:
    store = new_store(tmp_path, room_for(1.2, folder))
    corpus = opened(server, store)
    server.script[FIRST] = [Fault(cut_after=100_000, gate=threading.Event())]
    gate = server.script[FIRST][0].gate
    ahead = threading.Thread(target=lambda: store.prefetch(corpus.shards[0]))
    ahead.start()
    wait_until(lambda: arrived(store) >= 100_000)
    reader = threading.Thread(target=lambda: content_of(corpus, corpus.shards[1]))
    reader.start()
    reader.join(0.3)
    assert reader.is_alive()
    gate.set()  # type: ignore[union-attr]
    reader.join()
    ahead.join()
    assert names_cached(store) == {"0001"}


def test_leftovers_of_dead_processes_are_evicted_too(folder: Path, server: FaultyServer, tmp_path: Path) -> None:
    store = new_store(tmp_path, room_for(1.5, folder))
    corpus = opened(server, store)
    store.folder.mkdir(exist_ok=True)
    (store.folder / f".partial_{'ab' * 16}_99000000.tar").write_bytes(bytes(1000))
    content_of(corpus, corpus.shards[0])
    assert arrived(store) == 0
    assert cached(store) == 1
