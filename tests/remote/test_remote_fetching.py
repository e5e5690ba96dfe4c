"""Fetching shards: resumed, checked, given up with a reason."""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import RATE, write_corpus
from http_server import Fault, FaultyServer
from remote_site import FIRST, arrived, cached, content_of, cut_after, new_store, opened, other_process, wait_until
from shards_to_verify import read_sample

from speechssl.config import ShardConfig
from speechssl.data.corpus import read_corpus
from speechssl.remote import fetching
from speechssl.remote.failures import ShardError, UnreachableError
from speechssl.remote.fetching import ATTEMPTS
from speechssl.remote.store import ShardStore
from speechssl.verbs import shard as ingest


def test_samples_are_those_of_the_shards(folder: Path, server: FaultyServer, store: ShardStore) -> None:
    for remote, local in zip(opened(server, store), read_corpus([str(folder)]), strict=True):
        one, other = read_sample(remote, RATE), read_sample(local, RATE)
        assert (one.key, one.text, one.speaker) == (other.key, other.text, other.speaker)
        np.testing.assert_array_equal(one.audio, other.audio)
    assert server.num_shards_sent() == cached(store) == 5, "each is fetched once, whole"
    again = opened(server, new_store(store.folder.parent))
    assert len([read_sample(ref, RATE) for ref in again]) == 24
    assert server.num_shards_sent() == 5, "the next run finds them"


def test_a_busy_server_is_asked_again_and_that_is_said_once(
    server: FaultyServer, store: ShardStore, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = opened(server, store)
    server.script[FIRST] = [Fault(status=503), Fault(status=503)]
    assert len(content_of(corpus, corpus.shards[0])) > 100_000
    assert len(server.asked(FIRST)) == 3
    (said,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert said.startswith(f"{corpus.shards[0]}: attempt 1 of {ATTEMPTS} failed (HTTP 503 Service Unavailable); the")


def test_indexes_and_reports_are_asked_for_again_too(server: FaultyServer, store: ShardStore) -> None:
    server.script["report.json"] = [Fault(status=500), Fault(cut_after=10)]
    server.script[f"{FIRST}.index"] = [Fault(status=502), Fault(cut_after=10)]
    assert len(opened(server, store)) == 24


def test_a_server_that_names_a_time_is_left_alone_until_then(
    server: FaultyServer, store: ShardStore, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = opened(server, store)
    server.script[FIRST] = [Fault(status=429, headers={"Retry-After": "0.3"})]
    started = time.monotonic()
    content_of(corpus, corpus.shards[0])
    assert time.monotonic() - started >= 0.3
    assert "HTTP 429 Too Many Requests); the next one in 0.3 s" in caplog.text


def test_a_cut_connection_is_resumed_where_it_broke(folder: Path, server: FaultyServer, store: ShardStore) -> None:
    corpus = opened(server, store)
    server.script[FIRST] = [cut_after(50_000, store)]
    assert content_of(corpus, corpus.shards[0]) == (folder / FIRST).read_bytes()
    first, second = server.asked(FIRST)
    assert first.range is None
    assert second.range == "bytes=50000-"


def test_a_connection_that_always_breaks_goes_on_as_long_as_something_comes(
    folder: Path, server: FaultyServer, store: ShardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "ATTEMPTS", 2)
    corpus, content = opened(server, store), (folder / FIRST).read_bytes()
    gates = [threading.Event() for _ in range(3)]
    server.script[FIRST] = [Fault(cut_after=40_000, gate=gate) for gate in gates]
    sizes = [40_000, 80_000, 120_000]

    def let_go() -> None:
        for size, gate in zip(sizes, gates, strict=True):
            wait_until(lambda size=size: arrived(store) >= size)  # type: ignore[misc]
            gate.set()

    threading.Thread(target=let_go, daemon=True).start()
    assert content_of(corpus, corpus.shards[0]) == content
    assert [request.range for request in server.asked(FIRST)] == [None, *(f"bytes={size}-" for size in sizes)]


def test_a_server_without_ranges_sends_all_again(folder: Path, server: FaultyServer, store: ShardStore) -> None:
    corpus = opened(server, store)
    server.script[FIRST] = [cut_after(50_000, store), Fault(ignores_ranges=True)]
    assert content_of(corpus, corpus.shards[0]) == (folder / FIRST).read_bytes()
    assert len(server.asked(FIRST)) == 2


def test_another_run_goes_on_from_what_a_killed_one_has_fetched(
    folder: Path, server: FaultyServer, store: ShardStore
) -> None:
    stuck = Fault(cut_after=60_000, gate=threading.Event())
    server.script[FIRST] = [stuck]
    process = other_process("store.open(corpus.shards[0])", f"{server.url}/set/", str(store.folder))
    wait_until(lambda: arrived(store) >= 60_000)
    process.kill()
    process.communicate()
    corpus = opened(server, store)
    assert content_of(corpus, corpus.shards[0]) == (folder / FIRST).read_bytes()
    stuck.gate.set()  # type: ignore[union-attr]
    assert [request.range for request in server.asked(FIRST)] == [None, "bytes=60000-"]


def test_what_never_comes_is_given_up_with_the_last_cause(server: FaultyServer, store: ShardStore) -> None:
    corpus = opened(server, store)
    server.script[FIRST] = [Fault(status=500) for _ in range(ATTEMPTS - 1)] + [Fault(status=503)] * 9
    with pytest.raises(UnreachableError) as caught:
        content_of(corpus, corpus.shards[0])
    assert str(caught.value) == (
        f"{server.url}/set/{FIRST}: cannot be fetched, {ATTEMPTS} attempts, the last one: HTTP 503 Service "
        "Unavailable; when it can be reached again, give the same command: it goes on from here"
    )
    assert len(server.asked(FIRST)) == ATTEMPTS


def test_a_server_that_is_not_there_is_named_once_and_soon(store: ShardStore) -> None:
    with pytest.raises(UnreachableError, match=r"^http://127.0.0.1:9/shard-.*.tar.index: .* 8 attempts, .*Connect"):
        read_corpus(["http://127.0.0.1:9/shard-{000000..000099}.tar"], store=store)


@pytest.mark.parametrize(
    ("status", "message"),
    [(404, "not found; check the address"), (403, "1 attempt, the last one: HTTP 403 Forbidden;")],
)
def test_a_refusal_is_not_asked_for_again(
    status: int, message: str, server: FaultyServer, store: ShardStore, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = opened(server, store)
    server.script[FIRST] = [Fault(status=status)]
    with pytest.raises(ShardError, match=message):
        content_of(corpus, corpus.shards[0])
    assert len(server.asked(FIRST)) == 1
    assert caplog.text == ""


def test_another_body_is_fetched_once_more(
    folder: Path, server: FaultyServer, store: ShardStore, caplog: pytest.LogCaptureFixture
) -> None:
    corpus, content = opened(server, store), (folder / FIRST).read_bytes()
    server.script[FIRST] = [Fault(body=content[:-1] + b"x")]
    assert content_of(corpus, corpus.shards[0]) == content
    assert "its SHA-256 is" in caplog.text
    assert len(server.asked(FIRST)) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1] + b"x", "its SHA-256 is [0-9a-f]{64}, expected"),
        (lambda content: content[:1000], r"it has 1000 bytes, expected \d+"),
        (lambda content: content + b"more", r"it has \d+ bytes, expected \d+"),
    ],
)
def test_a_shard_that_is_not_the_indexed_one_is_never_used(
    change: Callable[[bytes], bytes], message: str, server: FaultyServer, site: Path, store: ShardStore
) -> None:
    corpus = opened(server, store)
    file = site / "set" / FIRST
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(ShardError, match=f"is not the shard that its index describes: {message}.*put the new index"):
        content_of(corpus, corpus.shards[0])
    assert len(server.asked(FIRST)) == 2
    assert cached(store) == arrived(store) == 0


