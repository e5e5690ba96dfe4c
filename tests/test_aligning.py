"""Aligning, calibrating and leaving out with a very small recogniser."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import WORDS, write_corpus

import speechssl
from speechssl.config import AlignConfig, BeamConfig, CalibrateConfig, EvaluationSetConfig, GreedyConfig, ShardConfig
from speechssl.errors import DataError
from speechssl.recogniser import load_recogniser
from speechssl.training.checkpoints import load_checkpoint
from speechssl.verbs import align, calibrate
from speechssl.verbs import shard as ingest


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A list of 13 recordings; of one the transcript is too long, one has none, one is no audio, one is not there."""
    manifest = write_corpus(tmp_path / "audio", [9000 + 100 * i for i in range(12)])
    lines = manifest.read_text().splitlines()
    lines[2] += " GO" * 99
    lines[4] = lines[4].rpartition("\t")[0] + "\t"
    (tmp_path / "audio" / "u006.wav").write_text("no audio")
    lines.append(lines[-1].replace("u011.wav", "nowhere.wav"))
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def test_the_worst_are_named_and_left_out(
    corpus: Path, finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    config = AlignConfig(finetuned, [str(corpus)], output, ["ctm", "textgrid"], leave_out=0.25, accelerator="cpu")
    folder = align.run(config)
    align.run(config)  # replaces its own
    scores = [line.split("\t") for line in (output / "scores.tsv").read_text().splitlines()[1:]]
    assert [row[0] for row in scores] == [item.key for item in folder.scored]
    assert [float(row[1]) for row in scores] == sorted(float(row[1]) for row in scores)
    lines = [json.loads(line) for line in (output / "alignment.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == [f"u{i:03d}" for i in (0, 2, 4, 5, 7, 8, 9, 10, 11)]
    for line in lines:
        [word] = line["words"]
        assert word["word"] == line["text"] == WORDS[int(line["key"][1:]) % 5]
        assert "".join(c[0] for c in word["characters"]) == word["word"]
        assert 0 <= word["start"] < word["end"] <= line["seconds"]
    assert len((output / "alignment.ctm").read_text().splitlines()) == 9
    assert len(list((output / "textgrids").iterdir())) == 9
    left = [line.split("\t") for line in (output / "left_out.tsv").read_text().splitlines()[1:]]
    worst = [row[0] for row in scores[:2]]
    assert "nowhere.wav: no such file" in left[0][1]
    assert [row[0] for row in left[1:]] == ["u001", "u003", "u006", *worst]
    assert "transcript needs" in left[1][1]
    assert left[2][1].startswith("no transcript")
    told = capsys.readouterr().out
    assert "9 recordings aligned, 4 not" in told
    assert ", u001, u003" in told.partition(f"shard --leave_out {output / 'left_out.tsv'}`: ")[2]
    report = ingest.run(ShardConfig([str(corpus)], tmp_path / "shards", leave_out=output / "left_out.tsv"))
    assert report.num_samples == 7
    named = (tmp_path / "shards" / "rejected.tsv").read_text()
    for key in worst:
        [line] = [line for line in named.splitlines() if f"{key}.wav" in line]
        assert "left out by a list" in line
        assert "left_out.tsv names it: score -" in line


def test_shards_are_aligned_and_a_list_of_others_is_refused(shards: Path, finetuned: Path, tmp_path: Path) -> None:
    folder = align.run(AlignConfig(finetuned, [str(shards)], tmp_path / "out", accelerator="cpu"))
    assert len(folder.scored) == 24
    write_corpus(tmp_path / "audio", [9000])
    listed = tmp_path / "list"
    listed.write_text("u000\nu999\n")
    config = ShardConfig([str(tmp_path / "audio" / "list.tsv")], tmp_path / "shards", leave_out=listed)
    with pytest.raises(DataError, match="which names u999: no recordings of these sources"):
        ingest.run(config)
    listed.write_text("\n")
    with pytest.raises(DataError, match="which names no recording"):
        ingest.run(config)


def test_what_has_no_transcript_at_all_is_told(finetuned: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 9000), 16000)
    with pytest.raises(DataError, match="none of 1 recordings could be aligned; the first: no transcript"):
        align.run(AlignConfig(finetuned, [str(tmp_path / "a.wav")], tmp_path / "out", accelerator="cpu"))


def test_the_recogniser_aligns_a_long_recording_in_windows(finetuned: Path) -> None:
    recogniser = speechssl.load_recogniser(finetuned, "cpu")
    samples = np.random.default_rng(0).normal(0, 0.1, 70 * 16000)
    found = recogniser.align(samples, " ".join(["stop", "help,"] * 40), 16000)
    assert [word.text for word in found.words] == ["stop", "help,"] * 40
    starts = [word.start_seconds for word in found.words]
    assert starts == sorted(starts)
    assert 0 <= starts[0] < found.words[-1].stop_seconds <= found.seconds == 70
    with pytest.raises(DataError, match="can write none of its characters"):
        recogniser.align(samples, "1984", 16000)


def test_calibration_goes_with_the_checkpoint(shards: Path, finetuned: Path, tmp_path: Path) -> None:
    assert load_checkpoint(finetuned).calibration.keys() == {"greedy"}, "which fine-tuning has fitted"
    run = shutil.copytree(finetuned, tmp_path / "run")
    recogniser = load_recogniser(run, "cpu")
    recogniser.model.head.weight.data.normal_(std=3.0)  # it writes something, though it has learned nothing
    data = EvaluationSetConfig(shards=[str(shards)], max_batch_seconds=8)
    config = CalibrateConfig(run, data, data, tmp_path / "out", accelerator="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "load_recogniser", lambda *_: recogniser)
        found = calibrate.run(config)
        calibrate.run(config)
    assert load_checkpoint(run).calibration["greedy"] == found["calibration"]
    assert found["calibration"]["num_words"] > 20
    assert found["measured"]["check"]["error"]["value"] < found["measured"]["check before"]["error"]["value"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"calibration.json", "reliability.png"}


def test_confidence_of_what_beam_search_finds_has_a_calibration_of_its_own(
    shards: Path, finetuned: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finetuned, tmp_path / "run")
    recogniser = load_recogniser(run, "cpu")
    recogniser.model.head.weight.data.normal_(std=3.0)
    data = EvaluationSetConfig(shards=[str(shards)], max_batch_seconds=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "load_recogniser", lambda *_: recogniser)
        found = calibrate.run(CalibrateConfig(run, data, decoding=BeamConfig(beam_width=5), accelerator="cpu"))
    loaded = load_recogniser(run, "cpu")
    assert loaded.calibration(BeamConfig(beam_width=5)).num_words == found["calibration"]["num_words"] > 20
    assert loaded.calibration(BeamConfig(beam_width=6)).num_words == 0, "another search finds other words"
    assert loaded.calibration(GreedyConfig()) == recogniser.calibration(GreedyConfig())
