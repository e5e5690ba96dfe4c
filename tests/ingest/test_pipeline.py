"""Sources to shards and back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import webdataset
from conftest import RATE, write_corpus
from shards_to_verify import read_sample

from speechssl.config import SegmentationConfig, ShardConfig
from speechssl.data.corpus import read_corpus
from speechssl.errors import ConfigError, DataError
from speechssl.ingest import pipeline
from speechssl.ingest.packing import ShardPlan
from speechssl.ingest.recordings import Recording
from speechssl.shards.index import read_index
from speechssl.shards.listing import REPORT_FILE, find_shards
from speechssl.verbs import shard as ingest
from speechssl.verbs.shard import read_report


def config_of(source: Path, output: Path, **options: Any) -> ShardConfig:
    return ShardConfig([str(source)], output, **options)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_samples_come_back_as_they_were(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000, 5000, 6000])
    ingest.run(config_of(manifest, tmp_path / "out"))
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
        ingest.run(config_of(manifest, tmp_path / name))
    one, other = (read_index(tmp_path / name / "shard-000000.tar") for name in ("a", "b"))
    assert one.sha256 == other.sha256


def test_other_rates_and_channels_become_mono_at_the_wanted_rate(tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    folder.mkdir()
    tone = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)
    soundfile.write(folder / "tone.wav", np.stack([0.5 * tone, 0.1 * tone], axis=1), 44100)
    (folder / "list.tsv").write_text("path\ntone.wav\n")
    ingest.run(config_of(folder / "list.tsv", tmp_path / "out"))
    sample = read_sample(read_corpus([str(tmp_path / "out")])[0], RATE)
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert len(sample.audio) == RATE
    assert np.abs(sample.audio - expected)[500:-500].max() < 2e-3


def test_what_is_left_out_is_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000, 4000, 400, 40000])
    (tmp_path / "audio" / "u000.wav").write_bytes(b"not audio")
    for name in ("nothing", "wordless"):
        soundfile.write(tmp_path / "audio" / f"{name}.wav", np.zeros(4000), RATE)
    with manifest.open("a") as file:
        file.write("missing.wav\ts0\tGO\nwordless.wav\ts0\t \nnothing.wav\ts0\tGO\n")
    report = ingest.run(config_of(manifest, tmp_path / "out", min_seconds=0.1, max_seconds=2, require_text=True))
    assert report.num_samples == 1
    assert report.num_rejected == {
        "no such file": 1,
        "unreadable audio": 1,
        "too short": 1,
        "too long": 1,
        "no transcript": 1,
        "silent": 1,
    }
    printed = capsys.readouterr().err
    assert "left out, unreadable audio: 1" in printed
    assert "missing.wav: named in" in printed
    rejected = (tmp_path / "out" / "rejected.tsv").read_text().splitlines()
    assert len(rejected) == 7
    assert (tmp_path / "out" / "report.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_usable_is_an_error_and_leaves_no_finished_set(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000])
    with pytest.raises(DataError, match="none of the 1 recordings can be used"):
        ingest.run(config_of(manifest, tmp_path / "out", min_seconds=3))
    assert not (tmp_path / "out" / REPORT_FILE).exists()


def test_finished_set_is_kept_and_a_changed_one_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000, 5000])
    config = config_of(manifest, tmp_path / "out")
    ingest.run(config)
    shard = tmp_path / "out" / "shard-000000.tar"
    before = shard.stat().st_mtime_ns
    ingest.run(config)
    assert "already made" in capsys.readouterr().err
    assert shard.stat().st_mtime_ns == before
    with pytest.raises(DataError, match="other sources or made with other options"):
        ingest.run(config_of(manifest, tmp_path / "out", text_case="lower"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="changed since"):
        ingest.run(config)


def test_shards_of_something_else_are_never_touched(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000])
    stranger = tmp_path / "out" / "shard-000000.tar"
    stranger.parent.mkdir()
    stranger.write_bytes(b"precious")
    with pytest.raises(DataError, match="shards that this command did not make"):
        ingest.run(config_of(manifest, tmp_path / "out"))
    assert stranger.read_bytes() == b"precious"


def test_interrupted_set_goes_on_and_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000] * 6)
    options: dict[str, Any] = {"max_shard_megabytes": 0.01, "num_workers": 1}
    whole, broken = (config_of(manifest, tmp_path / name, **options) for name in ("whole", "broken"))
    ingest.run(whole)
    original = pipeline.make_shard
    made = []

    def interrupted(plan: ShardPlan, *arguments: object) -> object:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(plan.name)
        return original(plan, *arguments)

    monkeypatch.setattr(pipeline, "make_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ingest.run(broken)
    assert not (tmp_path / "broken" / REPORT_FILE).exists()
    with pytest.raises(DataError, match="never finished"):
        read_corpus([str(tmp_path / "broken")])
    (tmp_path / "broken" / ".partial_shard-000002.tar").write_bytes(b"half")
    made.clear()
    monkeypatch.setattr(pipeline, "scan_chunk", lambda *_, **__: pytest.fail("scanned again"))
    monkeypatch.setattr(pipeline, "make_shard", lambda *arguments: (made.append(1), original(*arguments))[1])
    ingest.run(broken)
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "broken")
    assert len(made) == len(read_report(tmp_path / "whole").shards) - 2


def test_unfinished_set_of_other_options_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000] * 3)
    monkeypatch.setattr(ingest, "make_report", None)
    with pytest.raises(TypeError):
        ingest.run(config_of(manifest, tmp_path / "out", max_shard_megabytes=0.01))
    monkeypatch.undo()
    report = ingest.run(config_of(manifest, tmp_path / "out"))
    assert report.shards == ["shard-000000.tar"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == report.shards


def test_processes_make_the_same_bytes(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000] * 5)
    for name, num_workers in (("one", 1), ("two", 2)):
        ingest.run(config_of(manifest, tmp_path / name, max_shard_megabytes=0.02, num_workers=num_workers))
    assert len(read_report(tmp_path / "one").shards) == 2
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


@pytest.mark.parametrize(
    ("chunks", "megabytes", "is_small"), [(15, 900, 1), (16, 10, 1), (63, 10, 1), (64, 0, 0), (16, 70, 0)]
)
def test_processes_scan_many_files_or_large_ones(tmp_path: Path, chunks: int, megabytes: int, is_small: int) -> None:
    for i in range(chunks):
        with (tmp_path / f"{i}").open("wb") as file:
            file.truncate(megabytes << 20)
    recordings = [[Recording(f"{i}-{j}", str(tmp_path / f"{i}")) for j in range(2)] for i in range(chunks)]
    assert pipeline.is_small_scan(recordings) == is_small


def test_the_same_audio_is_taken_once(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000, 4000, 4000, 5000])
    audio, _ = soundfile.read(tmp_path / "audio" / "u001.wav", dtype="int16")
    soundfile.write(tmp_path / "audio" / "copy.flac", audio, RATE)
    with manifest.open("a") as file:
        file.write("copy.flac\ts0\tGO\n")
    report = ingest.run(config_of(manifest, tmp_path / "out"))
    assert (report.num_samples, report.num_rejected) == (4, {"the same audio twice": 1})
    kept = ingest.run(config_of(manifest, tmp_path / "all", deduplicate=False))
    assert kept.num_samples == 5


def test_long_recordings_without_transcript_are_cut(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "long.wav", draws.normal(0, 0.1, 20 * 8000), 8000)
    segmentation = SegmentationConfig(method="none", max_seconds=6)
    report = ingest.run(
        ShardConfig([str(tmp_path / "audio")], tmp_path / "out", cut_above_seconds=10, segmentation=segmentation)
    )
    corpus = read_corpus([str(tmp_path / "out")])
    assert [ref.key for ref in corpus] == [f"long-{i:05d}" for i in range(report.num_samples)]
    assert corpus.num_samples.max() <= 6 * RATE
    assert report.hours * 3600 + report.dropped_hours * 3600 == pytest.approx(20, abs=0.01)


def test_a_piece_with_the_key_of_another_recording_is_named(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    for name, seconds in (("a", 20), ("a-00001", 1)):
        audio = np.random.default_rng(seconds).normal(0, 0.1, seconds * 8000)
        soundfile.write(tmp_path / "audio" / f"{name}.wav", audio, 8000)
    segmentation = SegmentationConfig(method="none", max_seconds=6)
    with pytest.raises(DataError, match=r"a-00001\.wav and .*a\.wav: .* have the key a-00001"):
        ingest.run(config_of(tmp_path / "audio", tmp_path / "out", cut_above_seconds=10, segmentation=segmentation))


def test_tars_of_others_are_sources(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000, 5000, 6000])
    with webdataset.TarWriter(str(tmp_path / "theirs.tar")) as tar:
        for i in range(3):
            audio = (tmp_path / "audio" / f"u00{i}.wav").read_bytes()
            tar.write({"__key__": f"x{i}", "wav": audio, "txt": f"word {i}"})
    ingest.run(config_of(tmp_path / "theirs.tar", tmp_path / "a"))
    ingest.run(config_of(manifest, tmp_path / "b"))
    ours, expected = (read_corpus([str(tmp_path / name)], with_texts=True) for name in ("a", "b"))
    assert list(ours.texts or ()) == ["WORD 0", "WORD 1", "WORD 2"]
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(read_sample(one, RATE).audio, read_sample(other, RATE).audio)


@pytest.mark.parametrize("audio_format", ["flac", "opus", "wav"])
def test_every_encoding_has_the_samples_that_its_index_says(tmp_path: Path, audio_format: Any) -> None:
    manifest = write_corpus(tmp_path / "audio", [4001, 16000, 333])
    ingest.run(config_of(manifest, tmp_path / "out", format=audio_format))
    for ref, length in zip(read_corpus([str(tmp_path / "out")]), [4001, 16000, 333], strict=True):
        assert len(read_sample(ref, RATE).audio) == ref.num_samples == length


def test_a_drawn_split_keeps_speakers_apart(tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    write_corpus(folder, [1600 + 16 * i for i in range(60)])
    lines = [f"u{i:03d}.wav\tp{i % 20}\tGO" for i in range(60)]
    (folder / "list.tsv").write_text("\n".join(["path\tspeaker\ttext", *lines]) + "\n")
    config = config_of(folder / "list.tsv", tmp_path / "out", split="draw", dev_share=0.2, test_share=0.2)
    report = ingest.run(config)
    speakers = {}
    for part in ("train", "dev", "test"):
        corpus = read_corpus([str(tmp_path / "out" / part)])
        speakers[part] = {read_sample(ref, RATE).speaker for ref in corpus}
    assert {part: len(found) for part, found in speakers.items()} == {"train": 11, "dev": 4, "test": 5}
    assert not speakers["test"] & speakers["train"]
    assert not speakers["dev"] & (speakers["train"] | speakers["test"])
    assert report.parts["test"]["num_samples"] == 15
    with pytest.raises(DataError, match="but dev, test, train have"):
        read_corpus([str(tmp_path / "out")])


def test_a_drawn_split_of_few_speakers_has_all_its_parts(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [8000] * 9)  # of three speakers
    shares = {"split": "draw", "dev_share": 0.1, "test_share": 0.1}
    report = ingest.run(config_of(manifest, tmp_path / "out", **shares))
    assert {name: part["num_samples"] for name, part in report.parts.items()} == {"dev": 3, "test": 3, "train": 3}
    manifest.write_text("path\tspeaker\nu000.wav\ta\nu001.wav\tb\n")
    with pytest.raises(DataError, match=r"there are 2 speakers or recordings to draw dev from, and train needs one"):
        ingest.run(config_of(manifest, tmp_path / "few", **shares))


def test_the_copy_with_a_transcript_is_kept(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000, 5000])
    (tmp_path / "audio" / "copy.wav").write_bytes((tmp_path / "audio" / "u001.wav").read_bytes())
    manifest.write_text("path\ttext\nu000.wav\tYES\ncopy.wav\t\nu001.wav\tNO\n")
    ingest.run(config_of(manifest, tmp_path / "out"))
    corpus = read_corpus([str(tmp_path / "out")], with_texts=True)
    assert {(ref.key, ref.text) for ref in corpus} == {("u000", "YES"), ("u001", "NO")}


def test_the_copy_in_the_test_part_is_kept(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000, 5000, 6000])
    for copy, original in (("a_copy", "u000"), ("z_copy", "u001")):
        (tmp_path / "audio" / f"{copy}.wav").write_bytes((tmp_path / "audio" / f"{original}.wav").read_bytes())
    names = {"a_copy": "validated", "u000": "test", "u001": "dev-other", "u002": "train", "z_copy": "train"}
    manifest.write_text("path\ttext\tsplit\n" + "".join(f"{name}.wav\tYES\t{part}\n" for name, part in names.items()))
    ingest.run(config_of(manifest, tmp_path / "out", split="source"))
    assert {path.parent.name for path in (tmp_path / "out").rglob("*.tar")} == {"test", "dev-other", "train"}


def test_missing_shard_of_a_set_is_noticed(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000] * 4)
    ingest.run(config_of(manifest, tmp_path / "out", max_shard_megabytes=0.01))
    (tmp_path / "out" / "shard-000001.tar").unlink()
    with pytest.raises(DataError, match=r"1 of \d shards are missing \(shard-000001\.tar\)"):
        read_corpus([str(tmp_path / "out")])


def test_cut_off_shard_is_noticed(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [4000, 5000])
    ingest.run(config_of(manifest, tmp_path / "out"))
    shard = tmp_path / "out" / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-700])
    with pytest.raises(DataError, match="cut off or was replaced"):
        read_corpus([str(shard)])


def test_missing_shards_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"(?s)nowhere.*empty.*speechssl shard"):
        find_shards([str(tmp_path / "nowhere*.tar"), str(tmp_path / "empty")])


def test_options_that_make_no_sense_are_all_named(tmp_path: Path) -> None:
    config = config_of(tmp_path, tmp_path / "out", min_seconds=9, max_seconds=3, sample_rate=22050, format="opus")
    with pytest.raises(ConfigError, match=r"(?s)min_seconds \(9\) is above max_seconds \(3\).*Opus has"):
        ingest.run(config)


def test_ray_makes_the_same_bytes_as_this_machine(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra speechssl[ray])")
    manifest = write_corpus(tmp_path / "audio", [4000] * 5)
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    try:
        for name, engine in (("local", "local"), ("ray", "ray")):
            ingest.run(config_of(manifest, tmp_path / name, max_shard_megabytes=0.02, num_workers=2, engine=engine))
    finally:
        ray.shutdown()
    assert len(read_report(tmp_path / "ray").shards) == 2
    assert files_of(tmp_path / "local") == files_of(tmp_path / "ray")
