"""torchaudio's pipelines by name: torchaudio fetches and loads their weights, and runs them for the proof."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.config import ContextConfig, FeatureEncoderConfig, ModelConfig
from speechssl.config.schema import nearest
from speechssl.errors import CheckpointError
from speechssl.installation import import_torchaudio
from speechssl.interop.imported import Architecture, Family, Imported, make_vocabulary
from speechssl.interop.naming import TORCHAUDIO, Pair, model_pairs
from speechssl.interop.proof import CONTEXT, FEATURES, LOGITS, Reference, Stages, layer_name
from speechssl.interop.tensors import first_line, take_over
from speechssl.objectives.contrastive import ContrastiveDraw
from speechssl.text.vocabulary import Vocabulary

FORMAT = "torchaudio"
SCHEME = "torchaudio:"
LOUDNESS = 10.0
"""Theirs adds 1e-5 to the variance of the waveform before it divides by its root, ours (and Hugging Face's) 1e-7, which
tells in quiet recordings. Of audio that is ten times louder, 1e-5 is the same share as 1e-7 of the audio itself."""


def is_pipeline(path: Path) -> bool:
    """Whether a path is the name of a pipeline."""
    return str(path).startswith(SCHEME)


def read_pipeline(name: str) -> Imported:
    """The model of a pipeline.

    Args:
        name: ``torchaudio:NAME``.

    Raises:
        CheckpointError: no such pipeline, or its weights cannot be fetched.
    """
    bundle = find_bundle(name)
    module = load_module(bundle, name)
    model = model_of_module(
        inner_module(module),
        sample_rate=int(bundle.sample_rate),
        normalize_audio=bool(getattr(module, "normalize_waveform", False)),
    )
    family: Family = "wavlm" if model.context.relative_bias else "wav2vec2"
    if name.startswith(f"{SCHEME}HUBERT"):
        family = "hubert"
    vocabulary = vocabulary_of(bundle)
    architecture = Architecture("encoder" if vocabulary is None else "ctc", family, model, vocabulary=vocabulary)
    state = inner_module(module).state_dict()
    return take_over(architecture, their_pairs, state, source=Path(name), format=FORMAT)


def inner_module(module: Any) -> Any:
    """A model without what a pipeline wraps it in."""
    return getattr(module, "model", module)


def find_bundle(name: str) -> Any:
    """The pipeline that is called ``torchaudio:NAME``.

    Raises:
        CheckpointError: torchaudio has none of this name.
    """
    pipelines = import_torchaudio("torchaudio.pipelines")
    bundles = {key: value for key, value in vars(pipelines).items() if isinstance(value, pipelines.Wav2Vec2Bundle)}
    short = name.removeprefix(SCHEME)
    if short not in bundles:
        raise CheckpointError(
            f"{name}: torchaudio has no such pipeline; the nearest is {SCHEME}{nearest(short, bundles)} (all: "
            f"{', '.join(sorted(bundles))})"
        )
    return bundles[short]


def load_module(bundle: Any, name: str) -> Any:
    """The model of a pipeline, loaded by torchaudio's own code.

    Raises:
        CheckpointError: the weights cannot be fetched, or are damaged.
    """
    # Theirs would unpickle whatever the server sends.
    options: dict[str, Any] = {"dl_kwargs": {"weights_only": True, "progress": False, "map_location": "cpu"}}
    if hasattr(bundle, "get_aligner"):
        options["with_star"] = False  # an output that is no label
    try:
        return bundle.get_model(**options)
    except (OSError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{name}: its weights cannot be fetched or read ({first_line(error)}); it needs a connection the first "
            "time, after which torchaudio has them in its cache"
        ) from error


def vocabulary_of(bundle: Any) -> Vocabulary | None:
    """Labels of a pipeline that recognises speech; its first one is the blank."""
    if not hasattr(bundle, "get_labels"):
        return None
    labels: Sequence[str] = bundle.get_labels(star=None) if hasattr(bundle, "get_aligner") else bundle.get_labels()
    return make_vocabulary(labels)


def model_of_module(module: Any, *, sample_rate: int, normalize_audio: bool) -> ModelConfig:
    """The encoder that a ``torchaudio.models.Wav2Vec2Model`` is, from its modules."""
    blocks, transformer = module.feature_extractor.conv_layers, module.encoder.transformer
    position, block = transformer.pos_conv_embed.conv, transformer.layers[0]
    return ModelConfig(
        sample_rate=sample_rate,
        normalize_audio=normalize_audio,
        feature_encoder=FeatureEncoderConfig(
            conv_layers=[(x.conv.out_channels, x.conv.kernel_size[0], x.conv.stride[0]) for x in blocks],
            norm="group" if isinstance(blocks[0].layer_norm, torch.nn.GroupNorm) else "layer",
            bias=blocks[0].conv.bias is not None,
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


def their_pairs(architecture: Architecture) -> list[Pair]:
    """Every tensor of a model of theirs."""
    pairs = model_pairs(architecture, TORCHAUDIO)
    if architecture.model.context.relative_bias:
        pairs = [pair._replace(theirs=tuple(dict.fromkeys(map(in_wavlm, pair.theirs)))) for pair in pairs]
    return pairs


def in_wavlm(name: str) -> str:
    """A name as their WavLM has it: attention wraps PyTorch's, where queries, keys and values are one, as in ours."""
    stem, middle, last = name.rpartition(".attention.")
    part, _, kind = last.partition(".")
    match part:
        case "q_proj" | "k_proj" | "v_proj":
            return f"{stem}.attention.attention.in_proj_{kind}"
        case "out_proj":
            return f"{stem}.attention.attention.{last}"
    return f"{stem}{middle}{last}"


def torchaudio_reference(source: Path, architecture: Architecture) -> Reference:
    """A pipeline as torchaudio runs it, for the proof.

    Raises:
        CheckpointError: the weights cannot be read again.
    """
    return reference_of_module(load_module(find_bundle(str(source)), str(source)), architecture)


def reference_of_module(module: Any, architecture: Architecture) -> Reference:
    """A model of theirs, in evaluation mode, as it is or as a pipeline wraps it."""
    inner = inner_module(module)

    @torch.no_grad()
    def stages(audio: Tensor, draw: ContrastiveDraw | None) -> Stages:
        heard = normalized = audio
        if architecture.model.normalize_audio:
            heard = audio * LOUDNESS
            normalized = F.layer_norm(heard, heard.shape)
        features, _ = inner.feature_extractor(normalized, None)
        found = {FEATURES: inner.encoder.feature_projection.layer_norm(features)}
        # A pipeline normalises by itself.
        layers, _ = module.extract_features(normalized if module is inner else heard)
        found |= {layer_name(i): value for i, value in enumerate(layers, 1)}
        found[CONTEXT] = inner.encoder(features)
        if architecture.kind == "ctc":
            found[LOGITS], _ = inner(normalized)
        return found

    return stages
