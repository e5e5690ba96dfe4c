"""Small encoders of every family and norm variant, and their configuration in Hugging Face's words."""

from typing import Any, Literal, NamedTuple

from speechssl.config import ContextConfig, DropoutConfig, FeatureEncoderConfig, ModelConfig
from speechssl.interop.imported import Family

LAYERS = [(16, 10, 5), (16, 3, 2), (24, 3, 2), (24, 3, 2), (24, 3, 2), (24, 2, 2), (24, 2, 2)]
QUIET = DropoutConfig(hidden=0, attention=0, layer_drop=0)


def small(family: Family, *, large: bool, bias: bool = False) -> ModelConfig:
    """As published but for the size: ``large`` is layer norm and pre-norm where the family has a choice."""
    stacked = family == "data2vec-audio"
    norm: Literal["group", "layer"] = "layer" if large or stacked else "group"
    return ModelConfig(
        feature_encoder=FeatureEncoderConfig(conv_layers=LAYERS, norm=norm, bias=bias),
        context=ContextConfig(
            num_layers=3, dim=32, ffn_dim=48, num_heads=4, norm_first=large and not stacked, pos_conv_groups=4,
            pos_conv_kernel=5 if stacked else 16, pos_conv_depth=3 if stacked else 1,
            # 37 frames then have distances of their own, shared ones, and some beyond the last bucket.
            relative_bias=family == "wavlm", num_buckets=32, max_distance=20,
        ),
    )  # fmt: skip


class Variant(NamedTuple):
    """An architecture and whose it is."""

    family: Family
    config: ModelConfig


VARIANTS = {
    "wav2vec 2.0 base": Variant("wav2vec2", small("wav2vec2", large=False)),
    "wav2vec 2.0 large": Variant("wav2vec2", small("wav2vec2", large=True, bias=True)),
    "HuBERT base": Variant("hubert", small("hubert", large=False)),
    "HuBERT large": Variant("hubert", small("hubert", large=True, bias=True)),
    "WavLM base": Variant("wavlm", small("wavlm", large=False)),
    "WavLM large": Variant("wavlm", small("wavlm", large=True)),
    "data2vec": Variant("data2vec-audio", small("data2vec-audio", large=False)),
}


def reference_config(transformers: Any, variant: Variant, dropout: DropoutConfig) -> Any:
    """The family's configuration of the same architecture."""
    family, features, context = variant.family, variant.config.feature_encoder, variant.config.context
    settings: dict[str, Any] = {
        "hidden_size": context.dim,
        "num_hidden_layers": context.num_layers,
        "num_attention_heads": context.num_heads,
        "intermediate_size": context.ffn_dim,
        "num_conv_pos_embedding_groups": context.pos_conv_groups,
        "conv_dim": [channels for channels, _, _ in features.conv_layers],
        "conv_kernel": [kernel for _, kernel, _ in features.conv_layers],
        "conv_stride": [stride for _, _, stride in features.conv_layers],
        "conv_bias": features.bias,
        "hidden_dropout": dropout.hidden,
        "attention_dropout": dropout.attention,
        "activation_dropout": dropout.activation,
        "feat_proj_dropout": dropout.features,
        "layerdrop": dropout.layer_drop,
        "mask_feature_prob": 0.0,
    }
    if family == "data2vec-audio":
        settings |= {
            "conv_pos_kernel_size": context.pos_conv_kernel,
            "num_conv_pos_embeddings": context.pos_conv_depth,
        }
    else:
        settings |= {
            "feat_extract_norm": features.norm,
            "do_stable_layer_norm": context.norm_first,
            "num_conv_pos_embeddings": context.pos_conv_kernel,
        }
    if family == "wavlm":
        settings |= {"num_buckets": context.num_buckets, "max_bucket_distance": context.max_distance}
    config = transformers.AutoConfig.for_model(family, **settings)
    config._attn_implementation = "eager"  # its dropout can be replaced from outside
    return config
