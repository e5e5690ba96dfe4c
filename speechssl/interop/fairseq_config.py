"""fairseq's configuration of a checkpoint: a dictionary (``cfg``), OmegaConf's containers, or a namespace (``args``).

Fine-tuned models keep the configuration of their pretraining inside theirs, as ``w2v_args``. Microsoft's WavLM, whose
code is fairseq's, has the model's values alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from speechssl.config import (
    ContextConfig,
    ContrastiveConfig,
    FeatureEncoderConfig,
    MaskingConfig,
    ModelConfig,
    QuantizerConfig,
)
from speechssl.errors import CheckpointError
from speechssl.interop.fairseq_values import Section, as_mapping, conv_layers, show
from speechssl.interop.sizes import MAX_LAYERS

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


@dataclass
class Settings:
    """What a checkpoint's configuration says."""

    kind: str
    """One of ``KINDS``; empty if it does not say."""
    model: Section
    """Of pretraining, where a model is fine-tuned."""
    task: Section
    criterion: Section


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
    kind = Section(source, model).get("_name") or Section(source, model).get("arch") or ""
    if kind and kind not in KINDS:
        raise CheckpointError(
            f"{source}: a fairseq model called {show(kind)}; what can be imported is {', '.join(KINDS)}"
        )
    nested = as_mapping(model.get("w2v_args"))
    if nested:
        model = as_mapping(nested.get("model")) or nested
    return Settings(kind, *(Section(source, values) for values in (model, task, criterion)))


def model_config(settings: Settings) -> ModelConfig:
    """Our description of an encoder of theirs.

    Raises:
        CheckpointError: a value is missing or of another kind, or the model computes what ours cannot.
    """
    model = settings.model
    # Without the gate, the bias on distances is one that ours has not.
    fixed = _FIXED | {"gru_rel_pos": model.flag("relative_position_embedding")}
    found = {name: model.get(name, default) for name, default in fixed.items()}
    problems = [
        f"{name} is {show(value)}, only {fixed[name]!r} can be imported"
        for name, value in found.items()
        if value != fixed[name]
    ]
    if problems:
        raise CheckpointError(f"{model.source}: {'; '.join(problems)}")
    mode = model.get("extractor_mode")
    if mode not in ("default", "layer_norm"):
        raise model.problem("extractor_mode", mode, "default or layer_norm")
    return ModelConfig(
        sample_rate=settings.task.whole("sample_rate", default=16000),
        normalize_audio=settings.task.flag("normalize"),
        feature_encoder=FeatureEncoderConfig(
            conv_layers=conv_layers(model), norm="group" if mode == "default" else "layer", bias=model.flag("conv_bias")
        ),
        context=context_config(model),
    )


def context_config(model: Section) -> ContextConfig:
    """The transformer.

    Raises:
        CheckpointError: as ``model_config``.
    """
    depth = model.whole("pos_conv_depth", default=1, most=MAX_LAYERS)
    kernel = model.whole("conv_pos")
    context = ContextConfig(
        num_layers=model.whole("encoder_layers", most=MAX_LAYERS),
        dim=model.whole("encoder_embed_dim"),
        ffn_dim=model.whole("encoder_ffn_embed_dim"),
        num_heads=model.whole("encoder_attention_heads"),
        norm_first=model.flag("layer_norm_first"),
        pos_conv_kernel=kernel if depth == 1 else max(3, kernel // depth),
        pos_conv_groups=model.whole("conv_pos_groups"),
        pos_conv_depth=depth,
        relative_bias=model.flag("relative_position_embedding"),
        num_buckets=model.whole("num_buckets", default=ContextConfig.num_buckets),
        max_distance=model.whole("max_distance", default=1280),
    )
    for name, value in (("encoder_attention_heads", context.num_heads), ("conv_pos_groups", context.pos_conv_groups)):
        if context.dim % value:
            raise model.problem(name, value, f"a divisor of encoder_embed_dim, which is {context.dim}")
    return context


def objective_config(settings: Settings) -> ContrastiveConfig:
    """Our description of their contrastive task.

    Raises:
        CheckpointError: as ``model_config``.
    """
    model, ours = settings.model, ContrastiveConfig()
    final_dim = model.whole("final_dim", default=0, least=0) or model.whole("encoder_embed_dim")
    start, end, decay = model.numbers("latent_temp", (2.0, 0.5, 0.999995))
    diversity, penalty = settings.criterion.numbers("loss_weights", (ours.diversity_weight, ours.feature_penalty))
    quantizer = QuantizerConfig(
        num_groups=model.whole("latent_groups"),
        num_entries=model.whole("latent_vars"),
        dim=model.whole("latent_dim", default=0, least=0) or final_dim,
        temperature_start=start,
        temperature_end=end,
        temperature_decay=decay,
    )
    if quantizer.dim % quantizer.num_groups:
        raise model.problem(
            "latent_groups", quantizer.num_groups, f"a divisor of {quantizer.dim}, the codes' dimension"
        )
    return ContrastiveConfig(
        quantizer=quantizer,
        masking=MaskingConfig(
            time_prob=model.number("mask_prob", ours.masking.time_prob),
            time_length=model.whole("mask_length", default=ours.masking.time_length),
            channel_prob=model.number("mask_channel_prob", 0.0),
            channel_length=model.whole("mask_channel_length", default=ours.masking.channel_length),
        ),
        final_dim=final_dim,
        num_negatives=model.whole("num_negatives", default=ours.num_negatives, least=0),
        temperature=model.number("logit_temp", ours.temperature),
        diversity_weight=diversity,
        feature_penalty=penalty,
        feature_grad_scale=model.number("feature_grad_mult", 1.0),
    )