def test_a_wrong_length_is_noticed(folder: Path, server: FaultyServer, store: ShardStore) -> None:
    corpus, content = opened(server, store), (folder / FIRST).read_bytes()
    # One promises less than there is, one promises nothing and ends early.
    server.script[FIRST] = [
        Fault(headers={"Content-Length": "5000"}),
        Fault(body=content[:5000], headers={"Connection": "close", "Content-Length": None}, cut_after=5000),
    ]
    assert content_of(corpus, corpus.shards[0]) == content


def test_a_partial_file_that_is_too_long_is_begun_anew(folder: Path, server: FaultyServer, store: ShardStore) -> None:
    corpus, content = opened(server, store), (folder / FIRST).read_bytes()
    key = store._shards[corpus.shards[0]].key
    partial = store.folder / f".partial_{key}_{len(content)}.tar"
    store.folder.mkdir(exist_ok=True)
    partial.write_bytes(content + b"x")
    assert content_of(corpus, corpus.shards[0]) == content
    (store.folder / f"{key}.tar").rename(partial)
    assert content_of(corpus, corpus.shards[0]) == content
    assert len(server.asked(FIRST)) == 1, "a whole one is only checked"


def test_a_replaced_shard_is_not_mixed_with_the_old_one(
    server: FaultyServer, site: Path, store: ShardStore, tmp_path: Path
) -> None:
    old = opened(server, store)
    before = content_of(old, old.shards[0])
    manifest = write_corpus(tmp_path / "audio", [9000, 7000])
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "other"))
    for path in (tmp_path / "other").glob(f"{FIRST}*"):
        shutil.copy(path, site / "set" / path.name)
    new = read_corpus([f"{server.url}/set/{FIRST}"], store=new_store(tmp_path))
    assert content_of(new, new.shards[0]) == (site / "set" / FIRST).read_bytes()
    assert content_of(old, old.shards[0]) == before
