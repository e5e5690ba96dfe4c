"""A very small model, and the configurations of its pretraining and fine-tuning."""

from pathlib import Path

import pytest
import torch

from speechssl.config import (
    ContextConfig,
    ContrastiveConfig,
    DropoutConfig,
    EvaluationSetConfig,
    FeatureEncoderConfig,
    FinetuneConfig,
    MaskingConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    QuantizerConfig,
    StreamConfig,
    TrainingConfig,
)
from speechssl.training.checkpoints import latest_checkpoint, load_checkpoint
from speechssl.training.run_log import read_log
from speechssl.verbs import finetune, pretrain

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
        model=MODEL,
        objective=OBJECTIVE,
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
        model=MODEL,
        masking=MaskingConfig(time_prob=0.2, time_length=2, channel_prob=0.2, channel_length=4),
        freeze_context_updates=2,
        optimizer=OptimizerConfig(learning_rate=1e-3),
        training=training(4, every=2),
    )


@pytest.fixture(scope="session")
def pretrained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a pretraining of 8 updates."""
    output = tmp_path_factory.mktemp("runs") / "pretrain"
    pretrain.run(pretrain_config(shards, output))
    return output


@pytest.fixture(scope="session")
def finetuned(shards: Path, pretrained: Path) -> Path:
    """Run folder of a fine-tuning of 4 updates that began from it."""
    output = pretrained.parent / "finetune"
    finetune.run(finetune_config(shards, output, pretrained))
    return output


def losses(run: Path) -> list[tuple[int, float]]:
    return [(line["update"], line["loss"]) for line in read_log(run / "log.jsonl") if line["kind"] == "train"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    path = latest_checkpoint(run)
    assert path is not None
    return load_checkpoint(path).model_state
