"""Manifest to shards and back."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset
from conftest import RATE, write_corpus

from speechssl.config import ShardConfig
from speechssl.data import sharding
from speechssl.data.corpus import find_shards, read_corpus
from speechssl.data.index import read_index
from speechssl.data.reading import read_sample
from speechssl.errors import DataError


def test_samples_come_back_as_they_were(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000, 5000, 6000])
    sharding.run(ShardConfig(manifest=manifest, output=tmp_path / "out"))
    corpus = read_corpus([str(tmp_path / "out")])
    assert corpus.sample_rate == RATE
    for ref, length, text in zip(corpus, [4000, 5000, 6000], ["YES", "NO", "STOP"], strict=True):
        original, _ = soundfile.read(tmp_path / "audio" / f"{ref.key}.wav", dtype="float32")
        sample = read_sample(ref, RATE)
        assert len(sample.audio) == length
        np.testing.assert_array_equal(sample.audio, original)
        assert sample.text == text


def test_plain_webdataset_reads_the_shards(shards: Path) -> None:
    names = [str(path) for path in find_shards([str(shards)])]
    samples = list(webdataset.WebDataset(names, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [ref.key for ref in read_corpus([str(shards)])]
    assert all(set(sample) >= {"flac", "json"} for sample in samples)
    assert json.loads(samples[0]["json"])["text"] == "YES"


def test_same_list_same_bytes(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000] * 9)
    for name in ("a", "b"):
        sharding.run(ShardConfig(manifest=manifest, output=tmp_path / name))
    one, other = (read_index(tmp_path / name / "shard-000000.tar") for name in ("a", "b"))
    assert one.sha256 == other.sha256


def test_other_rates_and_channels_become_mono_at_the_wanted_rate(tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    folder.mkdir()
    tone = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)
    soundfile.write(folder / "tone.wav", np.stack([0.5 * tone, 0.1 * tone], axis=1), 44100)
    (folder / "list.tsv").write_text("path\ntone.wav\n")
    sharding.run(ShardConfig(manifest=folder / "list.tsv", output=tmp_path / "out"))
    sample = read_sample(read_corpus([str(tmp_path / "out")])[0], RATE)
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert len(sample.audio) == RATE
    assert np.abs(sample.audio - expected)[500:-500].max() < 2e-3


def test_what_is_left_out_is_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000, 4000, 400, 40000])
    (tmp_path / "audio" / "u000.wav").write_bytes(b"not audio")
    with manifest.open("a") as file:
        file.write("missing.wav\ts0\tGO\nsilent.wav\ts0\t \n")
    config = ShardConfig(manifest=manifest, output=tmp_path / "out", min_seconds=0.1, max_seconds=2, require_text=True)
    report = sharding.run(config)
    assert report.num_samples == 1
    assert report.num_skipped == {"unreadable audio": 2, "too short": 1, "too long": 1, "no transcript": 1}
    printed = capsys.readouterr().err
    assert "unreadable audio: 2" in printed
    assert "missing.wav: no such audio file" in printed


def test_nothing_usable_is_an_error_and_leaves_no_finished_set(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000])
    with pytest.raises(DataError, match="none of its 1 recordings can be used"):
        sharding.run(ShardConfig(manifest=manifest, output=tmp_path / "out", min_seconds=3))
    assert not (tmp_path / "out" / sharding.REPORT_FILE).exists()


def test_finished_set_is_kept_and_a_changed_one_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000, 5000])
    config = ShardConfig(manifest=manifest, output=tmp_path / "out")
    sharding.run(config)
    before = (tmp_path / "out" / "shard-000000.tar").stat().st_mtime_ns
    sharding.run(config)
    assert "already made" in capsys.readouterr().err
    assert (tmp_path / "out" / "shard-000000.tar").stat().st_mtime_ns == before
    with pytest.raises(DataError, match="another list or made with other options"):
        sharding.run(ShardConfig(manifest=manifest, output=tmp_path / "out", text_case="lower"))


def test_interrupted_set_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000] * 6)
    config = ShardConfig(manifest=manifest, output=tmp_path / "out", max_shard_megabytes=0.01)
    original = sharding.prepare

    def interrupted(config: ShardConfig, recording: sharding.Recording) -> object:
        if recording.key == "u004":
            raise KeyboardInterrupt
        return original(config, recording)

    monkeypatch.setattr(sharding, "prepare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sharding.run(config)
    assert not (tmp_path / "out" / sharding.REPORT_FILE).exists()
    monkeypatch.setattr(sharding, "prepare", original)
    sharding.run(config)
    assert len(read_corpus([str(tmp_path / "out")])) == 6


def test_cut_off_shard_is_noticed(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000, 5000])
    sharding.run(ShardConfig(manifest=manifest, output=tmp_path / "out"))
    shard = tmp_path / "out" / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-700])
    with pytest.raises(DataError, match="cut off or was replaced"):
        read_corpus([str(shard)])


def test_missing_shards_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"(?s)nowhere.*empty.*speechssl shard"):
        find_shards([str(tmp_path / "nowhere*.tar"), str(tmp_path / "empty")])


def test_keys_that_occur_twice_are_refused(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000])
    for name in ("a", "b"):
        sharding.run(ShardConfig(manifest=manifest, output=tmp_path / name))
    with pytest.raises(DataError, match="a key must occur once"):
        read_corpus([str(tmp_path / "a"), str(tmp_path / "b")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the header is"),
        ("file\ttext\na.wav\tYES\n", "the header is"),
        ("path\ttext\na.wav\n", r":2: 1 columns, expected 2"),
        ("path\na.wav\na.flac\n", r":3: key 'a' is that of line 2"),
        ("path\n", "lists no recordings"),
    ],
)
def test_wrong_manifests_say_where(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "list.tsv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        sharding.read_manifest(path)


def test_keys_hold_no_dots_or_slashes(tmp_path: Path) -> None:
    recording = sharding.make_recording({"path": "a.b/c d.é.flac"}, tmp_path)
    assert recording.key == "a_b_c_d"
