"""fairseq's configuration of a checkpoint: a dictionary (``cfg``), OmegaConf's containers, or a namespace (``args``).

Fine-tuned models keep the configuration of their pretraining inside theirs, as ``w2v_args``. Microsoft's WavLM, whose
code is fairseq's, has the model's values alone. Nothing is evaluated; fairseq's own code passes some text to ``eval``.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from speechssl.config import (
    ContextConfig,
    ContrastiveConfig,
    ConvLayer,
    FeatureEncoderConfig,
    MaskingConfig,
    ModelConfig,
    QuantizerConfig,
)
from speechssl.errors import CheckpointError
from speechssl.interop.imported import MAX_LAYERS
from speechssl.interop.values import Names, Values, as_mapping, show, unwrap

KINDS = ("wav2vec2", "wav2vec_ctc", "hubert", "hubert_ctc", "data2vec_audio")
"""What fairseq calls the models that can be read."""
# What our encoder computes in one way only, with fairseq's defaults.
_FIXED: dict[str, Any] = {
    "activation_fn": "gelu",
    "quantize_input": False,
    "target_glu": False,
    "layer_type": "transformer",
    "conv_pos_batch_norm": False,
}
_CONTEXT: Names = {
    "num_layers": ("encoder_layers", None),
    "dim": ("encoder_embed_dim", None),
    "ffn_dim": ("encoder_ffn_embed_dim", None),
    "num_heads": ("encoder_attention_heads", None),
    "norm_first": ("layer_norm_first", False),
    "pos_conv_kernel": ("conv_pos", None),
    "pos_conv_groups": ("conv_pos_groups", None),
    "pos_conv_depth": ("pos_conv_depth", 1),
    "relative_bias": ("relative_position_embedding", False),
    "num_buckets": ("num_buckets", 320),
    "max_distance": ("max_distance", 1280),
}
_QUANTIZER: Names = {"num_groups": ("latent_groups", None), "num_entries": ("latent_vars", None)}
_MASKING: Names = {
    "time_prob": ("mask_prob", 0.65),
    "time_length": ("mask_length", 10),
    "channel_prob": ("mask_channel_prob", 0.0),
    "channel_length": ("mask_channel_length", 64),
}
_OBJECTIVE: Names = {
    "num_negatives": ("num_negatives", 100),
    "temperature": ("logit_temp", 0.1),
    "feature_grad_scale": ("feature_grad_mult", 1.0),
}
_MAX_TEXT = 1_000


@dataclass
class Settings:
    """What a checkpoint's configuration says."""

    kind: str
    """One of ``KINDS``; empty if it does not say."""
    model: Values
    """Of pretraining, where a model is fine-tuned."""
    task: Values
    criterion: Values


def read_settings(content: Mapping[str, Any], source: str) -> Settings:
    """The configuration in a checkpoint.

    Raises:
        CheckpointError: a model that is not read.
    """
    config, arguments = as_mapping(content.get("cfg")), as_mapping(content.get("args"))
    model, task, criterion = (as_mapping(config.get(name)) for name in ("model", "task", "criterion"))
    if not config:
        model = task = criterion = arguments
    elif "encoder_layers" in config:  # WavLM's
        model, task = config, {name: config[name] for name in ("normalize",) if name in config}
    kind = Values(source, model).get("_name") or Values(source, model).get("arch") or ""
    if kind and kind not in KINDS:
        raise CheckpointError(
            f"{source}: a fairseq model called {show(kind)}; what can be imported is {', '.join(KINDS)}"
        )
    nested = as_mapping(model.get("w2v_args"))
    if nested:
        model = as_mapping(nested.get("model")) or nested
    return Settings(kind, *(Values(source, values) for values in (model, task, criterion)))


