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
    other_process,
    wait_until,
)

from speechssl.data.corpus import Corpus
from speechssl.remote.cache import cached_files
from speechssl.remote.locks import FileLock
from speechssl.remote.usage import use_of_all


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
    assert not [path for path in store.folder.iterdir() if path.suffix in (".lock", ".using")]


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
    assert largest < most <= max(room_for(shards_that_fit, folder) * 1e9, room_for(0, folder) * 1e9 + largest)


def test_shards_in_use_elsewhere_stay_until_their_user_is_dead(
    folder: Path, server: FaultyServer, tmp_path: Path
) -> None:
    store = new_store(tmp_path, room_for(2.5, folder))
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
    assert names_cached(store) == {"0002", "0003"}
    assert not list(store.folder.glob("*.using"))


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
    (store.folder / f".partial_{'ab' * 16}.tar").write_bytes(bytes(10_000_000))
    (store.folder / "dead.using").write_text(f'{{"keys": ["{"ab" * 16}"], "fetching": {{"{"ab" * 16}": 99000000}}}}')
    content_of(corpus, corpus.shards[0])
    assert arrived(store) == 0
    assert cached(store) == 1
    assert use_of_all(store.folder).keys == set()


def test_a_list_that_is_being_written_is_left_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "0123.using"
    owner = FileLock(path)
    assert owner.try_acquire()
    path.write_text("[")
    assert use_of_all(tmp_path).keys == set()
    assert path.exists()
    owner.release()
    assert not path.exists()
