"""Tars that are cut off, damaged or unreadable are named."""

import os
import signal
import tarfile
from pathlib import Path

import pytest
from conftest import RATE
from shards_to_verify import BLOCK, check, findings_of, kinds, samples_of, true_entries, without_index, write_shard

from speechssl.shards.tar_scan import scan_tar
from speechssl.shards.verify.processes import check_in_processes
from speechssl.shards.verify.results import ShardResult
from speechssl.shards.verify.shards import check_shard


def test_nothing_is_found_in_a_sound_shard_however_it_is_checked(shard: Path) -> None:
    for decode in (True, False):
        result = check(shard, decode=decode)
        assert findings_of(result) == []
        assert (result.num_samples, result.seconds, list(result.keys)) == (4, 0.4, ["u0", "u1", "u2", "u3"])
        assert {rate: use.num_samples for rate, use in result.rates.items()} == {RATE: 4}


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        (-10 * BLOCK, "truncated inside data"),
        (300, "truncated inside a header"),
        (0, "no end mark"),
    ],
)
def test_truncated_shards_are_named_with_and_without_index(shard: Path, size: int, kind: str) -> None:
    last = true_entries(shard)[2]
    end = last.offset + last.size if size >= 0 else last.offset + 2 * BLOCK
    shard.write_bytes(shard.read_bytes()[: end + max(size, 0)])
    result = check(shard)
    assert kinds(result) == {kind, "stale index"}
    assert "as its index says" in result.index_findings[0].detail
    without_index(shard)
    assert kinds(check(shard, write_index=True)) == {kind, "no index"}
    assert not list(shard.parent.glob(".partial_*"))


def test_a_damaged_header_names_the_samples_that_are_lost(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    data[true_entries(shard)[1].offset] ^= 0xFF
    shard.write_bytes(data)
    result = check(shard)
    assert [finding.kind for finding in result.findings] == ["damaged header"]
    lost = [finding.key for finding in result.index_findings if "not in the shard" in finding.detail]
    assert lost == ["u1", "u2", "u3"]


def test_half_and_repeated_samples_get_no_index(tmp_path: Path) -> None:
    samples = samples_of(2) | {"half": {"json": b"{}"}}
    result = check(write_shard(tmp_path / "s.tar", samples), write_index=True)
    assert kinds(result) == {"half-sample", "no index"}
    assert not result.index_is_ready


def test_a_shard_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.tar").mkdir()
    [finding] = findings_of(check(tmp_path / "s.tar"))
    assert finding.kind == "unreadable shard"
    assert "Is a directory" in finding.detail


def kill_at_b(shard: Path) -> ShardResult:
    """Check a shard, or end the process as the kernel does when memory runs out."""
    if shard.name == "b.tar":
        os.kill(os.getpid(), signal.SIGKILL)
    return check_shard(shard, decode=True, write_index=False)


def test_a_shard_that_kills_its_process_is_named_and_the_others_are_checked(tmp_path: Path) -> None:
    shards = [write_shard(tmp_path / f"{n}.tar", samples_of(1, n)) for n in "bc"]
    results = {result.shard.stem: result for result in check_in_processes(kill_at_b, shards, 1)}
    [finding] = results["b"].findings
    assert (finding.kind, finding.shard) == ("killed its process", str(tmp_path / "b.tar"))
    assert "memory ran out" in finding.detail
    assert (results["c"].num_samples, results["c"].findings) == (1, [])


def test_samples_are_put_together_as_webdataset_does(tmp_path: Path) -> None:
    import webdataset

    names = ["a.flac", "a.json", "x/b.1.flac", "x.y/b.flac", "c.json", "d.WAV", "__skip__/e.flac", ".f", "a.flac"]
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    ours = [(s.key, set(s.members)) for s in scan_tar(tmp_path / "s.tar").samples]
    theirs = webdataset.WebDataset(str(tmp_path / "s.tar"), shardshuffle=False, empty_check=False)
    assert ours == [(s["__key__"], {name for name in s if not name.startswith("__")}) for s in theirs]
