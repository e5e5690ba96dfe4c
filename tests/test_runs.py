"""The whole chain on a very small model: pretrain, interrupt, resume, fine-tune, evaluate, transcribe."""

import json
import math
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from conftest import write_corpus
from safetensors.torch import load_file, save_file

from speechssl import evaluate, finetune, ingest, pretrain, transcribe
from speechssl.config import (
    ContextConfig,
    ContrastiveConfig,
    DropoutConfig,
    EvaluateConfig,
    EvaluationSetConfig,
    FeatureEncoderConfig,
    FinetuneConfig,
    HeadConfig,
    HealthConfig,
    MaskingConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    QuantizerConfig,
    ShardConfig,
    StreamConfig,
    TrainingConfig,
    TranscribeConfig,
)
from speechssl.errors import CheckpointError, ConfigError, DataError, HealthError
from speechssl.evaluation.scoring import score
from speechssl.model.ctc import CtcModel, CtcOutput
from speechssl.recogniser import load_recogniser
from speechssl.training.checkpoints import latest_checkpoint, load_checkpoint, read_best
from speechssl.training.loop import build_optimizer
from speechssl.training.run_log import read_log

MODEL = ModelConfig(
    feature_encoder=FeatureEncoderConfig(conv_layers=[(8, 10, 5), (8, 8, 8), (16, 8, 8)]),
    context=ContextConfig(num_layers=2, dim=16, ffn_dim=32, num_heads=2, pos_conv_kernel=8, pos_conv_groups=2),
)
OBJECTIVE = ContrastiveConfig(
    quantizer=QuantizerConfig(num_entries=8, dim=8),
    masking=MaskingConfig(time_prob=0.5, time_length=3),
    final_dim=8,
    num_negatives=5,
)


def training(max_updates: int, every: int = 4) -> TrainingConfig:
    return TrainingConfig(
        max_updates=max_updates, checkpoint_every=every, log_every=2, precision="fp32", accelerator="cpu"
    )


def pretrain_config(shards: Path, output: Path, max_updates: int = 8) -> PretrainConfig:
    data = StreamConfig(shards=[str(shards)], num_streams=2, max_batch_seconds=4, max_seconds=2)
    return PretrainConfig(
        output=output,
        data=data,
        dev=EvaluationSetConfig(shards=[str(shards)], max_batch_seconds=8),
        model=deepcopy(MODEL),
        objective=deepcopy(OBJECTIVE),
        dropout=DropoutConfig(features=0.1, layer_drop=0.2),
        optimizer=OptimizerConfig(learning_rate=1e-3, max_grad_norm=1.0),
        training=training(max_updates),
    )


def finetune_config(shards: Path, output: Path, init: Path | None) -> FinetuneConfig:
    stream = StreamConfig(shards=[str(shards)], max_batch_seconds=8)
    return FinetuneConfig(
        output=output,
        init=init,
        train=stream,
        dev=EvaluationSetConfig(shards=[str(shards)], max_batch_seconds=8),
        model=deepcopy(MODEL),
        masking=MaskingConfig(time_prob=0.2, time_length=2, channel_prob=0.2, channel_length=4),
        freeze_context_updates=2,
        optimizer=OptimizerConfig(learning_rate=1e-3),
        training=training(4, every=2),
    )


@pytest.fixture(scope="module")
def pretrained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "pretrain"
    pretrain.run(pretrain_config(shards, output))
    return output


@pytest.fixture(scope="module")
def finetuned(shards: Path, pretrained: Path) -> Path:
    output = pretrained.parent / "finetune"
    finetune.run(finetune_config(shards, output, pretrained))
    return output


