"""Which encoder a torchaudio model is, from its tensors or its modules, and the arguments that make one of ours."""

from collections.abc import Mapping
from typing import Any

import torch

from speechssl.config import ContextConfig, FeatureEncoderConfig, ModelConfig
from speechssl.errors import CheckpointError
from speechssl.interop.imported import Architecture

Shapes = Mapping[str, torch.Size]

_CONV = "feature_extractor.conv_layers.{i}.conv"
_LAYER = "encoder.transformer.layers.{i}"
_DISTANCES = "encoder.transformer.layers.0.attention.rel_attn_embed.weight"
_POSITION = "encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original1"

# What is not in the tensors' shapes, by what is: the published models of wav2vec 2.0, HuBERT, XLS-R and WavLM.
_STRIDES = {(10, 3, 3, 3, 3, 2, 2): (5, 2, 2, 2, 2, 2, 2)}
_HEADS = {(768, 12): 12, (1024, 24): 16, (1280, 48): 16, (1920, 48): 16}
"""By dimension and number of blocks."""


def published_model(shapes: Shapes, *, source: str) -> ModelConfig:
    """The encoder of a state dict, where it has the shape of a published one.

    Args:
        shapes: of the tensors by name, normalised weights under their present names.
        source: for messages.

    Raises:
        CheckpointError: no encoder of torchaudio's, or of a shape that none of the published ones has.
    """
    convolutions = _rows(shapes, _CONV + ".weight")
    blocks = len(_rows(shapes, _LAYER + ".feed_forward.intermediate_dense.weight"))
    position = shapes.get(_POSITION, torch.Size())
    if not convolutions or not blocks or any(len(shape) != 3 or 0 in shape for shape in (position, *convolutions)):
        raise CheckpointError(
            f"{source}: its tensors are not those of a torchaudio wav2vec 2.0 model ({_CONV.format(i=0)}.weight and "
            "others); give the state dict of torchaudio.models.wav2vec2_model"
        )
    kernels, dim = tuple(shape[2] for shape in convolutions), position[0]
    if kernels not in _STRIDES or (dim, blocks) not in _HEADS:
        raise CheckpointError(
            f"{source}: kernels {', '.join(map(str, kernels))} and {blocks} blocks of dimension {dim} are of no "
            "published model, and a state dict does not tell strides, heads or order of norms; give them with --model "
            "FILE or --model.context.num_heads and so on"
        )
    large = "feature_extractor.conv_layers.1.layer_norm.weight" in shapes
    distances = shapes.get(_DISTANCES)
    return ModelConfig(
        normalize_audio=large,
        feature_encoder=FeatureEncoderConfig(
            conv_layers=[
                (shape[0], shape[2], stride) for shape, stride in zip(convolutions, _STRIDES[kernels], strict=True)
            ],
            norm="layer" if large else "group",
            bias=f"{_CONV.format(i=0)}.bias" in shapes,
        ),
        context=ContextConfig(
            num_layers=blocks,
            dim=dim,
            ffn_dim=shapes[_LAYER.format(i=0) + ".feed_forward.intermediate_dense.weight"][0],
            num_heads=_HEADS[dim, blocks],
            norm_first=large,
            pos_conv_kernel=position[2],
            pos_conv_groups=dim // position[1],
            relative_bias=distances is not None,
            num_buckets=ContextConfig.num_buckets if distances is None else distances[0],
        ),
    )


def _rows(shapes: Shapes, pattern: str) -> list[torch.Size]:
    """Shapes of a tensor that every layer has, from layer 0 on."""
    found: list[torch.Size] = []
    while (name := pattern.format(i=len(found))) in shapes:
        found.append(shapes[name])
    return found


def model_of_module(module: Any, *, sample_rate: int, normalize_audio: bool) -> ModelConfig:
    """The encoder that a model of theirs is, from its modules.

    Args:
        module: a ``torchaudio.models.Wav2Vec2Model``.
        sample_rate: of its audio.
        normalize_audio: whether its audio is to be normalised.
    """
    convolutions = [layer.conv for layer in module.feature_extractor.conv_layers]
    first, transformer = module.feature_extractor.conv_layers[0], module.encoder.transformer
    position, block = transformer.pos_conv_embed.conv, transformer.layers[0]
    return ModelConfig(
        sample_rate=sample_rate,
        normalize_audio=normalize_audio,
        feature_encoder=FeatureEncoderConfig(
            conv_layers=[(conv.out_channels, conv.kernel_size[0], conv.stride[0]) for conv in convolutions],
            norm="group" if isinstance(first.layer_norm, torch.nn.GroupNorm) else "layer",
            bias=convolutions[0].bias is not None,
        ),
        context=ContextConfig(
            num_layers=len(transformer.layers),
            dim=position.out_channels,
            ffn_dim=block.feed_forward.intermediate_dense.out_features,
            num_heads=block.attention.num_heads,
            norm_first=block.layer_norm_first,
            pos_conv_kernel=position.kernel_size[0],
            pos_conv_groups=position.groups,
            relative_bias=hasattr(block.attention, "gru_rel_pos_linear"),
            num_buckets=getattr(block.attention, "num_buckets", ContextConfig.num_buckets),
            max_distance=getattr(block.attention, "max_distance", ContextConfig.max_distance),
        ),
    )


def problems_of(model: ModelConfig) -> list[str]:
    """Fields with values that no model of theirs has, in words."""
    found = {"pos_conv_depth": model.context.pos_conv_depth, "squeeze": model.context.squeeze}
    return [f"model.context.{name} is {value}, theirs is 1" for name, value in found.items() if value > 1]


def their_function(model: ModelConfig) -> str:
    """The function of ``torchaudio.models`` that makes such a model."""
    return "wavlm_model" if model.context.relative_bias else "wav2vec2_model"


def their_arguments(architecture: Architecture) -> dict[str, Any]:
    """Arguments of that function; no dropout, which is not part of a model here."""
    features, context = architecture.model.feature_encoder, architecture.model.context
    buckets = {"encoder_num_buckets": context.num_buckets, "encoder_max_distance": context.max_distance}
    return {
        "extractor_mode": f"{features.norm}_norm",
        "extractor_conv_layer_config": [list(layer) for layer in features.conv_layers],
        "extractor_conv_bias": features.bias,
        "encoder_embed_dim": context.dim,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": context.pos_conv_kernel,
        "encoder_pos_conv_groups": context.pos_conv_groups,
        "encoder_num_layers": context.num_layers,
        "encoder_num_heads": context.num_heads,
        **(buckets if context.relative_bias else {}),
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": context.ffn_dim,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": context.norm_first,
        "encoder_layer_drop": 0.0,
        "aux_num_out": len(architecture.vocabulary) if architecture.vocabulary is not None else None,
    }
