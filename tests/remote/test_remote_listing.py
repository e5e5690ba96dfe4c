"""What an entry of shards stands for elsewhere."""

import shutil
import time
from pathlib import Path

import pytest
from conftest import RATE
from http_server import FaultyServer
from remote_site import FIRST, cached, opened
from shards_to_verify import read_sample

from speechssl.data.corpus import read_corpus
from speechssl.errors import DataError
from speechssl.remote.expansion import find_remote
from speechssl.remote.store import ShardStore
from speechssl.shards.index import index_path
from speechssl.shards.listing import find_shards


def test_a_folder_stands_for_the_shards_in_its_report(folder: Path, server: FaultyServer, store: ShardStore) -> None:
    remote, local = opened(server, store), read_corpus([str(folder)])
    assert remote.shards == [f"{server.url}/set/{Path(name).name}" for name in local.shards]
    assert all(type(name) is str for name in remote.shards)
    assert [ref.key for ref in remote] == [ref.key for ref in local]
    assert [ref.num_samples for ref in remote] == [ref.num_samples for ref in local]
    assert cached(store) == 0, "no shard is needed to plan"


def test_braces_stand_for_numbers_and_sources_keep_theirs(
    server: FaultyServer, folder: Path, store: ShardStore
) -> None:
    shutil.copy(folder / FIRST, store.folder.parent / FIRST)
    shutil.copy(index_path(folder / FIRST), index_path(store.folder.parent / FIRST))
    later = f"{server.url}/set/shard-{{000003..000004}}.tar"
    early = f"{server.url}/set/shard-{{000001,000002}}.tar"
    corpus = read_corpus([later, str(store.folder.parent / FIRST), early], store=store)
    assert [Path(name).name for name in corpus.shards] == [f"shard-00000{i}.tar" for i in range(5)]
    assert corpus.shard_sources.tolist() == [1, 2, 2, 0, 0]
    assert len({read_sample(ref, RATE).key for ref in corpus}) == 24
    assert server.asked(FIRST) == []


def test_shards_are_in_the_order_of_their_paths(store: ShardStore) -> None:
    urls = ["https://host/a-b/x.tar", "https://host/a/z.tar", "https://host/a/y.tar"]
    found = find_remote(dict(enumerate(urls)), store)
    assert list(found.items()) == [(urls[2], 2), (urls[1], 1), (urls[0], 0)]
    assert [Path(url) for url in found] == sorted(map(Path, urls)), "as on this machine"


def test_a_part_of_a_split_is_listed_above_it(server: FaultyServer, site: Path, store: ShardStore) -> None:
    (site / "whole").mkdir()
    (site / "set").rename(site / "whole" / "train")
    report = site / "whole" / "train" / "report.json"
    report.unlink()
    (site / "whole" / "report.json").write_text('{"shards": ["train/shard-000000.tar", "dev/shard-000009.tar"]}')
    corpus = read_corpus([f"{server.url}/whole/train/"], store=store)
    assert corpus.shards == [f"{server.url}/whole/train/{FIRST}"]
    with pytest.raises(DataError, match=r"/whole/: its report.json lists no shards; give dev/, train/ of it"):
        read_corpus([f"{server.url}/whole/"], store=store)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{url}/nothing/", "/nothing/: no report.json here, which .* writes last: the set is not finished"),
        ("{url}/empty/", "/empty/: its report.json lists no shards; make the set again"),
        ("{url}/set/shard-*.tar", r"cannot be searched; name the shards with braces, as in shard-\{000000..000099\}"),
        ("{url}/set/shard-{{000000..000001.tar", "its braces do not match"),
        ("{url}/set/shard-000009.tar", r"shard-000009.tar: has no index at .*/shard-000009.tar.index; put there"),
        ("{url}/set", r"/set: has no index at .*/set.index; .*address of a folder of shards ends in a slash"),
        ("ftp://host/a.tar", "ftp://host/a.tar: shards cannot be read from there, expected https://, .* or a path"),
        ("file:///a.tar", "expected https://, .* or a path; else fetch them first"),
        ("pipe:cat /data/a.tar", "pipe:…: shards cannot be read from there, .*; else fetch them first"),
    ],
)
def test_what_leads_to_no_shards_is_named(
    entry: str, message: str, server: FaultyServer, site: Path, store: ShardStore
) -> None:
    (site / "empty").mkdir()
    (site / "empty" / "report.json").write_text('{"shards": []}')
    with pytest.raises(DataError, match=message):
        read_corpus([entry.format(url=server.url)], store=store)


def test_all_that_is_missing_is_named_at_once(server: FaultyServer, site: Path, store: ShardStore) -> None:
    for number in range(4):
        index_path(site / "set" / f"shard-00000{number}.tar").unlink()
    with pytest.raises(DataError) as caught:
        read_corpus([f"{server.url}/set/"], store=store)
    assert [line.partition(": ")[0][-8:] for line in str(caught.value).splitlines()] == [
        f"000{i}.tar" for i in range(4)
    ]
    with pytest.raises(DataError, match=r"(?s)/a/: no report.json.*\n.*/b/: no report.json"):
        read_corpus([f"{server.url}/a/", f"{server.url}/b/"], store=store)


def test_a_damaged_index_is_named_by_its_address(server: FaultyServer, site: Path, store: ShardStore) -> None:
    index_path(site / "set" / FIRST).write_bytes(b"not an index")
    with pytest.raises(DataError, match=rf"{server.url}/set/{FIRST}.index: is not an index of version"):
        opened(server, store)
    assert not list(store.folder.glob(".partial_*"))


def test_what_is_not_here_cannot_be_listed_as_if_it_were() -> None:
    with pytest.raises(DataError, match=r"https://host/a.tar: is not on this machine; copy the shards here"):
        find_shards(["https://someone:word@host/a.tar?sig=secret"])


def test_many_shards_are_listed_in_time_that_grows_with_their_number(store: ShardStore) -> None:
    start = time.process_time()
    assert len(find_remote({0: "https://host/shard-{000000..039999}.tar"}, store)) == 40_000
    assert time.process_time() - start < 5, "it takes a half; a copy of the list for each of them takes 15 and more"
