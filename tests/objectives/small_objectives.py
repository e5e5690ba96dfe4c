"""What tests of pretext tasks share: a very small one of each, its draws and figures, and what is named in them."""

from collections.abc import Mapping
from typing import Any

import torch
from changing import with_values
from torch import Tensor

from speechssl.config import (
    AnyObjective,
    ContextConfig,
    ContrastiveConfig,
    DropoutConfig,
    FeatureEncoderConfig,
    HealthConfig,
    MaskedPredictionConfig,
    MaskingConfig,
    ModelConfig,
    OnlineCodebookConfig,
    QuantizerConfig,
    SelfDistillationConfig,
    TeacherConfig,
    TwoViewConfig,
    UnitsConfig,
)
from speechssl.frames import num_frames
from speechssl.objectives.build import build_objective, units_config
from speechssl.objectives.objective import PretextOutput

LAYERS = [(8, 400, 160), (8, 2, 2)]
MODEL = ModelConfig(
    feature_encoder=FeatureEncoderConfig(conv_layers=LAYERS),
    context=ContextConfig(num_layers=2, dim=16, ffn_dim=32, num_heads=2, pos_conv_kernel=8, pos_conv_groups=2),
)
QUIET = DropoutConfig(hidden=0.0, attention=0.0, layer_drop=0.0)
AUDIO = 0.1 * torch.randn(4, 16_000, generator=torch.Generator().manual_seed(1))
PAIRS = torch.arange(2)
"""Recordings of two views: rows 0 and 2 of the audio are of the first."""
MASKING = MaskingConfig(time_prob=0.5, time_length=3)
DISTILLATION = SelfDistillationConfig(
    teacher=TeacherConfig(decay_start=0.8, decay_end=0.9, ramp_updates=10, top_layers=2),
    codebook=OnlineCodebookConfig(num_entries=6),
    masking=MASKING,
)
OBJECTIVES: dict[str, AnyObjective] = {
    "contrastive": ContrastiveConfig(
        quantizer=QuantizerConfig(num_entries=6, dim=8), masking=MASKING, final_dim=8, num_negatives=5
    ),
    "masked prediction": MaskedPredictionConfig(units=UnitsConfig(num_entries=[3, 5], dim=4), masking=MASKING),
    "self-distillation, regression": DISTILLATION,
    "self-distillation, codebook": with_values(DISTILLATION, {"targets": "codebook"}),
    "two views": TwoViewConfig(hidden_dim=12, final_dim=6),
}
"""One that is added is held to what test_objectives.py asks of all."""


def make(objective: AnyObjective, model: ModelConfig = MODEL, dropout: DropoutConfig = QUIET) -> Any:
    """The task with the same random weights every time; units are fitted to noise."""
    torch.manual_seed(0)
    made: Any = build_objective(model, objective, dropout)
    if units_config(objective) is not None:
        made.units.fit([0.1 * torch.randn(4, 32_000) for _ in range(2)], seed=0)
    return made.train()


def draw_for(model: Any, audio: Tensor, seed: int = 0) -> Any:
    """The draw of a micro-batch (B, S)."""
    layers = model.encoder.config.feature_encoder.conv_layers
    frames = num_frames(audio.shape[1], layers)
    return model.draw(len(audio), frames, torch.Generator().manual_seed(seed), update=0)


def per_target(output: PretextOutput) -> dict[str, float]:
    """Figures as the log has them."""
    return {name: float(value) / max(1, output.num_targets) for name, value in output.figures.items()}


def symptoms(model: Any, figures: Mapping[str, float], **limits: float) -> dict[str, str]:
    """What is named in such figures, with its text."""
    return {item.name: item.text for item in model.symptoms(figures, HealthConfig(**limits)) if item.present}
