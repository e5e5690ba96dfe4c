"""No message has credentials."""

from pathlib import Path

import pytest
from http_server import Fault, FaultyServer
from remote_site import FIRST, content_of, new_store

from speechssl.config import StreamConfig
from speechssl.config.limits import check
from speechssl.data.corpus import read_corpus
from speechssl.errors import ConfigError, DataError
from speechssl.remote.failures import ShardError
from speechssl.remote.fetching import ATTEMPTS
from speechssl.remote.store import ShardStore
from speechssl.shards.addresses import redact


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("https://host/a/shard-000000.tar", "https://host/a/shard-000000.tar"),
        ("https://me:secret@host:8080/a.tar", "https://host:8080/a.tar"),
        ("https://host/a.tar?X-Amz-Signature=secret&b=c#d", "https://host/a.tar"),
        ("https://host?sig=secret", "https://host"),
        ("s3://key:secret@bucket/shard-?.tar", "s3://bucket/shard-?.tar"),
        ("s3://bucket/a.tar?versionId=secret", "s3://bucket/a.tar"),
        ("hf://datasets/user/repo@main/a.tar", "hf://datasets/user/repo@main/a.tar"),
        ("pipe:curl -u me:secret https://me:secret@host/a.tar", "pipe:…"),
        ("/data/what?a=b.tar", "/data/what?a=b.tar"),
    ],
)
def test_what_is_shown_has_no_credentials(name: str, expected: str) -> None:
    assert redact(name) == expected


def test_no_message_has_credentials(
    server: FaultyServer, site: Path, store: ShardStore, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"http://me:secret@{server.host}/set/?sig=secret"
    corpus = read_corpus([url], store=store)
    assert corpus.shards[0] == f"{server.url}/set/{FIRST}"
    assert server.requests[0].headers["Authorization"].startswith("Basic ")
    texts = []
    server.script[FIRST] = [Fault(status=500)] * (ATTEMPTS + 1)
    server.script["shard-000001.tar"] = [Fault(status=403)]
    server.script["shard-000002.tar"] = [Fault(body=b"x")] * 2
    for name in corpus.shards[:3]:
        with pytest.raises(ShardError) as caught:
            content_of(corpus, name)
        texts.append(str(caught.value))
    wrong = ("http://me:secret@127.0.0.1:9/a.tar?sig=secret", f"http://me:secret@{server.host}/no/?sig=secret")
    hidden = "pipe:curl -H secret-word http://me:secret@host/?secret"
    for entry in (*wrong, hidden, "s3x://me:secret@bucket/a.tar", "http://me:secret@host:x/a.tar?secret"):
        with pytest.raises(DataError) as caught_data:
            read_corpus([entry], store=store)
        texts.append(str(caught_data.value))
    config = StreamConfig(shards=[url], source_weights=[1, 2])
    with pytest.raises(ConfigError) as caught_config:
        check(config)
    texts.append(str(caught_config.value))
    assert len(texts) == 9
    assert "secret" not in "\n".join(texts) + caplog.text


def test_addresses_that_differ_in_what_is_hidden_stay_apart(server: FaultyServer, store: ShardStore) -> None:
    urls = [f"{server.url}/set/{FIRST}?part={i}" for i in range(2)]
    indexes = store.add(urls, with_texts=False)
    assert [index.shard for index in indexes] == [f"{server.url}/set/{FIRST}", f"{server.url}/set/{FIRST} (2)"]
    with pytest.raises(DataError, match=rf"{FIRST} and in .*{FIRST} \(2\); a key must occur once"):
        read_corpus(urls, store=new_store(store.folder.parent))


def test_a_new_signature_finds_the_old_copy(server: FaultyServer, store: ShardStore) -> None:
    for signature in ("one", "two"):
        corpus = read_corpus([f"{server.url}/set/{FIRST}?sig={signature}"], store=new_store(store.folder.parent))
        content_of(corpus, corpus.shards[0])
    assert len(server.asked(FIRST)) == 1
