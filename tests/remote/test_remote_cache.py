"""The cache of shards from elsewhere, which several processes share."""

import resource
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import RATE
from http_server import Fault, FaultyServer
from remote_site import (
    FIRST,
    content_of,
    opened,
    other_process,
    wait_until,
)
from shards_to_verify import read_sample

from speechssl.config import EvaluationSetConfig, StreamConfig
from speechssl.data.corpus import read_corpus
from speechssl.errors import ConfigError, DataError
from speechssl.remote.failures import ShardError, UnreachableError
from speechssl.remote.fetching import ATTEMPTS
from speechssl.remote.store import ShardStore, make_store
from speechssl.remote.waiting import heed


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
    wait_until(lambda: len(server.asked("report.json")) == 2)
    time.sleep(0.1)  # the other one is at the lock, or comes there later
    gate.set()
    reader.join()
    process.communicate()
    assert process.returncode == 0
    assert len(server.asked(FIRST)) == 1


def test_a_shard_that_rots_in_the_cache_is_fetched_again(
    folder: Path, server: FaultyServer, store: ShardStore, caplog: pytest.LogCaptureFixture
) -> None:
    corpus, local = opened(server, store), read_corpus([str(folder)])
    read_sample(corpus[0], RATE)
    file = next(store.folder.glob("[0-9a-f]*.tar"))
    file.write_bytes(bytes(file.stat().st_size))
    np.testing.assert_array_equal(read_sample(corpus[0], RATE).audio, read_sample(local[0], RATE).audio)
    assert "damaged in the cache" in caplog.text
    wrong = replace(corpus[0], checksum=1)
    with pytest.raises(DataError, match=r"are not the .* that were indexed"):
        read_sample(wrong, RATE)
    assert len(server.asked(FIRST)) == 2, "what is whole is not fetched again for an index that is wrong"


def test_a_fetch_can_be_interrupted(server: FaultyServer, tmp_path: Path) -> None:
    store = ShardStore(tmp_path / "cache", backoff_seconds=60)
    corpus = opened(server, store)
    server.script[FIRST] = [Fault(status=500)]
    errors: list[Exception] = []
    unwanted = threading.Event()

    def read() -> None:
        heed(unwanted)
        try:
            content_of(corpus, corpus.shards[0])
        except ShardError as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: len(server.asked(FIRST)) == 1)
    time.sleep(0.05)
    unwanted.set()
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