def model_config(settings: Settings) -> ModelConfig:
    """Our description of an encoder of theirs.

    Raises:
        CheckpointError: a value is missing or of another kind, or the model computes what ours cannot.
    """
    model = settings.model
    context = model.section(ContextConfig, _CONTEXT)
    # Without the gate, the bias on distances is one that ours has not.
    model.check_fixed(_FIXED | {"gru_rel_pos": context.relative_bias})
    if context.pos_conv_depth > 1:  # each has its share of the kernel
        context = replace(context, pos_conv_kernel=max(3, context.pos_conv_kernel // context.pos_conv_depth))
    mode = model.get("extractor_mode")
    if mode not in ("default", "layer_norm"):
        raise model.problem("extractor_mode", mode, "default or layer_norm")
    return ModelConfig(
        sample_rate=settings.task.of_type(int, "sample_rate", 16000),
        normalize_audio=settings.task.of_type(bool, "normalize", False),
        feature_encoder=FeatureEncoderConfig(
            conv_layers=conv_layers(model),
            norm="group" if mode == "default" else "layer",
            bias=model.of_type(bool, "conv_bias", False),
        ),
        context=context,
    )


def objective_config(settings: Settings) -> ContrastiveConfig:
    """Our description of their contrastive task.

    Raises:
        CheckpointError: as ``model_config``.
    """
    model, ours = settings.model, ContrastiveConfig()
    final_dim = model.of_type(int, "final_dim", 0) or model.of_type(int, "encoder_embed_dim")
    start, end, decay = numbers(model, "latent_temp", (2.0, 0.5, 0.999995))
    diversity, penalty = numbers(settings.criterion, "loss_weights", (ours.diversity_weight, ours.feature_penalty))
    quantizer = model.section(
        QuantizerConfig,
        _QUANTIZER,
        dim=model.of_type(int, "latent_dim", 0) or final_dim,
        temperature_start=start,
        temperature_end=end,
        temperature_decay=decay,
    )
    return model.section(
        ContrastiveConfig,
        _OBJECTIVE,
        quantizer=quantizer,
        masking=model.section(MaskingConfig, _MASKING),
        final_dim=final_dim,
        diversity_weight=diversity,
        feature_penalty=penalty,
    )


def numbers(values: Values, name: str, defaults: tuple[float, ...]) -> tuple[float, ...]:
    """As many numbers as there are defaults; older configurations have them as text.

    Raises:
        CheckpointError: something else.
    """
    value = values.get(name, defaults)
    try:
        items = ast.literal_eval(value) if isinstance(value, str) and len(value) < _MAX_TEXT else value
        found = tuple(map(unwrap, items))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise values.problem(name, value, f"{len(defaults)} numbers") from error
    if len(found) != len(defaults) or not all(type(item) in (int, float) for item in found):
        raise values.problem(name, value, f"{len(defaults)} numbers")
    return found


def conv_layers(model: Values) -> list[ConvLayer]:
    """The convolutions, from text such as ``[(512,10,5)] + [(512,3,2)] * 4``.

    Raises:
        CheckpointError: something else.
    """
    text = model.get("conv_feature_layers")
    try:
        if not isinstance(text, str) or len(text) > _MAX_TEXT:
            raise ValueError("no text")
        layers = _layers_of(ast.parse(text.strip(), mode="eval").body)
        if not layers or not all(map(_is_layer, layers)):
            raise ValueError("no layers")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        expected = "lists of (channels, kernel, stride), added and repeated"
        raise model.problem("conv_feature_layers", text, expected) from error
    return layers


def _is_layer(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(type(n) is int and n > 0 for n in value)


def _layers_of(node: ast.expr) -> list[Any]:
    """Lists, sums of lists, and lists times numbers; ValueError for all else."""
    match node:
        case ast.List(elts=items):
            layers = [ast.literal_eval(item) for item in items]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            layers = _layers_of(left) + _layers_of(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=ast.Constant(value=int() as times)) if times <= MAX_LAYERS:
            layers = _layers_of(left) * times
        case _:
            raise ValueError("no list")
    if len(layers) > MAX_LAYERS:
        raise ValueError("too many layers")
    return layers
