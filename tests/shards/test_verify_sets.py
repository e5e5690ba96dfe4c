"""What does not fit together in a set of shards is named."""

import json
from pathlib import Path

import pytest
from shards_to_verify import check, samples_of, write_shard

from speechssl.config import VerifyConfig
from speechssl.errors import DataError
from speechssl.shards.verify.indexes import publish_index
from speechssl.shards.verify.sets import check_folder, check_set, find_all
from speechssl.verbs.verify import run


def test_keys_and_sample_rates_are_compared_across_shards(tmp_path: Path) -> None:
    shards = [
        write_shard(tmp_path / "a.tar", samples_of(3)),
        write_shard(tmp_path / "b.tar", samples_of(2, "v") | samples_of(3)),
        write_shard(tmp_path / "c.tar", samples_of(2, "w", rate=8000)),
    ]
    results = [check(shard, write_index=True) for shard in shards]
    assert all(result.index_is_ready for result in results)
    check_set(results)
    found = [(f.shard, f.kind, f.key, f.offset) for result in results for f in result.findings]
    assert found == [
        *((str(shards[1]), "key in two shards", f"u{i}", results[1].offsets[2 + i]) for i in range(3)),
        (str(shards[2]), "other sample rate", "w0", 0),
    ]
    assert f"is in {shards[0]} too" in results[1].findings[0].detail
    assert "2 samples at 8000 Hz, this one the first; expected 16000 Hz" in results[2].findings[0].detail
    assert [publish_index(result) for result in results] == [True, False, False]


def test_what_is_missing_from_a_folder_or_left_over_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("shard-000001.tar", "shard-000005.tar", "shard-000007.tar.index", ".partial_shard-000008.tar"):
        (folder / name).touch()
    (folder / "report.json").write_text(json.dumps({"shards": ["shard-000001.tar", "shard-000006.tar"]}))
    assert [(Path(f.shard).name, f.kind) for f in check_folder(folder)] == [
        ("shard-000006.tar", "missing shard"),
        ("shard-000000.tar", "missing shard"),
        ("shard-000002.tar to shard-000004.tar", "missing shard"),
        ("shard-000007.tar.index", "index without a shard"),
        (".partial_shard-000008.tar", "leftover file"),
    ]


def test_the_report_above_speaks_for_the_parts_of_a_split(tmp_path: Path) -> None:
    for name in ("train/shard-000000.tar", "dev/shard-000000.tar"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    listed = ["train/shard-000000.tar", "train/shard-000001.tar", "dev/shard-000000.tar"]
    (tmp_path / "report.json").write_text(json.dumps({"shards": listed}))
    assert [Path(f.shard).name for f in check_folder(tmp_path / "train")] == ["shard-000001.tar"]
    assert check_folder(tmp_path / "dev") == []
    assert check_folder(tmp_path) == check_folder(tmp_path / "train")
    (tmp_path / ".unfinished").mkdir()
    assert [(Path(f.shard).name, f.kind) for f in check_folder(tmp_path / "dev")] == [(".unfinished", "unfinished set")]


def test_folders_are_taken_as_they_are_and_the_parts_of_a_split_with_them(tmp_path: Path) -> None:
    names = ["set/train/a.tar", "set/dev/b.tar", "plain/c.tar", "plain/.partial_d.tar", "plain/below/e.tar", "f.tar"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "plain" / "report.json").write_text('{"shards": ["missing.tar"]}')
    shards, folders = find_all([str(tmp_path / name) for name in ("plain", "set", "*.tar", "f.tar")])
    assert [str(shard.relative_to(tmp_path)) for shard in shards] == sorted([*names[:3], "f.tar"])
    assert [str(folder.relative_to(tmp_path)) for folder in folders] == ["plain", "set", "set/dev", "set/train"]
    with pytest.raises(DataError, match="nowhere"):
        find_all([str(tmp_path / "plain"), str(tmp_path / "nowhere")])
    (tmp_path / "plain" / "c.tar").unlink()
    (tmp_path / "plain" / "below").rename(tmp_path / "plain" / ".unfinished")
    (tmp_path / "plain" / "report.json").unlink()
    with pytest.raises(DataError, match="plain"):
        find_all([str(tmp_path / "plain")])


@pytest.mark.usefixtures("inline")
def test_a_missing_shard_does_not_hide_what_else_is_wrong(tmp_path: Path) -> None:
    write_shard(tmp_path / "set" / "train" / "shard-000000.tar", {"a": {"flac": b"bad"}})
    (tmp_path / "set" / "report.json").write_text('{"shards": ["train/shard-000000.tar", "train/shard-000001.tar"]}')
    with pytest.raises(DataError, match=r"(?s)3 problems in 2 files.*corrupt audio: 1.*missing shard: 1"):
        run(VerifyConfig(shards=[str(tmp_path / "set")]))


@pytest.mark.parametrize("content", ["", "[]", '{"shards": [1]}', '{"shards": 3}', "{}"])
def test_a_report_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    assert [f.kind for f in check_folder(tmp_path)] == ["unreadable report"]


def test_the_numbering_of_shards_made_elsewhere_is_their_own(tmp_path: Path) -> None:
    (tmp_path / "train-000007.tar").touch()
    assert check_folder(tmp_path) == []
