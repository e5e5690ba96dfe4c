"""Hugging Face's configuration files: which model a folder describes, and how to describe one of ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from speechssl.config import (
    ContextConfig,
    ContrastiveConfig,
    FeatureEncoderConfig,
    HeadConfig,
    ModelConfig,
    QuantizerConfig,
)
from speechssl.errors import CheckpointError
from speechssl.interop.fairseq_values import show
from speechssl.interop.huggingface_labels import (
    TOKENIZER_FILE,
    VOCABULARY_FILE,
    read_json,
    read_vocabulary,
    their_tokenizer,
    their_tokens,
)
from speechssl.interop.imported import FAMILIES, Architecture, Family
from speechssl.training.checkpoints import CheckpointKind

Section = TypeVar("Section")
CONFIG_FILE = "config.json"
FEATURES_FILE = "preprocessor_config.json"
# What our encoder computes in one way only; models that compute something else are refused.
_FIXED: dict[str, Any] = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
    "adapter_attn_dim": None,
    "conv_pos_batch_norm": False,
    "feat_proj_layer_norm": True,
    "quantization_config": None,
}

# Theirs, for configurations that leave out what is the default.
_DEFAULTS: dict[str, Any] = {
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False,
    "feat_extract_norm": "group",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "do_stable_layer_norm": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "num_buckets": 320,
    "max_bucket_distance": 800,
    "num_codevectors_per_group": 320,
    "num_codevector_groups": 2,
    "codevector_dim": 256,
    "proj_codevector_dim": 256,
    "num_negatives": 100,
    "contrastive_logits_temperature": 0.1,
    "diversity_loss_weight": 0.1,
    "pad_token_id": 0,
    "vocab_size": 32,
}

# What our fields are called there.
_SHARED = {
    "dim": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "ffn_dim": "intermediate_size",
    "norm_first": "do_stable_layer_norm",
    "pos_conv_groups": "num_conv_pos_embedding_groups",
    "num_buckets": "num_buckets",
    "max_distance": "max_bucket_distance",
}
_CONTEXT = {
    False: _SHARED | {"pos_conv_kernel": "num_conv_pos_embeddings"},
    True: _SHARED | {"pos_conv_kernel": "conv_pos_kernel_size", "pos_conv_depth": "num_conv_pos_embeddings"},
}
"""By whether positions come from a stack of convolutions, as in data2vec."""
_QUANTIZER = {
    "num_groups": "num_codevector_groups",
    "num_entries": "num_codevectors_per_group",
    "dim": "codevector_dim",
}
_OBJECTIVE = {
    "final_dim": "proj_codevector_dim",
    "num_negatives": "num_negatives",
    "temperature": "contrastive_logits_temperature",
    "diversity_weight": "diversity_loss_weight",
}

_FAMILY_DEFAULTS: dict[Family, dict[str, Any]] = {
    # Here the number of embeddings is that of the convolutions.
    "data2vec-audio": {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19, "feat_extract_norm": "layer"},
}


def family_of(config: Mapping[str, Any], folder: Path) -> Family:
    """Family that a configuration names.

    Raises:
        CheckpointError: one that is not read.
    """
    found = config.get("model_type")
    if found not in FAMILIES:
        raise CheckpointError(
            f"{folder / CONFIG_FILE}: model_type is {show(found)}; what can be imported is {', '.join(FAMILIES)}"
        )
    return found


def read_architecture(folder: Path, kind: CheckpointKind) -> Architecture:
    """What the files beside the weights describe.

    Args:
        folder: with config.json, and others by what the model is.
        kind: which the tensors tell.

    Raises:
        CheckpointError: a file is missing or damaged, or the model computes what ours cannot.
    """
    given = read_json(folder / CONFIG_FILE)
    family = family_of(given, folder)
    config = _DEFAULTS | _FAMILY_DEFAULTS.get(family, {}) | given
    problems = [
        f"{name} is {show(config[name])}, only {value!r} can be imported"
        for name, value in _FIXED.items()
        if name in config and config[name] != value
    ]
    if problems:
        raise CheckpointError(f"{folder / CONFIG_FILE}: " + "; ".join(problems))
    notes: list[str] = []
    try:
        model = model_config(family, config, read_features(folder, config, notes))
        objective = objective_config(config) if kind == "pretrain" else None
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{folder / CONFIG_FILE}: does not describe a {family} encoder ({type(error).__name__}: {error})"
        ) from error
    vocabulary = read_vocabulary(folder, config, notes) if kind == "ctc" else None
    return Architecture(kind, family, model, objective, vocabulary, notes=notes)


def read_features(folder: Path, config: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Sample rate and normalisation; models without the file are taken at their family's habit, with a note."""
    if (folder / FEATURES_FILE).is_file():
        content = read_json(folder / FEATURES_FILE)
        return {"sampling_rate": content.get("sampling_rate", 16000), "do_normalize": content.get("do_normalize", True)}
    normalizes = config["feat_extract_norm"] == "layer"
    notes.append(
        f"no {FEATURES_FILE}: taken as 16000 Hz, with{'' if normalizes else 'out'} normalised audio, as published "
        "models of this kind"
    )
    return {"sampling_rate": 16000, "do_normalize": normalizes}