def losses(run: Path) -> list[tuple[int, float]]:
    return [(line["update"], line["loss"]) for line in read_log(run / "log.jsonl") if line["kind"] == "train"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    path = latest_checkpoint(run)
    assert path is not None
    return load_checkpoint(path).model_state


def test_blanks_are_counted_inside_utterances() -> None:
    logits = torch.zeros(2, 4, 3)
    logits[0, :, 1] = 1.0  # four labels
    logits[1, 0, 2] = 1.0  # a label, two blanks, and padding
    assert float(finetune.blank_share(CtcOutput(logits, torch.tensor([4, 3]), logits))) == pytest.approx(2 / 7)


def test_log_has_the_health_of_the_run(pretrained: Path) -> None:
    lines = read_log(pretrained / "log.jsonl")
    train = [line for line in lines if line["kind"] == "train"]
    assert [line["update"] for line in train] == [1, 2, 4, 6, 8]
    wanted = {
        "loss", "accuracy", "chance", "perplexity_0", "perplexity_1", "effective_rank", "gradient_norm",
        "audio_seconds_per_second", "padding_share", "wait_share", "learning_rate",
    }  # fmt: skip
    assert wanted <= set(train[0])
    assert train[0]["loss"] == pytest.approx(math.log(6), abs=1.2)
    assert train[0]["padding_share"] == 0
    assert len([line for line in lines if line["kind"] == "dev"]) == 2
    assert json.loads((pretrained / "summary.json").read_text())["updates"] == 8


def test_interrupted_run_ends_with_the_same_weights(
    shards: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pretrain.PretrainTask.step
    count = 0

    def step(self: pretrain.PretrainTask, batch: object, update: int) -> object:
        nonlocal count
        count += 1
        if count > 13:  # two micro-batches per update: in the middle of update 7, after the checkpoint of update 4
            raise KeyboardInterrupt
        return original(self, batch, update)  # type: ignore[arg-type]

    config = pretrain_config(shards, tmp_path / "run")
    monkeypatch.setattr(pretrain.PretrainTask, "step", step)
    with pytest.raises(KeyboardInterrupt):
        pretrain.run(config)
    monkeypatch.setattr(pretrain.PretrainTask, "step", original)
    pretrain.run(config)
    for name, value in weights(pretrained).items():
        assert torch.equal(value, weights(config.output)[name]), name
    assert losses(config.output)[-1] == losses(pretrained)[-1]


def test_finished_run_is_left_alone(shards: Path, pretrained: Path) -> None:
    before = (pretrained / "log.jsonl").read_bytes()
    pretrain.run(pretrain_config(shards, pretrained))
    assert (pretrained / "log.jsonl").read_bytes() == before


def test_other_configuration_does_not_resume(shards: Path, pretrained: Path) -> None:
    config = pretrain_config(shards, pretrained, max_updates=10)
    config.optimizer.learning_rate = 2e-3
    config.objective.num_negatives = 7
    with pytest.raises(ConfigError, match=r"(?s)objective\.num_negatives was 5, is 7.*optimizer\.learning_rate"):
        pretrain.run(config)


def test_fields_that_are_younger_than_a_run_have_their_defaults(shards: Path, pretrained: Path, tmp_path: Path) -> None:
    shutil.copytree(pretrained, tmp_path / "run")
    written = (latest_checkpoint(tmp_path / "run") or tmp_path) / "config.yaml"
    content = yaml.safe_load(written.read_text())
    del content["model"]["context"]["relative_bias"], content["objective"]["diversity_weight"]
    written.write_text(yaml.safe_dump(content))
    config = pretrain_config(shards, tmp_path / "run")
    pretrain.run(config)
    config.model.context.relative_bias = True
    with pytest.raises(ConfigError, match=r"model\.context\.relative_bias was False, is True"):
        pretrain.run(config)


def test_a_schedule_is_not_stretched_over_a_run_that_is_there(shards: Path, pretrained: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.max_updates was 8, is 10, and the learning rates depend on it"):
        pretrain.run(pretrain_config(shards, pretrained, max_updates=10))


def test_a_run_of_another_kind_is_named(shards: Path, pretrained: Path) -> None:
    with pytest.raises(ConfigError, match="holds a pretraining run, and this is a fine-tuning run"):
        finetune.run(finetune_config(shards, pretrained, None))


def test_other_data_does_not_resume(shards: Path, pretrained: Path, tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [9000] * 23)
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards"))
    with pytest.raises(ConfigError, match=r"the shards held 24 samples, 0\.0072 h, now 23 samples, 0\.0036 h"):
        pretrain.run(pretrain_config(tmp_path / "shards", pretrained))
    copy = tmp_path / "copy"
    shutil.copytree(shards, copy)
    pretrain.run(pretrain_config(copy, pretrained))  # the same samples in another place


def test_finetuning_does_not_go_on_from_another_encoder(shards: Path, tmp_path: Path) -> None:
    pretrain.run(pretrain_config(shards, tmp_path / "pretrain", max_updates=2))
    config = finetune_config(shards, tmp_path / "finetune", tmp_path / "pretrain")
    finetune.run(deepcopy(config))
    finetune.run(deepcopy(config))
    shutil.rmtree(tmp_path / "pretrain")
    pretrain.run(pretrain_config(shards, tmp_path / "pretrain", max_updates=4))
    with pytest.raises(ConfigError, match="init holds other weights than when the run began"):
        finetune.run(deepcopy(config))


def test_finetuning_does_not_go_on_with_another_dev_set(shards: Path, tmp_path: Path) -> None:
    finetune.run(finetune_config(shards, tmp_path / "run", None))
    manifest = write_corpus(tmp_path / "audio", [9000] * 23)
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards"))
    config = finetune_config(shards, tmp_path / "run", None)
    config.dev = EvaluationSetConfig(shards=[str(tmp_path / "shards")])
    with pytest.raises(ConfigError, match=r"dev: the shards held 24 samples, 0\.0072 h, now 23 samples, 0\.0036 h"):
        finetune.run(config)
    shutil.copytree(shards, tmp_path / "copy")
    config.dev = EvaluationSetConfig(shards=[str(tmp_path / "copy")], max_batch_seconds=4)
    finetune.run(config)  # the same samples in another place, in other batches


def test_an_unfinished_init_is_told(shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pretrain.run(pretrain_config(shards, tmp_path / "pretrain", max_updates=8))
    config = finetune_config(shards, tmp_path / "finetune", tmp_path / "pretrain")
    finetune.load_encoder_weights(config)
    assert "--init" not in caplog.text
    shutil.rmtree(tmp_path / "pretrain" / "checkpoints" / "update_00000008")  # as if it had been killed before
    finetune.load_encoder_weights(config)
    assert "update_00000004 has had 4 of the 8 updates of its run" in caplog.text
    caplog.clear()
    pretrain.take_init(replace(pretrain_config(shards, tmp_path / "other"), init=tmp_path / "pretrain"))
    assert "has had 4 of the 8 updates" in caplog.text


def test_lengths_outside_the_limits_are_told(shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = finetune_config(shards, tmp_path / "run", None)
    config.train.min_seconds, config.train.max_seconds = 0.6, 1.6
    finetune.run(config)
    assert "Left out, shorter than 0.6 s: 2" in caplog.text
    assert "Left out, longer than 1.6 s: 1" in caplog.text


def test_runs_at_chance_are_stopped_and_named(shards: Path, tmp_path: Path) -> None:
    config = pretrain_config(shards, tmp_path / "run")
    config.optimizer.learning_rate = 1e-9
    config.health = HealthConfig(patience_updates=6, min_accuracy_over_chance=4)
    with pytest.raises(HealthError, match="chance"):
        pretrain.run(config)
    path = latest_checkpoint(config.output)
    assert path is not None
    assert load_checkpoint(path).update == 4


def test_loss_that_is_not_finite_stops_at_once(shards: Path, tmp_path: Path) -> None:
    config = pretrain_config(shards, tmp_path / "run")
    config.optimizer = OptimizerConfig(learning_rate=1e30)
    with pytest.raises(HealthError, match="finite"):
        pretrain.run(config)


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
    config.model.feature_encoder = features
    config.training.precision = "bf16"
    pretrain.run(config)
    tuned = finetune_config(shards, tmp_path / "finetune", tmp_path / "pretrain")
    tuned.model = config.model
    tuned.head = HeadConfig(normalize_context=True, num_lstm_layers=2, lstm_dim=8)
    tuned.freeze_context_updates = 100
    tuned.training.precision = "bf16"
    finetune.run(tuned)
    before, after = weights(tmp_path / "pretrain"), weights(tmp_path / "finetune")
    assert all(torch.equal(before[name], value) for name, value in after.items() if name.startswith("encoder."))
    data = EvaluationSetConfig(shards=[str(shards)], max_batch_seconds=8)
    rates = evaluate.run(EvaluateConfig(tmp_path / "finetune", data, tmp_path / "out", accelerator="cpu"))
    assert rates.num_utterances == 24


def test_impossible_architectures_and_heads_are_named(shards: Path, tmp_path: Path) -> None:
    config = finetune_config(shards, tmp_path / "run", None)
    config.model.feature_encoder.first_layer = "log_mel"
    config.head = HeadConfig(num_lstm_layers=-1)
    with pytest.raises(ConfigError, match=r"(?s)8 mel bands over windows of 10 samples.*head\.num_lstm_layers is -1"):
        finetune.run(config)


def test_the_head_has_its_own_learning_rate(shards: Path) -> None:
    head = HeadConfig(normalize_context=True, num_lstm_layers=1, lstm_dim=8)
    model = CtcModel(deepcopy(MODEL), DropoutConfig(), 5, head)
    groups = build_optimizer(model, OptimizerConfig(learning_rate=0.1), 3.0).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, p in model.named_parameters():
        assert rates[id(p)] == pytest.approx(0.1 if name.startswith("encoder.") else 0.3), name


def test_init_of_another_architecture_is_refused(shards: Path, tmp_path: Path, pretrained: Path) -> None:
    config = finetune_config(shards, tmp_path / "run", pretrained)
    config.model.context.num_layers = 3
    with pytest.raises(ConfigError, match="model differs from the encoder in"):
        finetune.run(config)


def test_pretraining_goes_on_from_a_checkpoint_and_shows_what_it_forgets(
    shards: Path, tmp_path: Path, pretrained: Path, finetuned: Path
) -> None:
    config = pretrain_config(shards, tmp_path / "run", max_updates=4)
    config.init = pretrained
    config.model = ModelConfig()
    config.objective = ContrastiveConfig(masking=OBJECTIVE.masking, num_negatives=OBJECTIVE.num_negatives)
    pretrain.run(config)
    assert config.model == MODEL
    quantizer = OBJECTIVE.quantizer
    reached = quantizer.temperature_start * quantizer.temperature_decay**8
    assert config.objective.quantizer == replace(quantizer, temperature_start=pytest.approx(reached))
    scores = [line for line in read_log(tmp_path / "run" / "log.jsonl") if line["kind"] == "dev"]
    assert [line["update"] for line in scores] == [0, 4]
    before = [line for line in read_log(pretrained / "log.jsonl") if line["kind"] == "dev"][-1]
    assert scores[0]["loss"] == pytest.approx(before["loss"], rel=1e-6), "nothing has been learned yet"
    config.model.context.num_layers = 3
    with pytest.raises(ConfigError, match="model differs from that of"):
        pretrain.run(config)
    with pytest.raises(CheckpointError, match="fine-tuned recogniser, expected a pretraining checkpoint"):
        pretrain.run(replace(pretrain_config(shards, tmp_path / "other"), init=finetuned))


def test_what_is_wrong_with_the_dev_set_shows_before_training(shards: Path, tmp_path: Path, pretrained: Path) -> None:
    pretraining = pretrain_config(shards, tmp_path / "a")
    pretraining.dev = EvaluationSetConfig(shards=[str(tmp_path / "nowhere")])
    finetuning = finetune_config(shards, tmp_path / "b", pretrained)
    finetuning.dev = EvaluationSetConfig(shards=[str(tmp_path / "nowhere")])
    for run, config in ((pretrain.run, pretraining), (finetune.run, finetuning)):
        with pytest.raises(DataError, match="nowhere"):
            run(config)  # type: ignore[operator]
    assert not list(tmp_path.glob("[ab]/checkpoints"))
    manifest = write_corpus(tmp_path / "audio", [8000] * 5)
    manifest.write_text("path\n" + "".join(f"u00{i}.wav\n" for i in range(5)))
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "silent"))
    finetuning.dev = EvaluationSetConfig(shards=[str(tmp_path / "silent")])
    with pytest.raises(DataError, match="none of the 5 dev utterances has a transcript"):
        finetune.run(finetuning)


def test_weights_of_training_sources_do_not_touch_the_dev_set(shards: Path, tmp_path: Path) -> None:
    weighted = pretrain_config(shards, tmp_path / "weighted", max_updates=1)
    parts = sorted(map(str, shards.glob("*.tar")))
    weighted.data.shards, weighted.data.source_weights = parts[:2], [1.0, 3.0]
    pretrain.run(weighted)
    plain = pretrain_config(shards, tmp_path / "plain", max_updates=1)
    pretrain.run(plain)
    targets = [
        [line for line in read_log(path / "log.jsonl") if line["kind"] == "dev"]
        for path in (weighted.output, plain.output)
    ]
    assert targets[0][0].keys() == targets[1][0].keys()
    dev = pretrain.plan_dev(weighted)
    assert dev is not None
    assert dev.num_samples == 24


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
    assert (again.update, again.wer) == (4, newest.metrics["wer"])


def test_channel_masks_longer_than_the_model_are_refused(shards: Path, tmp_path: Path) -> None:
    config = finetune_config(shards, tmp_path / "run", None)
    config.masking.channel_length = 17
    with pytest.raises(ConfigError, match=r"masking.channel_length is 17, expected at most the model's 16 channels"):
        finetune.run(config)


@pytest.mark.parametrize(
    ("block", "context", "message"),
    [
        (2, {}, "masked_from_block is 2, expected less than the 2 blocks"),
        (1, {"squeeze": 2}, "masked_from_block is 1, expected 0 where model.context.squeeze mixes"),
        (1, {"relative_bias": True}, "masked_from_block is 1, expected 0 with model.context.relative_bias"),
    ],
)
def test_blocks_that_cannot_leave_masked_frames_out_are_refused(
    block: int, context: dict[str, Any], message: str, shards: Path, tmp_path: Path
) -> None:
    config = pretrain_config(shards, tmp_path / "run")
    config.objective.masked_from_block = block
    config.model.context = replace(config.model.context, **context)
    with pytest.raises(ConfigError, match=message):
        pretrain.run(config)


def test_recogniser_is_no_init(shards: Path, tmp_path: Path, finetuned: Path) -> None:
    with pytest.raises(CheckpointError, match="fine-tuned recogniser"):
        finetune.run(finetune_config(shards, tmp_path / "run", finetuned))


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


def test_evaluation_writes_what_it_found(shards: Path, finetuned: Path, tmp_path: Path) -> None:
    data = EvaluationSetConfig(shards=[str(shards)], max_batch_seconds=8)
    rates = evaluate.run(EvaluateConfig(finetuned, data, tmp_path / "out", accelerator="cpu"))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "out" / "hypotheses.jsonl").read_text().splitlines()]
    assert metrics["wer"] == rates.wer
    assert metrics["init"] == "pretrained"
    assert metrics["updates"] == 4
    assert len(lines) == metrics["num_utterances"] == 24
    assert metrics["warning"]


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


def test_a_whole_evaluation_of_the_same_is_not_repeated(
    shards: Path, finetuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(finetuned, tmp_path / "run")
    data = EvaluationSetConfig(shards=[str(shards)])
    config = EvaluateConfig(run, data, tmp_path / "out", bootstrap_samples=50, accelerator="cpu")
    scored = []
    monkeypatch.setattr(evaluate, "score", lambda *args, **options: scored.append(1) or score(*args, **options))
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
    (tmp_path / "out" / "hypotheses.jsonl").unlink()
    evaluate.run(config)
    assert len(scored) == 6


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
    config.window_seconds, config.margin_seconds = 2.0, 0.4
    recogniser = load_recogniser(finetuned, torch.device("cpu"))
    shapes = []
    recogniser.model.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    long, short = transcribe.transcribe(recogniser, transcribe.find_audio(config.audio), config, [])
    assert (long.seconds, short.seconds) == (200_000 / 16000, 6000 / 16000)
    assert shapes[0][0] > 10
    assert all(num_samples < 2.2 * 16000 for _, num_samples in shapes)


def test_a_long_recording_that_breaks_off_has_no_transcript(finetuned: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "audio", [200_000, 6000], rate=16000)
    broken = np.zeros(600_000, np.float32)
    broken[-1] = np.nan
    soundfile.write(tmp_path / "audio" / "u000.wav", broken, 16000, subtype="FLOAT")
    output = tmp_path / "transcripts.txt"
    config = TranscribeConfig(finetuned, [tmp_path / "audio"], output, accelerator="cpu")
    config.window_seconds, config.margin_seconds = 2.0, 0.4
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
