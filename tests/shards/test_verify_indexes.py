"""Indexes that are not those of their shards are named and, if asked for, made anew."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import RATE
from safetensors import safe_open
from safetensors.numpy import save_file
from shards_to_verify import (
    assert_same,
    check,
    corrupted,
    findings_of,
    kinds,
    read_all,
    samples_of,
    true_entries,
    without_index,
    write_shard,
)

from speechssl.config import VerifyConfig
from speechssl.errors import DataError
from speechssl.shards.index import METADATA_KEY, index_path, read_index, write_index
from speechssl.shards.table import COLUMNS, key_hash
from speechssl.shards.verify.indexes import publish_index
from speechssl.verbs.verify import run

Columns = dict[str, np.ndarray]
Facts = dict[str, object]
Change = Callable[[Columns, Facts], object]


def edit_index(shard: Path, change: Change) -> None:
    """Change columns or facts of an index behind the back of the code that writes it."""
    with safe_open(index_path(shard), framework="numpy") as file:
        columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        facts = json.loads(file.metadata()[METADATA_KEY])
    changed = change(columns, facts)
    save_file(columns, index_path(shard), {METADATA_KEY: json.dumps(facts if changed is None else changed)})


def add_one(name: str) -> Change:
    def change(columns: Columns, facts: Facts) -> None:
        columns[name][1] += np.ones(1, columns[name].dtype)[0]

    return change


def as_floats(columns: Columns, facts: Facts) -> None:
    columns["offsets"] = columns["offsets"].astype(np.float64)


def other_text(columns: Columns, facts: Facts) -> None:
    columns["texts"][0] += 1


def other_key(columns: Columns, facts: Facts) -> None:
    columns["keys"][3] = ord("9")


def other_speaker(columns: Columns, facts: Facts) -> None:
    columns["speakers"] = np.frombuffer(b"X", np.uint8)
    columns["speaker_ends"] = np.array([1, 1, 1, 1])


def no_utf8(columns: Columns, facts: Facts) -> None:
    columns["keys"][3] = 0xFF


def swapped_rows(columns: Columns, facts: Facts) -> None:
    for name in (column.name for column in COLUMNS if column.metadata["dtype"]):
        columns[name] = columns[name][[1, 0, 2, 3]]
    columns["keys"][[1, 3]] = columns["keys"][[3, 1]]
    columns["texts"] = np.frombuffer("NOYESÄ B".encode(), np.uint8)
    columns["text_ends"] = np.array([2, 5, 5, 9])


def put(name: str, value: object) -> Change:
    return lambda columns, facts: facts.update({name: value})


@pytest.mark.parametrize(
    ("change", "kind", "key", "detail"),
    [
        (add_one("offsets"), "wrong index row", "u1", "offset"),
        (add_one("sizes"), "wrong index row", "u1", "size"),
        (add_one("num_samples"), "wrong index row", "u1", "num_samples 1601, expected 1600"),
        (add_one("checksums"), "wrong index row", "u1", "checksum"),
        (add_one("key_hashes"), "wrong index row", "u1", "its hash is not that of its key"),
        (other_text, "wrong index row", "u0", "text 'ZES', expected 'YES'"),
        (other_speaker, "wrong index row", "u0", "speaker 'X', expected ''"),
        (other_key, "wrong index row", "u1", "in the shard, but not in its index"),
        (swapped_rows, "wrong index row", "", "not in the order of the shard"),
        (no_utf8, "unreadable index", "", "not an index ('utf-8' codec"),
        (as_floats, "unreadable index", "", "of type float64, expected int64"),
        (put("sample_rate", 8000), "stale index", "u0", "16000 Hz, but 8000 Hz in the index"),
        (put("sample_rate", 16000.0), "unreadable index", "", "its sample rate is 16000.0"),
        (put("sample_rate", [1]), "unreadable index", "", "its sample rate is [1]"),
        (lambda columns, facts: [facts], "unreadable index", "", "its facts are a list"),
        (put("sha256", "0" * 64), "stale index", "", "SHA-256"),
        (put("shard_bytes", 5), "stale index", "", "expected 5 as its index says"),
        (put("version", 1), "unreadable index", "", "its version is 1"),
    ],
)
def test_an_index_that_does_not_match_is_named_and_mended(
    shard: Path, change: Change, kind: str, key: str, detail: str
) -> None:
    expected = read_all(shard)
    edit_index(shard, change)
    result = check(shard, write_index=True)
    assert result.findings == []
    finding = result.index_findings[0]
    assert (finding.kind, finding.key) == (kind, key)
    assert detail in finding.detail
    assert finding.detail.endswith("give it a new index with `speechssl verify --write_index`")
    assert publish_index(result)
    assert findings_of(check(shard)) == []
    assert_same(read_all(shard), expected)


def test_an_index_without_speakers_as_it_was_once_is_refused_with_the_remedy(shard: Path) -> None:
    def without(columns: Columns, facts: Facts) -> None:
        for name in ("speakers", "speaker_ends", "languages", "language_ends"):
            del columns[name]

    edit_index(shard, without)
    with pytest.raises(DataError, match=r"speakers\); make it again with `speechssl verify --write_index`"):
        read_index(shard)
    assert kinds(check(shard)) == {"unreadable index"}
    assert publish_index(check(shard, write_index=True))
    assert findings_of(check(shard)) == []


def test_rows_that_are_missing_from_the_index_or_too_many_are_named(shard: Path, tmp_path: Path) -> None:
    rows = true_entries(shard)
    write_index(shard, RATE, rows[:2] + rows[3:], index_path(shard))
    assert [(f.key, f.detail.split(";")[0]) for f in findings_of(check(shard))] == [
        ("u2", "in the shard, but not in its index")
    ]
    write_index(shard, RATE, [*rows, replace(rows[0], key="ghost")], index_path(shard))
    assert [(f.key, f.offset) for f in findings_of(check(shard))] == [("ghost", 0)]
    write_index(shard, RATE, [*rows, rows[0]], index_path(shard))
    assert "or one is there twice" in findings_of(check(shard))[0].detail


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff" * 1000, b"{}"])
def test_an_index_of_rubbish_is_named(shard: Path, content: bytes) -> None:
    index_path(shard).write_bytes(content)
    assert kinds(check(shard)) == {"unreadable index"}


def test_a_shard_that_was_swapped_for_another_is_named(shard: Path) -> None:
    write_shard(shard, samples_of(4, "other"))
    result = check(shard)
    assert result.findings == []
    assert len(result.index_findings) == 1 + 4 + 4


def test_an_edited_transcript_is_damage_until_its_index_is_deleted(shard: Path) -> None:
    corrupted(shard, "u0.json", position=10, value=0x20)
    assert read_index(shard).texts is not None
    result = check(shard, write_index=True)
    assert [(finding.kind, finding.key) for finding in result.findings] == [("changed since indexed", "u0")]
    assert "delete the index if the change is wanted" in result.findings[0].detail
    assert not result.index_is_ready
    assert check(without_index(shard), write_index=True).index_is_ready


@pytest.mark.usefixtures("inline")
def test_only_missing_and_stale_indexes_are_written(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = index_path(shard).read_bytes()
    other = write_shard(shard.with_name("shard-000001.tar"), samples_of(2, "v"))
    with pytest.raises(DataError, match=r"no index: 1\n.*no shard-000001.tar.index beside it; if the shard is right"):
        run(VerifyConfig(shards=[str(shard.parent)]))
    report = run(VerifyConfig(shards=[str(shard.parent)], decode=False, write_index=True))
    assert (report.num_indexes_written, report.findings) == (1, [])
    assert "wrote 1 indexes" in capsys.readouterr().err
    assert index_path(shard).read_bytes() == before
    assert read_index(other).key_hashes.tolist() == [key_hash("v0"), key_hash("v1")]


@pytest.mark.usefixtures("inline")
def test_an_index_is_written_only_after_decoding_and_once_the_set_has_been_seen(shard: Path) -> None:
    write_shard(shard.with_name("shard-000001.tar"), samples_of(1))
    write_shard(shard.with_name("shard-000002.tar"), samples_of(1, "v"))
    corrupted(shard.with_name("shard-000002.tar"), "v0.flac")
    with pytest.raises(DataError, match=r"(?s)corrupt audio: 1.*key in two shards: 1|key in two.*corrupt audio: 1"):
        run(VerifyConfig(shards=[str(shard.parent)], decode=False, write_index=True))
    assert sorted(path.name for path in shard.parent.iterdir()) == [
        "shard-000000.tar",
        "shard-000000.tar.index",
        "shard-000001.tar",
        "shard-000002.tar",
    ]


@pytest.mark.usefixtures("inline")
def test_an_index_that_cannot_be_written_is_named(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("speechssl.shards.verify.indexes.write_index", full)
    without_index(shard)
    with pytest.raises(DataError, match=r"index not written: 1\n.*No space left on device"):
        run(VerifyConfig(shards=[str(shard)], write_index=True))
