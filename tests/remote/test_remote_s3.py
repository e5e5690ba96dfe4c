"""Object stores."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec.core  # type: ignore[import-untyped]
import pytest
import torch
from remote_site import FIRST, content_of, load

from speechssl.data.corpus import read_corpus
from speechssl.errors import DataError
from speechssl.remote import fetching
from speechssl.remote.store import ShardStore


def test_a_missing_package_is_named(store: ShardStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(DataError, match=r"gs://bucket/set/report.json: .*pip install 'speechssl\[remote\]'"):
        read_corpus(["gs://bucket/set/"], store=store)


@pytest.mark.parametrize("entry", ["hf://datasets/user/corpus/train/", "hf://datasets/user/corpus/shard-000000.tar"])
@pytest.mark.parametrize("error", [FileNotFoundError("no such repository"), PermissionError("gated")])
def test_what_does_not_open_at_hugging_face_comes_with_what_may_help(
    entry: str, error: Exception, store: ShardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str) -> None:
        raise error

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(DataError, match=r"hf://datasets/USER/REPOSITORY/FOLDER/.*`hf auth login`, or HF_TOKEN"):
        read_corpus([entry], store=store)


@pytest.fixture(scope="module")
def bucket(folder: Path) -> Iterator[str]:
    """An S3-compatible server with the set in a bucket."""
    pytest.importorskip("s3fs", reason="s3fs is not installed (speechssl[remote])")
    moto_server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    s3fs = sys.modules["s3fs"]
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "word",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        system = s3fs.S3FileSystem(skip_instance_cache=True)
        system.mkdir("bucket")
        for path in sorted(folder.iterdir()):
            system.pipe_file(f"bucket/set/{path.name}", path.read_bytes())
        yield "s3://bucket/set/"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_an_object_store_gives_the_same_batches(bucket: str, folder: Path, store: ShardStore) -> None:
    local = read_corpus([str(folder)])
    corpora = [read_corpus([entry], store=store) for entry in (bucket, f"{bucket}shard-{{000000..000004}}.tar")]
    for corpus in corpora:
        assert corpus.shards == [f"{bucket}{Path(name).name}" for name in local.shards]
    for one, other in zip(load(corpora[0]), load(local), strict=True):
        assert all(torch.equal(a.audio, b.audio) for a, b in zip(one, other, strict=True))
    for entry, message in (
        (f"{bucket}*.tar", "cannot be searched; name the shards with braces"),
        ("s3://bucket/other/", "no report.json here"),
        (f"{bucket}gone.tar", "has no index at"),
    ):
        with pytest.raises(DataError, match=message):
            read_corpus([entry], store=store)


def test_an_object_is_resumed_where_it_broke(bucket: str, folder: Path, store: ShardStore) -> None:
    corpus, content = read_corpus([bucket], store=store), (folder / FIRST).read_bytes()
    store.folder.mkdir(exist_ok=True)
    partial = store.folder / f".partial_{store._shards[corpus.shards[0]].key}_{len(content)}.tar"
    partial.write_bytes(content[:50_000])
    opened_at: list[int] = []
    original = fetching.open_address

    def noting(url: str, start: int) -> Any:
        opened_at.append(start)
        return original(url, start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetching, "open_address", noting)
        assert content_of(corpus, corpus.shards[0]) == content
    assert opened_at == [50_000]
