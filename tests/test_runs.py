"""Pretraining a very small model: what it writes, how it resumes, what it refuses."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from changing import with_values
from conftest import write_corpus
from small_chain import MODEL, OBJECTIVE, finetune_config, losses, pretrain_config, weights

from speechssl.cli import main
from speechssl.config import (
    ContrastiveConfig,
    HeadConfig,
    HealthConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    ShardConfig,
)
from speechssl.config.reading import from_dict
from speechssl.data.corpus import read_corpus
from speechssl.errors import CheckpointError, ConfigError, HealthError
from speechssl.objectives.contrastive import ContrastiveModel
from speechssl.tasks.initial import resolve_pretraining
from speechssl.training.checkpoints import latest_checkpoint, load_checkpoint
from speechssl.training.run_log import read_log
from speechssl.verbs import finetune, pretrain
from speechssl.verbs import shard as ingest


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
    told: list[int] = []
    monkeypatch.setattr(ContrastiveModel, "after_update", lambda self, update: told.append(update))
    monkeypatch.setattr(pretrain.PretrainTask, "step", step)
    with pytest.raises(KeyboardInterrupt):
        pretrain.run(config)
    monkeypatch.setattr(pretrain.PretrainTask, "step", original)
    pretrain.run(config)
    for name, value in weights(pretrained).items():
        assert torch.equal(value, weights(config.output)[name]), name
    assert losses(config.output)[-1] == losses(pretrained)[-1]
    assert told == [1, 2, 3, 4, 5, 6, 5, 6, 7, 8], "once after each update, and after those that were lost again"


def test_finished_run_is_left_alone(shards: Path, pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (pretrained / "log.jsonl").read_bytes()
    pretrain.run(pretrain_config(shards, pretrained))
    assert (pretrained / "log.jsonl").read_bytes() == before
    out = capsys.readouterr().out
    assert "pretrain: was finished before, after 8 updates" in out
    assert "trained for" not in out


def test_other_configuration_does_not_resume(shards: Path, pretrained: Path) -> None:
    config = pretrain_config(shards, pretrained, max_updates=10)
    config = with_values(config, {"optimizer.learning_rate": 2e-3, "objective.num_negatives": 7})
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
    config = with_values(config, {"model.context.relative_bias": True})
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


def test_lengths_outside_the_limits_are_told(shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = finetune_config(shards, tmp_path / "run", None)
    config = with_values(config, {"train.min_seconds": 0.6, "train.max_seconds": 1.6})
    finetune.run(config)
    assert "Left out, shorter than 0.6 s: 2" in caplog.text
    assert "Left out, longer than 1.6 s: 1" in caplog.text


def test_runs_at_chance_are_stopped_and_named(shards: Path, tmp_path: Path) -> None:
    config = pretrain_config(shards, tmp_path / "run")
    config = with_values(
        config,
        {"optimizer.learning_rate": 1e-9, "health": HealthConfig(patience_updates=6, min_accuracy_over_chance=4)},
    )
    with pytest.raises(HealthError, match="chance"):
        pretrain.run(config)
    path = latest_checkpoint(config.output)
    assert path is not None
    assert load_checkpoint(path).update == 4


def test_loss_that_is_not_finite_stops_at_once(shards: Path, tmp_path: Path) -> None:
    config = pretrain_config(shards, tmp_path / "run")
    config = with_values(config, {"optimizer": OptimizerConfig(learning_rate=1e30)})
    with pytest.raises(HealthError, match="finite"):
        pretrain.run(config)


def test_impossible_architectures_and_heads_are_named(shards: Path, tmp_path: Path) -> None:
    config = finetune_config(shards, tmp_path / "run", None)
    config = with_values(config, {"model.feature_encoder.first_layer": "log_mel"})
    with pytest.raises(ConfigError, match="8 mel bands over windows of 10 samples"):
        finetune.run(config)
    config = with_values(config, {"head": HeadConfig(num_lstm_layers=-1)})
    with pytest.raises(ConfigError, match=r"head\.num_lstm_layers is -1, expected 0 or more"):
        finetune.run(config)


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_the_printed_configuration_has_the_model_that_init_brings(
    verb: str, pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--print_config", "--init", str(pretrained)]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert from_dict(ModelConfig, printed["model"]) == MODEL
    assert verb == "finetune" or printed["objective"]["quantizer"]["num_entries"] == OBJECTIVE.quantizer.num_entries
    assert main([verb, "--print_config", "--init", str(pretrained), "--model", "base"]) == 2
    assert "model differs from" in capsys.readouterr().err


def test_pretraining_goes_on_from_a_checkpoint_and_shows_what_it_forgets(
    shards: Path, tmp_path: Path, pretrained: Path, finetuned: Path
) -> None:
    config = pretrain_config(shards, tmp_path / "run", max_updates=4)
    config = with_values(config, {"init": pretrained, "model": PretrainConfig.model})
    config = with_values(
        config, {"objective": ContrastiveConfig(masking=OBJECTIVE.masking, num_negatives=OBJECTIVE.num_negatives)}
    )
    pretrain.run(config)
    resolved, _ = resolve_pretraining(config)
    assert resolved.model == MODEL
    quantizer = OBJECTIVE.quantizer
    reached = quantizer.temperature_start * quantizer.temperature_decay**8
    assert resolved.objective.quantizer == replace(quantizer, temperature_start=pytest.approx(reached))
    scores = [line for line in read_log(tmp_path / "run" / "log.jsonl") if line["kind"] == "dev"]
    assert [line["update"] for line in scores] == [0, 4]
    before = [line for line in read_log(pretrained / "log.jsonl") if line["kind"] == "dev"][-1]
    assert scores[0]["loss"] == pytest.approx(before["loss"], rel=1e-6), "nothing has been learned yet"
    config = with_values(config, {"model": with_values(MODEL, {"context.num_layers": 3})})
    with pytest.raises(ConfigError, match="model differs from that of"):
        pretrain.run(config)
    with pytest.raises(CheckpointError, match="fine-tuned recogniser, expected a pretraining checkpoint"):
        pretrain.run(replace(pretrain_config(shards, tmp_path / "other"), init=finetuned))


def test_weights_of_training_sources_do_not_touch_the_dev_set(shards: Path, tmp_path: Path) -> None:
    weighted = pretrain_config(shards, tmp_path / "weighted", max_updates=1)
    parts = sorted(map(str, shards.glob("*.tar")))
    weighted = with_values(weighted, {"data.shards": parts[:2], "data.source_weights": [1.0, 3.0]})
    pretrain.run(weighted)
    plain = pretrain_config(shards, tmp_path / "plain", max_updates=1)
    pretrain.run(plain)
    targets = [
        [line for line in read_log(path / "log.jsonl") if line["kind"] == "dev"]
        for path in (weighted.output, plain.output)
    ]
    assert targets[0][0].keys() == targets[1][0].keys()
    dev = pretrain.plan_dev(weighted, read_corpus(parts))
    assert dev is not None
    assert dev.num_samples == 24
    other = pretrain.plan_dev(replace(plain, training=replace(plain.training, seed=3)), read_corpus(parts))
    assert other is not None
    assert other.fingerprint == dev.fingerprint, "runs of different seeds can be compared"
    assert dev.seed != 3, "a run of seed 3 would draw the masks that it is scored with"
