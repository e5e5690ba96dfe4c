"""The operations that benchmarks divide by, against PyTorch's counter where that counts right."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from speechssl.config import ContextConfig, ContrastiveConfig, DropoutConfig, FeatureEncoderConfig, ModelConfig
from speechssl.frames import num_frames
from speechssl.objectives.contrastive import ContrastiveModel

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from operations import pretraining_operations

QUIET = DropoutConfig(hidden=0, attention=0, layer_drop=0)


@pytest.mark.parametrize("squeeze", [1, 3])
def test_operations_of_an_update_are_those_that_pytorch_counts(squeeze: int) -> None:
    # One group: PyTorch's counter takes every convolution for a full one. Layer norm: on CPUs the statistics of a group
    # norm come from products.
    config = ModelConfig(
        feature_encoder=FeatureEncoderConfig(conv_layers=[(16, 10, 5), (24, 8, 8), (32, 8, 8)], norm="layer"),
        context=ContextConfig(
            num_layers=3, dim=48, ffn_dim=96, num_heads=4, pos_conv_kernel=16, pos_conv_groups=1, squeeze=squeeze
        ),
    )
    model = ContrastiveModel(config, ContrastiveConfig(), QUIET).train()
    frames = num_frames(32_000, config.feature_encoder.conv_layers)
    draw = model.draw(2, frames, torch.Generator().manual_seed(0), update=0)
    # Nor does it see into fused attention on CPUs.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.randn(2, 32_000), draw).loss.backward()
    ours = pretraining_operations(config, ContrastiveConfig(), 2, 32_000, draw.positions.shape[1])
    assert ours == pytest.approx(counter.get_total_flops(), rel=0.01)
