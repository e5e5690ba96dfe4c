"""The models that benchmarks time."""

from pathlib import Path

import yaml

from speechssl.config import ContextConfig, FeatureEncoderConfig, ModelConfig
from speechssl.config.reading import from_dict

RATE = 16000
PRECISIONS = ("bf16", "fp32")
SMALL = ModelConfig(
    feature_encoder=FeatureEncoderConfig(conv_layers=[(256, k, s) for _, k, s in FeatureEncoderConfig().conv_layers]),
    context=ContextConfig(num_layers=4, dim=256, ffn_dim=1024, num_heads=4),
)


def model_config(name: str) -> ModelConfig:
    """A shipped encoder by its name, or "small": 4 blocks of 256 on convolutions of 256 channels."""
    if name == "small":
        return SMALL
    path = Path(__file__).parents[1] / "recipes" / "conf" / f"{name}.yaml"
    return from_dict(ModelConfig, yaml.safe_load(path.read_text(encoding="utf-8")))
