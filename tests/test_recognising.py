"""Evaluating and transcribing with a very small recogniser."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from changing import with_values
from conftest import write_corpus
from safetensors.torch import load_file, save_file

from speechssl.config import (
    BeamConfig,
    EvaluateConfig,
    EvaluationSetConfig,
    GreedyConfig,
    LanguageModelConfig,
    ScoreConfig,
    ShardConfig,
    TextConfig,
    TranscribeConfig,
)
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.evaluation.scoring import score
from speechssl.held_out import read_held_out
from speechssl.recogniser import load_recogniser
from speechssl.shards.index import index_path, read_index
from speechssl.verbs import evaluate, lm, transcribe
from speechssl.verbs import score as verb_score
from speechssl.verbs import shard as ingest


def test_evaluation_writes_what_it_found(shards: Path, finetuned: Path, tmp_path: Path) -> None:
    data = EvaluationSetConfig(shards=[str(shards)], max_batch_seconds=8)
    rates = evaluate.run(EvaluateConfig(finetuned, data, tmp_path / "out", accelerator="cpu"))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "out" / "hypotheses.jsonl").read_text().splitlines()]
    assert metrics["wer"] == rates.wer
    assert metrics["init"] == "pretrained"
    assert metrics["updates"] == 4
    assert len(lines) == metrics["num_utterances"] == 24
    assert metrics["diagnoses"][0]["remedy"]


def test_an_evaluation_of_silence_says_so(finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_corpus(tmp_path / "audio", [9000] * 4)
    draws = np.random.default_rng(0)
    for path in manifest.parent.glob("*.wav"):
        soundfile.write(path, draws.normal(0, 2e-4, 9000), 16000, subtype="PCM_16")
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards", min_level_db=-200.0))
    data = EvaluationSetConfig(shards=[str(tmp_path / "shards")])
    evaluate.run(EvaluateConfig(finetuned, data, tmp_path / "out", accelerator="cpu"))
    [found] = json.loads((tmp_path / "out" / "metrics.json").read_text())["diagnoses"]
    assert found["name"] == "silent audio"
    assert "%, " in found["symptom"]
    assert f"{found['symptom']}: {found['cause']}; {found['remedy']}" in capsys.readouterr().out


def test_an_evaluation_with_a_language_model_says_which(shards: Path, finetuned: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("ONE TWO\nTWO\n" * 9, encoding="utf-8")
    arpa = tmp_path / "lm.arpa"
    lm.run(LanguageModelConfig(arpa, text=[tmp_path / "text.txt"], order=2))
    data = EvaluationSetConfig(shards=[str(shards)], max_batch_seconds=8)
    decoding = BeamConfig(language_model=arpa, weight=0.5, beam_width=8)
    config = EvaluateConfig(finetuned, data, tmp_path / "out", decoding=decoding, accelerator="cpu")
    evaluate.run(config)
    said = json.loads((tmp_path / "out" / "metrics.json").read_text())["decoding"]
    assert (said["name"], said["weight"], said["beam_width"]) == ("beam", 0.5, 8)
    assert said["sha256"] == {"language_model": hashlib.sha256(arpa.read_bytes()).hexdigest()}
    with pytest.raises(DataError, match="cannot be read"):
        evaluate.run(replace(config, decoding=replace(decoding, language_model=tmp_path / "gone")))


def test_a_set_that_was_learned_from_is_known_by_what_it_holds(
    shards: Path, finetuned: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = shutil.copytree(finetuned, tmp_path / "run")
    first, part = min(shards.glob("*.tar")), tmp_path / "part"
    part.mkdir()
    for path in (first, index_path(first)):
        shutil.copy(path, part)
    num_samples = len(read_index(first))
    other = tmp_path / "other"
    ingest.run(ShardConfig(sources=[str(write_corpus(tmp_path / "audio", [9001] * 3))], output=other))
    both = EvaluationSetConfig(shards=[str(part), str(other)])
    read_held_out(load_recogniser(run, "cpu"), both, GreedyConfig())
    said = f"{num_samples} of its {num_samples + 3} samples are among those that are learned from by the recogniser"
    assert said in caplog.text
    caplog.clear()
    read_held_out(load_recogniser(run, "cpu"), EvaluationSetConfig(shards=[str(other)]), GreedyConfig())
    for path in run.glob("checkpoints/*/training_state.pt"):  # as published: nobody knows
        path.unlink()
    read_held_out(load_recogniser(run, "cpu"), both, GreedyConfig())
    assert caplog.text == ""


def test_a_set_whose_transcripts_a_language_model_is_made_of_is_known_by_what_it_holds(
    shards: Path, finetuned: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    ingest.run(ShardConfig(sources=[str(write_corpus(tmp_path / "audio", [9001] * 3))], output=other))
    copied = shutil.copytree(other, tmp_path / "copied")
    recogniser, data = load_recogniser(finetuned, "cpu"), EvaluationSetConfig(shards=[str(copied)])
    for suffix in ("arpa", "arpa.gz"):
        arpa = tmp_path / f"lm.{suffix}"
        for learned in ([str(shards), str(other)], [str(shards)]):  # what is there is ours, and replaced
            lm.run(LanguageModelConfig(arpa, shards=learned, order=2))
            caplog.clear()
            read_held_out(recogniser, data, BeamConfig(language_model=arpa))
            assert ("copied: the language model is made of these transcripts" in caplog.text) == (len(learned) == 2)
    lm.run(LanguageModelConfig(arpa, shards=[str(other)], dev_shards=[str(copied), str(shards)], order=2))
    assert "3 of its 27 samples are among those that are learned from by the language model" in caplog.text


def test_letters_that_are_only_written_otherwise_for_the_score_are_not_foreign(
    shards: Path, finetuned: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = EvaluationSetConfig(shards=[str(shards)])
    text = TextConfig(case="lower")
    evaluate.run(EvaluateConfig(finetuned, data, tmp_path / "out", text=text, accelerator="cpu"))
    assert "cannot write" not in caplog.text
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["characters"]
    assert found["foreign"] == []


def test_speakers_of_the_shards_reach_the_evaluation(
    finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_corpus(tmp_path / "audio", [9000] * 20)
    rows = [f"u{i:03d}.wav\tONE TWO\tvoice{i // 2}\n" for i in range(20)]
    manifest.write_text("path\ttext\tspeaker\n" + "".join(rows))
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards"))
    data = EvaluationSetConfig(shards=[str(tmp_path / "shards")])
    capsys.readouterr()
    rates = evaluate.run(EvaluateConfig(finetuned, data, tmp_path / "out", accelerator="cpu"))
    lines = [json.loads(line) for line in (tmp_path / "out" / "hypotheses.jsonl").read_text().splitlines()]
    assert [line["speaker"] for line in lines] == [f"voice{i // 2}" for i in range(20)]
    assert (rates.interval_unit, rates.num_speakers) == ("speakers", 10)
    assert "95% interval over 10 speakers" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "score.json").read_text())
    [system] = content["systems"]
    assert set(system["breakdown"]) == {"length", "speaker"}
    assert system["outputs"][0]["wer"] == rates.wer
    [again] = verb_score.run(ScoreConfig(tmp_path / "out"))
    assert again.outputs[0].rates == rates
    assert [len(item.groups) for item in again.details.breakdowns] == [1, 10]


def test_a_whole_evaluation_of_the_same_is_not_repeated(
    shards: Path, finetuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(finetuned, tmp_path / "run")
    data = EvaluationSetConfig(shards=[str(shards)])
    config = EvaluateConfig(run, data, tmp_path / "out", bootstrap_samples=50, accelerator="cpu")
    scored = []
    monkeypatch.setattr(
        "speechssl.held_out.score", lambda *args, **options: scored.append(1) or score(*args, **options)
    )
    first = evaluate.run(config)
    assert evaluate.run(config) == first
    assert len(scored) == 1
    assert "nothing was repeated" in capsys.readouterr().out
    manifest = write_corpus(tmp_path / "audio", [9000] * 23)
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards"))
    evaluate.run(replace(config, bootstrap_samples=60))
    evaluate.run(replace(config, data=EvaluationSetConfig(shards=[str(tmp_path / "shards")])))
    evaluate.run(config)
    for path in run.glob("checkpoints/*/model.safetensors"):  # as if the run had been deleted and trained anew
        save_file({name: weight * 0.5 for name, weight in load_file(path).items()}, path)
    evaluate.run(config)
    assert len(scored) == 5, "options, data and weights are each looked at"
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics.pop("decoding") == {"name": "greedy"}
    (tmp_path / "out" / "metrics.json").write_text(json.dumps(metrics))  # as earlier versions wrote it
    evaluate.run(config)
    assert len(scored) == 5
    (tmp_path / "out" / "metrics.json").write_text(json.dumps({**metrics, "decoding": {"name": "beam"}}))
    evaluate.run(config)
    assert len(scored) == 6
    (tmp_path / "out" / "hypotheses.jsonl").unlink()
    evaluate.run(config)
    assert len(scored) == 7
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    del metrics["mer"]  # as those of earlier versions
    (tmp_path / "out" / "metrics.json").write_text(json.dumps(metrics))
    evaluate.run(config)
    assert len(scored) == 8


def test_an_evaluation_counts_every_sample_and_foreign_character(
    finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_corpus(tmp_path / "audio", [9000, 9000, 9000, 150, 2000, 150])
    texts = ["STOP IT\u2019S", "go", "", "YES NO", "HELP HELP HELP", ""]
    manifest.write_text("path\ttext\n" + "".join(f"u{i:03d}.wav\t{text}\n" for i, text in enumerate(texts)))
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards", text_case="keep"))
    data = EvaluationSetConfig(shards=[str(tmp_path / "shards")])
    evaluate.run(EvaluateConfig(finetuned, data, tmp_path / "out", accelerator="cpu"))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["num_samples"] == metrics["num_utterances"] + sum(metrics["skipped"].values()) == 6
    assert metrics["skipped"] == {"no transcript": 2}
    assert metrics["unusual"] == {"shorter than a frame": 1, "transcript longer than its frames": 1}
    assert metrics["unusual_ids"] == {"shorter than a frame": ["u003"], "transcript longer than its frames": ["u004"]}
    characters = metrics["characters"]
    assert (characters["foreign_words"], characters["foreign_utterances"]) == (2, 2)
    assert {item["character"] for item in characters["foreign"]} == {"\u2019", "I", "g", "o"}
    assert characters["wer_respelled"] is not None
    printed = capsys.readouterr().out
    assert "6 samples: 4 scored, 2 not" in printed
    assert "scored as an empty output, shorter than a frame: 1 (u003)" in printed
    assert "scored, transcript longer than its frames: 1 (u004)" in printed
    assert "\u2019 (U+2019 RIGHT SINGLE QUOTATION MARK) once" in printed
    assert "g (U+0067 LATIN SMALL LETTER G) once for G" in printed
    edits = metrics["substitutions"] + metrics["deletions"] + metrics["insertions"]
    assert f"2 of the {edits} errors are words with such characters" in printed
    assert "to do: letters of the other case: make the shards again with --text_case upper" in printed
    assert "u003: 150 audio samples, expected at least" in caplog.text
    assert "hold characters that the model cannot write" in caplog.text


def test_evaluation_asks_for_shards(finetuned: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.shards is empty"):
        evaluate.run(EvaluateConfig(finetuned, EvaluationSetConfig(), tmp_path / "out", accelerator="cpu"))


def test_encoder_without_head_is_not_evaluated(shards: Path, pretrained: Path, tmp_path: Path) -> None:
    data = EvaluationSetConfig(shards=[str(shards)])
    with pytest.raises(CheckpointError, match="speechssl finetune"):
        evaluate.run(EvaluateConfig(pretrained, data, tmp_path / "out", accelerator="cpu"))


def test_transcribing_goes_on_past_a_bad_file(
    finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "audio", [9000, 11000], rate=22050)
    bad = tmp_path / "bad.wav"
    bad.write_text("no audio")
    config = TranscribeConfig(finetuned, [bad, tmp_path / "audio"], format="jsonl", accelerator="cpu")
    with pytest.raises(DataError, match=r"1 of 3 files were not transcribed:\n.*bad\.wav"):
        transcribe.run(config)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line["path"]).name for line in lines] == ["u000.wav", "u001.wav"]
    assert lines[0]["seconds"] == pytest.approx(9000 / 22050, abs=0.01)


def test_a_long_recording_is_heard_in_windows(finetuned: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", [200_000, 6000], rate=16000)
    config = TranscribeConfig(finetuned, [tmp_path / "audio"], format="jsonl", accelerator="cpu")
    config = with_values(config, {"window_seconds": 2.0, "margin_seconds": 0.4})
    recogniser = load_recogniser(finetuned, torch.device("cpu"))
    shapes = []
    recogniser.model.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    long, short = transcribe.transcribe(recogniser, transcribe.find_audio(config.audio), config, [])
    assert (long.seconds, short.seconds) == (200_000 / 16000, 6000 / 16000)
    assert shapes[0][0] > 10
    assert all(num_samples < 2.2 * 16000 for _, num_samples in shapes)


def test_windows_of_the_usual_length_are_heard_one_at_a_time_on_a_cpu(finetuned: Path, tmp_path: Path) -> None:
    """Two of them take a published model above 1 GiB, and no less time."""
    write_corpus(tmp_path / "audio", [60 * 16000], rate=16000)
    recogniser = load_recogniser(finetuned, torch.device("cpu"))
    sizes = []
    recogniser.model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    config = TranscribeConfig(finetuned, [tmp_path / "audio"], accelerator="cpu")
    list(transcribe.transcribe(recogniser, transcribe.find_audio(config.audio), config, []))
    assert sizes == [1, 1, 1]


def test_a_long_recording_that_breaks_off_has_no_transcript(finetuned: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", [200_000, 6000], rate=16000)
    broken = np.zeros(600_000, np.float32)
    broken[-1] = np.nan
    soundfile.write(tmp_path / "audio" / "u000.wav", broken, 16000, subtype="FLOAT")
    output = tmp_path / "transcripts.txt"
    config = TranscribeConfig(finetuned, [tmp_path / "audio"], output, accelerator="cpu")
    config = with_values(config, {"window_seconds": 2.0, "margin_seconds": 0.4})
    with pytest.raises(DataError, match=r"1 of 2 files were not transcribed:\n.*u000\.wav"):
        transcribe.run(config)
    assert [line.split("\t")[0] for line in output.read_text().splitlines()] == [str(tmp_path / "audio" / "u001.wav")]


def test_windows_that_are_all_margin_are_refused(finetuned: Path, tmp_path: Path) -> None:
    config = TranscribeConfig(finetuned, [tmp_path], window_seconds=5.0, margin_seconds=2.5)
    with pytest.raises(ConfigError, match="window_seconds is 5, expected more than twice margin_seconds, 5"):
        transcribe.run(config)


def test_a_folder_is_no_file_for_transcripts(finetuned: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", [6000], rate=16000)
    with pytest.raises(ConfigError, match=r"output is .*, a folder; expected the name of a file"):
        transcribe.run(TranscribeConfig(finetuned, [tmp_path / "audio"], tmp_path, accelerator="cpu"))
