"""Fine-tuning a very small model, from a pretrained encoder and from scratch."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from changing import with_values
from conftest import write_corpus
from small_chain import MODEL, finetune_config, pretrain_config, weights

from speechssl.config import (
    DropoutConfig,
    EvaluateConfig,
    EvaluationSetConfig,
    FeatureEncoderConfig,
    FinetuneConfig,
    HeadConfig,
    OptimizerConfig,
    ShardConfig,
)
from speechssl.config.reading import parse
from speechssl.data.corpus import read_corpus
from speechssl.errors import ConfigError, DataError, HealthError
from speechssl.model.ctc import CtcModel, CtcOutput
from speechssl.tasks.ctc import FinetuneTask, blank_share, slow_updates
from speechssl.tasks.initial import resolve_finetuning, resolve_pretraining
from speechssl.tasks.sets import read_sets
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import load_checkpoint, read_best
from speechssl.training.optimizers import build_optimizer
from speechssl.training.run_log import read_log
from speechssl.verbs import evaluate, finetune, pretrain
from speechssl.verbs import shard as ingest


def test_blanks_are_counted_inside_utterances() -> None:
    logits = torch.zeros(2, 4, 3)
    logits[0, :, 1] = 1.0  # four labels
    logits[1, 0, 2] = 1.0  # a label, two blanks, and padding
    assert float(blank_share(CtcOutput(logits, torch.tensor([4, 3]), logits))) == pytest.approx(2 / 7)


def test_finetuning_does_not_go_on_from_another_encoder(shards: Path, tmp_path: Path) -> None:
    pretrain.run(pretrain_config(shards, tmp_path / "pretrain", max_updates=2))
    config = finetune_config(shards, tmp_path / "finetune", tmp_path / "pretrain")
    finetune.run(config)
    finetune.run(config)
    shutil.rmtree(tmp_path / "pretrain")
    pretrain.run(pretrain_config(shards, tmp_path / "pretrain", max_updates=4))
    with pytest.raises(ConfigError, match="init holds other weights than when the run began"):
        finetune.run(config)


def test_finetuning_does_not_go_on_with_another_dev_set(shards: Path, tmp_path: Path) -> None:
    finetune.run(finetune_config(shards, tmp_path / "run", None))
    manifest = write_corpus(tmp_path / "audio", [9000] * 23)
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards"))
    config = finetune_config(shards, tmp_path / "run", None)
    config = with_values(config, {"dev": EvaluationSetConfig(shards=[str(tmp_path / "shards")])})
    with pytest.raises(ConfigError, match=r"dev: the shards held 24 samples, 0\.0072 h, now 23 samples, 0\.0036 h"):
        finetune.run(config)
    shutil.copytree(shards, tmp_path / "copy")
    config = with_values(config, {"dev": EvaluationSetConfig(shards=[str(tmp_path / "copy")], max_batch_seconds=4)})
    finetune.run(config)  # the same samples in another place, in other batches


def test_an_unfinished_init_is_told(shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pretrain.run(pretrain_config(shards, tmp_path / "pretrain", max_updates=8))
    config = finetune_config(shards, tmp_path / "finetune", tmp_path / "pretrain")
    resolve_finetuning(config)
    assert "--init" not in caplog.text
    shutil.rmtree(tmp_path / "pretrain" / "checkpoints" / "update_00000008")  # as if it had been killed before
    resolve_finetuning(config)
    assert "update_00000004 has had 4 of the 8 updates of its run" in caplog.text
    caplog.clear()
    resolve_pretraining(replace(pretrain_config(shards, tmp_path / "other"), init=tmp_path / "pretrain"))
    assert "has had 4 of the 8 updates" in caplog.text


def test_finetuning_marks_the_best_checkpoint_and_takes_the_encoder(finetuned: Path, pretrained: Path) -> None:
    best = json.loads((finetuned / "best.json").read_text())
    dev = {line["update"]: line["wer"] for line in read_log(finetuned / "log.jsonl") if line["kind"] == "dev"}
    assert best["wer"] == min(dev.values())
    before, after = weights(pretrained), weights(finetuned)
    name = "encoder.feature_encoder.blocks.0.conv.weight"
    assert torch.equal(before[name], after[name])
    name = "encoder.context.blocks.0.ffn_in.weight"
    assert not torch.equal(before[name], after[name])


def test_from_scratch_is_the_same_command_without_init(shards: Path, tmp_path: Path, pretrained: Path) -> None:
    finetune.run(finetune_config(shards, tmp_path / "run", None))
    name = "encoder.feature_encoder.blocks.0.conv.weight"
    assert not torch.equal(weights(tmp_path / "run")[name], weights(pretrained)[name])


def test_log_mel_and_a_recurrent_head_go_the_whole_way(shards: Path, tmp_path: Path) -> None:
    features = FeatureEncoderConfig(conv_layers=[(16, 200, 80), (16, 3, 2), (16, 3, 2)], first_layer="log_mel")
    config = pretrain_config(shards, tmp_path / "pretrain")
    config = with_values(config, {"model.feature_encoder": features, "training.precision": "bf16"})
    pretrain.run(config)
    tuned = finetune_config(shards, tmp_path / "finetune", tmp_path / "pretrain")
    tuned = with_values(
        tuned,
        {
            "model": config.model,
            "head": HeadConfig(normalize_context=True, num_lstm_layers=2, lstm_dim=8),
            "freeze_context_updates": 100,
            "training.precision": "bf16",
        },
    )
    finetune.run(tuned)
    before, after = weights(tmp_path / "pretrain"), weights(tmp_path / "finetune")
    assert all(torch.equal(before[name], value) for name, value in after.items() if name.startswith("encoder."))
    data = EvaluationSetConfig(shards=[str(shards)], max_batch_seconds=8)
    rates = evaluate.run(EvaluateConfig(tmp_path / "finetune", data, tmp_path / "out", accelerator="cpu"))
    assert rates.num_utterances == 24


def test_the_head_has_its_own_learning_rate(shards: Path, tmp_path: Path) -> None:
    head = HeadConfig(normalize_context=True, num_lstm_layers=1, lstm_dim=8)
    model = CtcModel(MODEL, DropoutConfig(), 5, head)
    config = FinetuneConfig(output=tmp_path, head_learning_rate_scale=3.0)
    task = FinetuneTask(config, model, Vocabulary.from_texts(["ab"]), read_corpus([str(shards)], with_texts=True))
    groups = build_optimizer(task.parameter_groups(), OptimizerConfig(learning_rate=0.1)).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, p in model.named_parameters():
        assert rates[id(p)] == pytest.approx(0.1 if name.startswith("encoder.") else 0.3), name


@pytest.mark.parametrize("given", [["--model", "base"], ["--model.context.num_layers", "12"]])
def test_a_model_that_was_written_down_is_not_replaced_even_if_it_is_the_default(
    shards: Path, tmp_path: Path, pretrained: Path, given: list[str]
) -> None:
    argv = ["--output", str(tmp_path / "run"), "--init", str(pretrained), "--train.shards", str(shards)]
    argv += ["--training.max_updates", "1"]
    config = parse(FinetuneConfig, [*argv, "--dev.shards", str(shards), *given])
    with pytest.raises(ConfigError, match="model differs from the encoder in"):
        finetune.run(config)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_init_of_another_architecture_is_refused(shards: Path, tmp_path: Path, pretrained: Path) -> None:
    config = finetune_config(shards, tmp_path / "run", pretrained)
    config = with_values(config, {"model.context.num_layers": 3})
    with pytest.raises(ConfigError, match="model differs from the encoder in"):
        finetune.run(config)


def test_what_is_wrong_with_the_dev_set_shows_before_training(shards: Path, tmp_path: Path, pretrained: Path) -> None:
    pretraining = pretrain_config(shards, tmp_path / "a")
    pretraining = with_values(pretraining, {"dev": EvaluationSetConfig(shards=[str(tmp_path / "nowhere")])})
    finetuning = finetune_config(shards, tmp_path / "b", pretrained)
    finetuning = with_values(finetuning, {"dev": EvaluationSetConfig(shards=[str(tmp_path / "nowhere")])})
    for run, config in ((pretrain.run, pretraining), (finetune.run, finetuning)):
        with pytest.raises(DataError, match="nowhere"):
            run(config)  # type: ignore[operator]
    assert not list(tmp_path.glob("[ab]/checkpoints"))
    manifest = write_corpus(tmp_path / "audio", [8000] * 5)
    manifest.write_text("path\n" + "".join(f"u00{i}.wav\n" for i in range(5)))
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "silent"))
    finetuning = with_values(finetuning, {"dev": EvaluationSetConfig(shards=[str(tmp_path / "silent")])})
    with pytest.raises(DataError, match=r"dev \(.*\): none of the 5 utterances has a transcript"):
        finetune.run(finetuning)


def test_scores_of_a_checkpoint_count_after_a_kill(shards: Path, tmp_path: Path, pretrained: Path) -> None:
    config = finetune_config(shards, tmp_path / "run", pretrained)
    finetune.run(config)
    best = read_best(config.output)
    assert best is not None
    (config.output / "best.json").unlink()  # as if the run had been killed before it wrote this
    finetune.run(config)
    again = read_best(config.output)
    assert again is not None
    newest = load_checkpoint(config.output / "checkpoints" / "update_00000004")
    assert again == (4, "wer", newest.metrics["wer"])
    (config.output / "best.json").write_text('{"update": 2, "cer": 0.0}')  # of a version that chose by another score
    finetune.run(config)
    assert read_best(config.output) == again


def test_channel_masks_longer_than_the_model_are_refused(shards: Path, tmp_path: Path) -> None:
    config = finetune_config(shards, tmp_path / "run", None)
    config = with_values(config, {"masking.channel_length": 17})
    with pytest.raises(ConfigError, match=r"masking.channel_length is 17, expected at most the model's 16 channels"):
        finetune.run(config)


def test_transcripts_longer_than_their_frames_are_named(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [1200] * 5)
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards"))
    config = finetune_config(tmp_path / "shards", tmp_path / "run", None)
    with pytest.raises(DataError, match=r"u002: transcript needs 4 frames, the audio has \d"):
        finetune.run(config)


def test_untranscribed_shards_are_named_as_such(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [9000] * 3)
    manifest.write_text("path\n" + "".join(f"u{i:03d}.wav\n" for i in range(3)))
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards"))
    with pytest.raises(DataError, match=r"none of the 3 utterances has a transcript.*--require_text"):
        finetune.run(finetune_config(tmp_path / "shards", tmp_path / "run", None))


def make_shards(folder: Path, rows: list[tuple[int, str]]) -> Path:
    """Shards of noise with given numbers of samples and transcripts."""
    manifest = write_corpus(folder / "audio", [length for length, _ in rows])
    lines = [f"u{i:03d}.wav\t{text}\n" for i, (_, text) in enumerate(rows)]
    manifest.write_text("path\ttext\n" + "".join(lines), encoding="utf-8")
    ingest.run(ShardConfig(sources=[str(manifest)], output=folder / "shards", text_case="keep"))
    return folder / "shards"


@pytest.mark.parametrize("max_batch_seconds", [0.001, 2, 80])
def test_a_dev_clip_shorter_than_a_frame_is_an_empty_output_in_any_batch(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, max_batch_seconds: float
) -> None:
    dev = make_shards(tmp_path, [(150, "GO"), (9000, "STOP"), (12000, "YES NO"), (9000, "")])
    config = finetune_config(shards, tmp_path / "run", None)
    config = with_values(config, {"dev": EvaluationSetConfig(shards=[str(dev)], max_batch_seconds=max_batch_seconds)})
    finetune.run(config)
    assert len([line for line in read_log(config.output / "log.jsonl") if line["kind"] == "dev"]) == 2
    assert "2 of 4 utterances (no transcript: 1, shorter than a frame: 1)" in caplog.text
    assert "000000.tar: u000: 150 audio samples, expected at least" in caplog.text
    assert "shorter than a frame: scored as an empty output" in caplog.text


def test_characters_of_both_sets_are_shown_before_training(
    tmp_path: Path,
    shards: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dev = make_shards(tmp_path, [(9000, "DON\u2019T GO"), (9000, "stop"), (9000, "YES")])
    config = finetune_config(shards, tmp_path / "run", None)
    config = with_values(config, {"dev": EvaluationSetConfig(shards=[str(dev)])})
    finetune.run(config)
    printed = capsys.readouterr().out
    assert f"train ({shards}): 10 different characters: E G H L N O P S T Y\n" in printed
    assert f"dev ({dev}): 13 different characters: D E G N O S T Y o p s t \u2019\n" in printed
    monkeypatch.setattr(finetune, "train", lambda *_: None)
    caplog.clear()
    finetune.run(config)
    assert "2 of 4 words, in 2 of 3 utterances, hold characters that the model cannot write" in caplog.text
    assert "\u2019 (U+2019 RIGHT SINGLE QUOTATION MARK) once" in caplog.text
    assert "--text_case upper" in caplog.text


def test_invisible_characters_become_no_labels(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As of shards that were made elsewhere, whose transcripts nobody has cleaned."""
    monkeypatch.setattr("speechssl.ingest.clips.normalize_text", lambda text, *_: text)
    train = make_shards(
        tmp_path / "a", [(9000, "\u200bON\u00adE\ufeff"), (9000, "NO\u200e"), (9000, "e\u0301te\u0301")]
    )
    dev = make_shards(tmp_path / "b", [(9000, "O\u200bNE"), (9000, "été")])
    config = finetune_config(train, tmp_path / "run", None)
    config = with_values(config, {"dev": EvaluationSetConfig(shards=[str(dev)])})
    finetune.run(config)
    checkpoint = load_checkpoint(config.output / "checkpoints" / "update_00000004")
    assert checkpoint.vocabulary is not None
    assert checkpoint.vocabulary["labels"] == ["<blank>", "|", "E", "N", "O", "t", "é"]
    assert "cannot write" not in caplog.text
    printed = capsys.readouterr().out
    assert (
        "5 different characters: E N O t é; taken out, since they cannot be seen: (U+200B ZERO WIDTH SPACE) once, "
        in (printed)
    )


