"""Hugging Face's configuration files: which model a folder describes, and how to describe one of ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechssl.config import (
    ContextConfig,
    ContrastiveConfig,
    ConvLayer,
    FeatureEncoderConfig,
    HeadConfig,
    ModelConfig,
    QuantizerConfig,
)
from speechssl.errors import CheckpointError
from speechssl.interop.huggingface_labels import (
    TOKENIZER_FILE,
    VOCABULARY_FILE,
    read_json,
    read_vocabulary,
    their_tokenizer,
    their_tokens,
)
from speechssl.interop.imported import FAMILIES, Architecture, Family
from speechssl.interop.values import Names, Values, show
from speechssl.training.checkpoints import CheckpointKind

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
# What our fields are called there, with their defaults, which configurations may leave out.
_SHARED: Names = {
    "dim": ("hidden_size", 768),
    "num_layers": ("num_hidden_layers", 12),
    "num_heads": ("num_attention_heads", 12),
    "ffn_dim": ("intermediate_size", 3072),
    "norm_first": ("do_stable_layer_norm", False),
    "pos_conv_groups": ("num_conv_pos_embedding_groups", 16),
}
_ONE_CONVOLUTION: Names = _SHARED | {"pos_conv_kernel": ("num_conv_pos_embeddings", 128)}
_CONTEXTS: dict[Family, Names] = {
    "wav2vec2": _ONE_CONVOLUTION,
    "hubert": _ONE_CONVOLUTION,
    "wavlm": _ONE_CONVOLUTION | {"num_buckets": ("num_buckets", 320), "max_distance": ("max_bucket_distance", 800)},
    # Here the number of embeddings is that of the convolutions.
    "data2vec-audio": _SHARED
    | {"pos_conv_kernel": ("conv_pos_kernel_size", 19), "pos_conv_depth": ("num_conv_pos_embeddings", 5)},
}
_QUANTIZER: Names = {
    "num_groups": ("num_codevector_groups", 2),
    "num_entries": ("num_codevectors_per_group", 320),
    "dim": ("codevector_dim", 256),
}
_OBJECTIVE: Names = {
    "final_dim": ("proj_codevector_dim", 256),
    "num_negatives": ("num_negatives", 100),
    "temperature": ("contrastive_logits_temperature", 0.1),
    "diversity_weight": ("diversity_loss_weight", 0.1),
}
_CONVOLUTIONS = {
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
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
    family, config = family_of(given, folder), Values(str(folder / CONFIG_FILE), given)
    config.check_fixed(_FIXED)
    notes: list[str] = []
    model = model_config(folder, family, config, notes)
    objective = None
    if kind == "pretrain":
        objective = config.section(ContrastiveConfig, _OBJECTIVE, quantizer=config.section(QuantizerConfig, _QUANTIZER))
    vocabulary = read_vocabulary(folder, config, notes) if kind == "ctc" else None
    return Architecture(kind, family, model, objective, vocabulary, notes=notes)


def model_config(folder: Path, family: Family, config: Values, notes: list[str]) -> ModelConfig:
    """Our description of an encoder of theirs; without a file about the audio, its family's habit, with a note."""
    norm = config.get("feat_extract_norm", "layer" if family == "data2vec-audio" else "group")
    if norm not in ("group", "layer"):
        raise config.problem("feat_extract_norm", norm, "group or layer")
    given = {"sampling_rate": 16000, "do_normalize": norm == "layer"}
    if (folder / FEATURES_FILE).is_file():
        given = {"do_normalize": True} | read_json(folder / FEATURES_FILE)
    else:
        notes.append(
            f"no {FEATURES_FILE}: taken as 16000 Hz, with{'' if norm == 'layer' else 'out'} normalised audio, as "
            "published models of this kind"
        )
    audio = Values(str(folder / FEATURES_FILE), given)
    return ModelConfig(
        sample_rate=audio.of_type(int, "sampling_rate", 16000),
        normalize_audio=audio.of_type(bool, "do_normalize"),
        feature_encoder=FeatureEncoderConfig(
            conv_layers=conv_layers(config), norm=norm, bias=config.of_type(bool, "conv_bias", False)
        ),
        context=config.section(ContextConfig, _CONTEXTS[family], relative_bias=family == "wavlm"),
    )


def conv_layers(config: Values) -> list[ConvLayer]:
    """The convolutions, from a list of each of their numbers."""
    columns = {name: config.get(name, default) for name, default in _CONVOLUTIONS.items()}
    for name, column in columns.items():
        if not isinstance(column, list) or not all(type(number) is int for number in column):
            raise config.problem(name, column, "a list of whole numbers")
    try:
        return list(zip(*columns.values(), strict=True))
    except ValueError as error:
        raise CheckpointError(f"{config.source}: {', '.join(columns)} are of different lengths") from error


def values_of(section: object, names: Names) -> dict[str, Any]:
    """Values of theirs from a section of ours; inverse of ``Values.section``."""
    return {theirs: getattr(section, ours) for ours, (theirs, _) in names.items()}


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
        **values_of(model.context, _CONTEXTS[architecture.family]),
    }
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
