"""Every architecture of the encoder pretrains and is fine-tuned, in float32 and bf16."""

import math
from pathlib import Path

import pytest

from speechssl.config import (
    ContextConfig,
    ContrastiveConfig,
    DropoutConfig,
    FeatureEncoderConfig,
    FinetuneConfig,
    MaskingConfig,
    ModelConfig,
    PretrainConfig,
    QuantizerConfig,
    StreamConfig,
    TrainingConfig,
)
from speechssl.config import EvaluationSetConfig as Dev
from speechssl.training.checkpoints import latest_checkpoint, load_checkpoint
from speechssl.training.run_log import read_log
from speechssl.verbs import finetune, pretrain

CONVOLUTIONS = [(8, 10, 5), (8, 8, 8), (16, 8, 8)]
SHAPE = {"num_layers": 2, "dim": 16, "ffn_dim": 32, "num_heads": 2, "pos_conv_groups": 2}
GROUP = FeatureEncoderConfig(conv_layers=CONVOLUTIONS)
LAYER = FeatureEncoderConfig(conv_layers=CONVOLUTIONS, norm="layer")
MODELS = {
    "WavLM base": ModelConfig(
        feature_encoder=GROUP,
        context=ContextConfig(**SHAPE, pos_conv_kernel=8, relative_bias=True, num_buckets=16, max_distance=30),  # type: ignore[arg-type]
    ),
    "WavLM large": ModelConfig(
        feature_encoder=LAYER,
        context=ContextConfig(**SHAPE, pos_conv_kernel=8, relative_bias=True, norm_first=True),
    ),
    "data2vec": ModelConfig(
        feature_encoder=LAYER,
        context=ContextConfig(**SHAPE, pos_conv_kernel=5, pos_conv_depth=3),  # type: ignore[arg-type]
    ),
    "squeezed": ModelConfig(feature_encoder=GROUP, context=ContextConfig(**SHAPE, pos_conv_kernel=8, squeeze=2)),
}
# HuBERT's encoder is that of wav2vec 2.0, which tests/test_runs.py trains.


def training(precision: str) -> TrainingConfig:
    return TrainingConfig(max_updates=2, log_every=1, precision=precision, accelerator="cpu")  # type: ignore[arg-type]


def finite_losses(run: Path) -> list[bool]:
    return [math.isfinite(line["loss"]) for line in read_log(run / "log.jsonl") if line["kind"] == "train"]


def check_own_weights(before: Path, after: Path) -> None:
    """Fine-tuning began from the weights that wav2vec 2.0 does not have, and all of them have learned since."""
    first, second = (load_checkpoint(path) for run in (before, after) if (path := latest_checkpoint(run)) is not None)
    known = ("position_bias", "gate", "position.layers", "squeeze")
    names = [name for name in first.model_state if any(part in name for part in known)]
    assert names
    for name in names:
        change = (first.model_state[name] - second.model_state[name]).abs().max()
        assert 0 < change < 0.01, name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_pretraining_and_finetuning(name: str, precision: str, shards: Path, tmp_path: Path) -> None:
    pretrain.run(
        PretrainConfig(
            output=tmp_path / "pretrain",
            data=StreamConfig(shards=[str(shards)], max_batch_seconds=4, max_seconds=2),
            model=MODELS[name],
            objective=ContrastiveConfig(
                quantizer=QuantizerConfig(num_entries=8, dim=8),
                masking=MaskingConfig(time_prob=0.5, time_length=3),
                final_dim=8,
                num_negatives=5,
            ),
            dropout=DropoutConfig(features=0.1, activation=0.1, layer_drop=0.05),
            training=training(precision),
        )
    )
    finetune.run(
        FinetuneConfig(
            output=tmp_path / "finetune",
            init=tmp_path / "pretrain",
            train=StreamConfig(shards=[str(shards)], max_batch_seconds=8),
            dev=Dev(shards=[str(shards)], max_batch_seconds=8),
            masking=MaskingConfig(time_prob=0.2, time_length=2, channel_prob=0.2, channel_length=4),
            freeze_context_updates=0,
            dropout=DropoutConfig(layer_drop=0),
            training=training(precision),
        )
    )
    assert finite_losses(tmp_path / "pretrain") == finite_losses(tmp_path / "finetune") == [True, True]
    check_own_weights(tmp_path / "pretrain", tmp_path / "finetune")