def test_doubtful_labels_are_named_before_training(
    tmp_path: Path, shards: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = make_shards(tmp_path, [(9000, "IT'S"), (9000, "IT'S"), (9000, "IT\u2019S"), (9000, "\u0421TS")])
    config = replace(finetune_config(train, tmp_path / "run", None), dev=EvaluationSetConfig([str(shards)]))
    notes = "\n".join(read_sets(config).notes)
    assert "; \u0421 (U+0421 CYRILLIC CAPITAL LETTER ES) once, as in u003" in notes
    assert "\u2019 (U+2019 RIGHT SINGLE QUOTATION MARK) once, as in u002, beside ' (U+0027 APOSTROPHE)" in caplog.text


def test_what_cannot_be_learned_from_is_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(9000, "YES")] * 27 + [(9000, ""), (150, "NO"), (600, "NO NO NO")]
    config = finetune_config(make_shards(tmp_path / "few", rows), tmp_path / "run", None)
    finetune.run(config)
    counted = "3 of 30 utterances (no transcript: 1, shorter than a frame: 1, transcript longer than its frames: 1):"
    assert f"train ({config.train.shards[0]}): {counted}" in caplog.text
    assert ": 3 different characters: E S Y\n" in capsys.readouterr().out, "those of what is learned from"
    assert "000000.tar: u027: no transcript" in caplog.text
    assert "u029: transcript needs 8 frames, the audio has 1" in caplog.text
    config = finetune_config(make_shards(tmp_path / "many", rows[1:]), tmp_path / "run", None)
    with pytest.raises(DataError, match=r"(?s)3 of 29 utterances .* at most 10% may be so.*make the shards again"):
        finetune.run(config)


