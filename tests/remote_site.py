"""A set of shards on a server that fails by script, and what tests of shards from elsewhere share."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import write_corpus
from http_server import Fault, FaultyServer

from speechssl.config import ShardConfig, StreamConfig
from speechssl.data.batches import Batch, BatchLoader
from speechssl.data.corpus import Corpus, read_corpus
from speechssl.data.streams import StreamPlan
from speechssl.remote.store import ShardStore
from speechssl.verbs import shard as ingest

FIRST = "shard-000000.tar"


@pytest.fixture(autouse=True)
def no_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of five shards with 24 utterances."""
    root = tmp_path_factory.mktemp("remote")
    manifest = write_corpus(root / "audio", [8000 + 800 * i for i in range(24)])
    ingest.run(ShardConfig(sources=[str(manifest)], output=root / "set", max_shard_megabytes=0.115))
    assert len(list((root / "set").glob("*.tar"))) == 5
    return root / "set"


@pytest.fixture
def site(folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(folder, tmp_path / "site" / "set")
    return tmp_path / "site"


@pytest.fixture
def server(site: Path) -> Iterator[FaultyServer]:
    with FaultyServer(site) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> ShardStore:
    return new_store(tmp_path)


def new_store(tmp_path: Path, gigabytes: float = 1.0) -> ShardStore:
    return ShardStore(tmp_path / "cache", gigabytes, backoff_seconds=0.001)


def opened(server: FaultyServer, store: ShardStore) -> Corpus:
    return read_corpus([f"{server.url}/set/"], store=store)


def content_of(corpus: Corpus, name: str) -> bytes:
    assert corpus.store is not None
    with corpus.store.open(name) as file:
        return file.read()


def cached(store: ShardStore) -> int:
    """Whole shards in a cache."""
    return len([path for path in store.folder.glob("*.tar") if not path.name.startswith(".")])


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


def arrived(store: ShardStore) -> int:
    """Bytes of the one shard that is not whole."""
    return sum(path.stat().st_size for path in store.folder.glob(".partial_*.tar"))


def cut_after(num_bytes: int, store: ShardStore) -> Fault:
    """A connection that ends once its bytes are on disk, since what is on the way is lost with it."""
    fault = Fault(cut_after=num_bytes, gate=threading.Event())
    before = arrived(store)

    def let_go() -> None:
        wait_until(lambda: arrived(store) >= before + num_bytes)
        fault.gate.set()  # type: ignore[union-attr]

    threading.Thread(target=let_go, daemon=True).start()
    return fault


def other_process(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Python that reads the corpus at the first argument with the cache at the second, then runs the code."""
    start = (
        "import sys\nfrom pathlib import Path\nfrom speechssl.data.corpus import read_corpus\n"
        "from speechssl.remote.store import ShardStore\n"
        "store = ShardStore(Path(sys.argv[2]), backoff_seconds=0.01)\n"
        "corpus = read_corpus([sys.argv[1]], store=store)\n"
    )
    command = [sys.executable, "-c", start + code, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def load(corpus: Corpus, **options: Any) -> list[list[Batch]]:
    loader, updates = loader_of(corpus, **options)
    return list(loader) if updates else []


def loader_of(corpus: Corpus, *, num_workers: int = 2, updates: int = 9, **options: Any) -> tuple[BatchLoader, int]:
    config = StreamConfig(**({"num_streams": 2, "max_batch_seconds": 4} | options))
    plan = StreamPlan(corpus, config, seed=0, crop=True)
    streams = list(range(config.num_streams))
    loader = BatchLoader(plan, streams, start_update=0, max_updates=updates, num_workers=num_workers)
    return loader, updates


def names_cached(store: ShardStore) -> set[str]:
    """Last four digits of the numbers of the whole shards in a cache."""
    return {name[-8:-4] for name, shard in store._shards.items() if (store.folder / f"{shard.key}.tar").exists()}
