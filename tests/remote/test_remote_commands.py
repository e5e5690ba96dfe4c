"""Shards that commands write."""

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from remote_site import FIRST, arrived, cached, content_of, load, new_store, wait_until

from speechssl.data.corpus import read_corpus
from speechssl.errors import DataError
from speechssl.remote.failures import ShardError, UnreachableError
from speechssl.remote.fetching import ATTEMPTS
from speechssl.remote.store import ShardStore
from speechssl.remote.waiting import heed


def test_a_command_fetches_and_is_indexed_here(folder: Path, store: ShardStore) -> None:
    ran = store.folder.parent / "ran"
    command = f"echo x >> {ran}; cat {folder}/shard-{{000000..000004}}.tar"
    remote, local = read_corpus([f"pipe:{command}"], with_texts=True, store=store), read_corpus([str(folder)])
    assert [ref.key for ref in remote] == [ref.key for ref in local]
    assert remote[0].text == "YES"
    for one, other in zip(load(remote), load(local), strict=True):
        assert all(torch.equal(a.audio, b.audio) for a, b in zip(one, other, strict=True))
    assert len(read_corpus([f"pipe:{command}"], store=new_store(store.folder.parent))) == 24
    assert ran.read_text() == "x\n" * 5, "each ran once"


def test_a_command_that_fails_is_named_with_what_it_said(
    folder: Path, store: ShardStore, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UnreachableError, match=rf"pipe:cat .*gone.tar: .*, {ATTEMPTS} attempts, .*exit status 1: cat:"):
        read_corpus([f"pipe:cat {folder}/gone.tar"], store=store)
    caplog.clear()
    with pytest.raises(DataError, match=r"1 attempt, .*exit status 127"):
        read_corpus(["pipe:no-such-program"], store=store)
    assert caplog.text == ""


def test_a_command_that_fails_late_is_run_again(folder: Path, store: ShardStore) -> None:
    mark = store.folder.parent / "mark"
    command = (
        f"head -c 9000 {folder / FIRST}; test -e {mark} || {{ touch {mark}; exit 1; }}; tail -c +9001 {folder / FIRST}"
    )
    corpus = read_corpus([f"pipe:{command}"], store=store)
    assert content_of(corpus, corpus.shards[0]) == (folder / FIRST).read_bytes()


def test_a_tar_of_a_command_that_is_not_sound_is_named(folder: Path, tmp_path: Path, store: ShardStore) -> None:
    content = (folder / FIRST).read_bytes()
    (tmp_path / "short.tar").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"pipe:cat .*short.tar: truncated inside data: cut off inside"):
        read_corpus([f"pipe:cat {tmp_path}/short.tar"], store=store)
    assert cached(store) == arrived(store) == 0


def test_a_command_whose_shard_has_changed_since_is_refused(folder: Path, tmp_path: Path, store: ShardStore) -> None:
    (tmp_path / "now.tar").write_bytes((folder / "shard-000004.tar").read_bytes())
    corpus = read_corpus([f"pipe:cat {tmp_path}/now.tar"], store=store)
    next(store.folder.glob("[0-9a-f]*.tar")).unlink()
    (tmp_path / "now.tar").write_bytes((folder / FIRST).read_bytes())
    with pytest.raises(ShardError, match=r"now.tar: gives another shard than before: it has \d+ bytes, expected"):
        content_of(corpus, corpus.shards[0])
    again = read_corpus([f"pipe:cat {tmp_path}/now.tar"], store=new_store(tmp_path))
    assert content_of(again, again.shards[0]) == (folder / FIRST).read_bytes()


def test_a_command_ends_with_the_fetch(store: ShardStore) -> None:
    mark = store.folder.parent / "pid"
    errors: list[Exception] = []
    unwanted = threading.Event()

    def read() -> None:
        heed(unwanted)
        try:
            read_corpus([f"pipe:echo $$ > {mark}; sleep 60; true"], store=store)
        except DataError as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: mark.exists() and mark.read_text().strip() != "")
    unwanted.set()
    reader.join(5)
    assert "interrupted" in str(errors[0])
    wait_until(lambda: not Path(f"/proc/{mark.read_text().strip()}").exists())


def test_samples_of_several_rates_in_a_tar_of_a_command_are_named(tmp_path: Path, store: ShardStore) -> None:
    import tarfile

    with tarfile.open(tmp_path / "mixed.tar", "w") as tar:
        for key, rate in (("a", 8000), ("b", 16000)):
            soundfile.write(tmp_path / f"{key}.wav", np.zeros(800), rate, subtype="PCM_16")
            tar.add(tmp_path / f"{key}.wav", f"{key}.wav")
    with pytest.raises(DataError, match="samples of 8000 Hz, 16000 Hz, expected one rate"):
        read_corpus([f"pipe:cat {tmp_path}/mixed.tar"], store=store)