def test_a_run_that_stays_at_100_percent_stops_after_its_checkpoint(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = finetune_config(shards, tmp_path / "run", None)
    config = with_values(
        config,
        {
            "training": replace(config.training, max_updates=8),
            "optimizer.learning_rate": 1e-9,
            "health.patience_updates": 4,
            "schedule.warmup": 0.0,
        },
    )
    for _ in range(2):  # the same command comes to the same end
        with pytest.raises(HealthError, match=r"(empty outputs|all wrong): at update 4") as caught:
            finetune.run(config)
        assert "Likeliest cause: a learning rate too low to move the head in 8 updates" in str(caught.value)
        assert [path.name for path in sorted((config.output / "checkpoints").iterdir())][-1] == "update_00000004"
        assert not (config.output / "summary.json").exists()
    config = with_values(config, {"health.on_failure": "warn"})
    finetune.run(config)
    summary = json.loads((config.output / "summary.json").read_text())
    assert summary["updates"] == 8
    assert "a learning rate too low to move the head in 8 updates" in summary["diagnoses"][0]
    assert "at update 8" in caplog.text


def test_patience_waits_for_the_warm_up_and_the_frozen_encoder(shards: Path, tmp_path: Path) -> None:
    config = finetune_config(shards, tmp_path / "run", Path("pretrained"))
    config = with_values(config, {"training.max_updates": 1000, "schedule.warmup": 0.1, "freeze_context_updates": 300})
    assert slow_updates(config) == 300
    assert slow_updates(replace(config, init=None)) == 100


@pytest.mark.parametrize("verb", [finetune, pretrain])
def test_dev_samples_that_are_learned_from_are_named(
    verb: Any, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(verb, "train", lambda *_: None)
    copy, other = shutil.copytree(shards, tmp_path / "copy"), tmp_path / "other"
    ingest.run(ShardConfig(sources=[str(write_corpus(tmp_path / "audio", [9000] * 2))], output=other))
    config: Any = (
        pretrain_config(shards, tmp_path / "run")
        if verb is pretrain
        else finetune_config(shards, tmp_path / "run", None)
    )
    config = with_values(config, {"dev.shards": [str(other)]})
    verb.run(config)
    assert "among those that are learned from" not in caplog.text
    config = with_values(config, {"dev.shards": [str(copy), str(other)]})
    verb.run(config)
    assert "dev: 24 of its 26 samples are among those that are learned from" in caplog.text


def test_pseudo_labels_are_learned_from_and_do_not_count_as_labels(shards: Path, tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [9000] * 8)
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "more"))
    more = str(tmp_path / "more")
    config = finetune_config(shards, tmp_path / "run", None)
    both = with_values(config, {"train.shards": [*config.train.shards, more], "pseudo_labels": [more]})
    finetune.run(both)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    people = read_corpus(config.train.shards).seconds
    assert summary["labels_minutes"] == pytest.approx(people / 60, abs=0.01)
    assert len(read_sets(both).train) == 24 + 8
    with pytest.raises(ConfigError, match=r"pseudo_labels names other, expected some of train.shards"):
        finetune.run(with_values(config, {"pseudo_labels": ["other"]}))
