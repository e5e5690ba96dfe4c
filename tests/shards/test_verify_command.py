"""``speechssl verify`` as a whole: what it says, writes and refuses."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE
from shards_to_verify import encoded, read_sample, write_shard

from speechssl import cli
from speechssl.config import VerifyConfig
from speechssl.data.corpus import read_corpus
from speechssl.errors import ConfigError, DataError
from speechssl.shards.index import index_path
from speechssl.shards.members import MEMBER_SUFFIXES
from speechssl.verbs.verify import run


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables fold names that do not fit, and the folders of tests have longer names in some places than in others."""
    monkeypatch.setenv("COLUMNS", "1000")


def test_a_set_from_the_shard_command_is_sound(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(VerifyConfig(shards=[str(shards)], num_workers=2))
    corpus = read_corpus([str(shards)])
    assert (report.num_samples, report.findings) == (len(corpus), [])
    assert report.seconds == pytest.approx(corpus.seconds)
    said = capsys.readouterr().err
    assert f"{len(list(shards.glob('*.tar')))} shards, {len(corpus)} samples, 0.01 hours: sound" in said


@pytest.mark.usefixtures("inline")
def test_a_set_made_by_webdataset_gets_its_index_and_can_be_read(tmp_path: Path) -> None:
    import webdataset  # imports torch, which the processes that import this module do not need

    samples = {
        "a": {"flac": encoded(0), "json": b'{"text": "one", "speaker": "s"}'},
        "b": {"wav": encoded(1, format="WAV"), "txt": b"\xef\xbb\xbftwo \r\n lines\n"},
        "c": {"OGG": encoded(2, format="OGG", subtype="VORBIS"), "transcript": b"three\n", "json": b"{}"},
        "d": {"opus": encoded(3, format="OGG", subtype="OPUS"), "json": b'{"text": "four"}', "txt": b"not this"},
        "e": {"mp3": encoded(4, format="MP3", subtype="MPEG_LAYER_III")},
        "f": {"flac": encoded(5), "original.txt": b"Mr. F", "normalized.txt": b"mister f"},
        "g": {"flac": encoded(6), "lab": b"0 10 sil\n10 20 g\n", "flac.txt": b"gee"},
    }
    with webdataset.ShardWriter(str(tmp_path / "x-%03d.tar"), maxcount=2, encoder=False, verbose=0) as writer:
        for key, members in samples.items():
            writer.write({"__key__": key, **members})
    report = run(VerifyConfig(shards=[str(tmp_path)], write_index=True))
    assert (report.num_shards, report.num_samples, report.num_indexes_written) == (4, 7, 4)
    corpus = read_corpus([str(tmp_path)], with_texts=True)
    texts = ["one", "two lines", "three", "four", None, "mister f", "gee"]
    assert [(ref.key, ref.num_samples) for ref in corpus] == [(key, 1600) for key in samples]
    assert list(corpus.texts or ()) == [text or "" for text in texts]
    for ref, members, text in zip(corpus, samples.values(), texts, strict=True):
        sample = read_sample(ref, RATE)
        assert (sample.text, sample.speaker) == (text, "s" if ref.key == "a" else None)
        audio = next(data for suffix, data in members.items() if suffix.lower() in MEMBER_SUFFIXES)
        np.testing.assert_allclose(sample.audio, soundfile.read(io.BytesIO(audio), dtype="float32")[0], atol=1e-6)
    assert run(VerifyConfig(shards=[str(tmp_path)])).findings == []


@pytest.mark.usefixtures("inline")
def test_problems_are_counted_named_and_written_down(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_shard(shard.with_name("shard-000001.tar"), {f"v{i}": {"flac": b"bad"} for i in range(5)})
    (shard.parent / ".partial_x").touch()
    report = shard.parent.parent / "out" / "findings.json"
    assert cli.main(["verify", str(shard.parent), "--report", str(report), "--write_index"]) == 2
    said = capsys.readouterr().err
    assert "7 problems in 2 files; 2 shards, 9 samples, 0.00 hours in all:" in said
    assert "  corrupt audio: 5\n" in said
    first = f"    {other}: v0 at byte 0: cannot be decoded (Format not recognised); make the shard again\n"
    assert first in said
    assert said.count(": cannot be decoded") == 3
    assert "  no index: 1\n" in said
    assert "  leftover file: 1\n" in said
    assert f"All of them are in {report}." in said
    table, _, _ = said.partition("speechssl: error")
    assert "v0 at byte 0" in table
    content = json.loads(report.read_text())
    assert [finding["kind"] for finding in content["findings"]].count("corrupt audio") == 5
    assert content["findings"][0] == {
        "shard": str(other),
        "kind": "corrupt audio",
        "key": "v0",
        "offset": 0,
        "detail": "cannot be decoded (Format not recognised); make the shard again",
    }
    assert not index_path(other).exists()


@pytest.mark.usefixtures("inline")
def test_names_with_markup_or_odd_characters_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = write_shard(tmp_path / "a[red].tar", {"k[b]\n\udcff": {"flac": encoded(0)}})
    with pytest.raises(DataError, match=r"'k\[b\]\\n\\udcff' at byte 0"):
        run(VerifyConfig(shards=[str(tmp_path)], report=tmp_path / "findings.json"))
    said = capsys.readouterr().err
    assert "a[red].tar" in said
    assert "k[b]" in said.partition("speechssl: error")[0]
    assert json.loads((tmp_path / "findings.json").read_text())["findings"][0]["shard"] == str(shard)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": []}, "shards is empty; name shard files"),
        ({"num_workers": -1}, "num_workers is -1, expected 0"),
        ({"report": "SET/report.json"}, "report.json is where the set's own report lies"),
        ({"report": "SET/../report.json"}, "report.json is where the set's own report lies"),
        ({"report": "SET/findings.tar"}, "would be taken for a shard or its index"),
        ({"report": "SET"}, "set, a folder; expected the name of a file"),
        ({"report": "SET/shard-000000.tar/x.json"}, "shard-000000.tar is no folder"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_read(
    shard: Path, options: dict[str, object], message: str
) -> None:
    values = {"shards": [str(shard)]} | options
    if "report" in values:
        values["report"] = Path(str(values["report"]).replace("SET", str(shard.parent)))
    with pytest.raises(ConfigError, match=message):
        run(VerifyConfig(**values))