def model_config(family: Family, config: Mapping[str, Any], features: Mapping[str, Any]) -> ModelConfig:
    """Our description of an encoder of theirs."""
    layers = zip(config["conv_dim"], config["conv_kernel"], config["conv_stride"], strict=True)
    return ModelConfig(
        sample_rate=int(features["sampling_rate"]),
        normalize_audio=bool(features["do_normalize"]),
        feature_encoder=FeatureEncoderConfig(
            conv_layers=[(int(channels), int(kernel), int(stride)) for channels, kernel, stride in layers],
            norm="layer" if config["feat_extract_norm"] == "layer" else "group",
            bias=bool(config["conv_bias"]),
        ),
        context=section_of(
            ContextConfig, _CONTEXT[family == "data2vec-audio"], config, relative_bias=family == "wavlm"
        ),
    )


def objective_config(config: Mapping[str, Any]) -> ContrastiveConfig:
    """Our description of their contrastive task."""
    quantizer = section_of(QuantizerConfig, _QUANTIZER, config)
    return section_of(ContrastiveConfig, _OBJECTIVE, config, quantizer=quantizer)


def section_of(kind: type[Section], names: Mapping[str, str], config: Mapping[str, Any], **more: Any) -> Section:
    """A section of ours from values of theirs, each of the type of the section's default."""
    default = kind()
    return kind(**{ours: type(getattr(default, ours))(config[theirs]) for ours, theirs in names.items()}, **more)


def values_of(section: object, names: Mapping[str, str]) -> dict[str, Any]:
    """Values of theirs from a section of ours; inverse of ``section_of``."""
    return {theirs: getattr(section, ours) for ours, theirs in names.items()}


def describe(architecture: Architecture) -> dict[str, dict[str, Any]]:
    """Their files for a model of ours, by name, as plain values.

    Raises:
        CheckpointError: theirs cannot compute it.
    """
    check_expressible(architecture)
    files = {CONFIG_FILE: their_config(architecture), FEATURES_FILE: their_features(architecture.model)}
    vocabulary = architecture.vocabulary
    if vocabulary is not None:
        tokens = their_tokens(vocabulary)
        files[VOCABULARY_FILE] = {token: i for i, token in enumerate(tokens)}
        files[TOKENIZER_FILE] = their_tokenizer(vocabulary, tokens)
    return files


def check_expressible(architecture: Architecture) -> None:
    """Raise CheckpointError, with all that is in the way, for a model that no class of theirs computes."""
    first_layer, head = architecture.model.feature_encoder.first_layer, architecture.head
    found = family_problems(architecture.model, architecture.family)
    if first_layer != "convolution":
        found.insert(0, f"model.feature_encoder.first_layer is {first_layer}, theirs learns from the waveform")
    if head != HeadConfig(lstm_dim=head.lstm_dim):
        found.append("the head has more than the linear layer that theirs have")
    if found:
        raise CheckpointError(
            f"no Hugging Face model computes this one: {'; '.join(found)}. --to onnx takes it as it is"
        )


def family_problems(model: ModelConfig, family: Family) -> list[str]:
    """Fields with values that no model of a family has, in words."""
    is_stack = family == "data2vec-audio"
    wanted: list[tuple[str, Any, Any]] = [
        ("context.relative_bias", model.context.relative_bias, family == "wavlm"),
        ("context.pos_conv_depth above 1", model.context.pos_conv_depth > 1, is_stack),
        ("context.squeeze", model.context.squeeze, 1),
    ]
    if is_stack:
        wanted.append(("feature_encoder.norm", model.feature_encoder.norm, "layer"))
        wanted.append(("context.norm_first", model.context.norm_first, False))
    return [f"model.{name} is {found}, {family} has {value}" for name, found, value in wanted if found != value]


def their_config(architecture: Architecture) -> dict[str, Any]:
    """config.json."""
    model, objective, vocabulary = architecture.model, architecture.objective, architecture.vocabulary
    prefix = _CLASS_PREFIX[architecture.family]
    channels, kernels, strides = zip(*model.feature_encoder.conv_layers, strict=True)
    config: dict[str, Any] = {
        "architectures": [prefix + _CLASS_SUFFIX[architecture.kind]],
        "model_type": architecture.family,
        "conv_dim": list(channels),
        "conv_kernel": list(kernels),
        "conv_stride": list(strides),
        "conv_bias": model.feature_encoder.bias,
        "feat_extract_norm": model.feature_encoder.norm,
        "feat_extract_activation": "gelu",
        "num_feat_extract_layers": len(channels),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "torch_dtype": "float32",
        **values_of(model.context, _CONTEXT[architecture.family == "data2vec-audio"]),
    }
    if architecture.family != "wavlm":
        del config["num_buckets"], config["max_bucket_distance"]
    if objective is not None:
        config |= values_of(objective.quantizer, _QUANTIZER) | values_of(objective, _OBJECTIVE)
        config |= {"mask_time_prob": objective.masking.time_prob, "mask_time_length": objective.masking.time_length}
    if vocabulary is not None:
        config |= {"vocab_size": len(vocabulary), "pad_token_id": vocabulary.blank, "ctc_loss_reduction": "sum"}
    return config


_CLASS_PREFIX = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM", "data2vec-audio": "Data2VecAudio"}
_CLASS_SUFFIX = {"pretrain": "ForPreTraining", "ctc": "ForCTC", "encoder": "Model"}


def their_features(model: ModelConfig) -> dict[str, Any]:
    """preprocessor_config.json."""
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "processor_class": "Wav2Vec2Processor",
        "feature_size": 1,
        "sampling_rate": model.sample_rate,
        "do_normalize": model.normalize_audio,
        "padding_side": "right",
        "padding_value": 0.0,
        # Group norm over the padding is what those models were trained with; ours leaves it out in any case.
        "return_attention_mask": model.feature_encoder.norm == "layer",
    }
