"""The other side of a proof of fairseq checkpoints: two conversions that others wrote, since fairseq itself is gone.

Encoders and recognisers run in torchaudio, which its own ``import_fairseq_model`` fills; it takes fairseq's modules, of
which a stand-in has what it looks at. It has no quantizer and no data2vec, and does not take WavLM from there, so these
run in Hugging Face's, under the names of its published conversion scripts. Neither knows of the names in ``naming.py``.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from speechssl.installation import import_torchaudio
from speechssl.interop.fairseq import ENCODER, FINE_TUNED, PRETEXT
from speechssl.interop.huggingface import PREFIXES, WEIGHTS_FILE
from speechssl.interop.huggingface_config import describe
from speechssl.interop.huggingface_reference import huggingface_reference
from speechssl.interop.imported import Architecture
from speechssl.interop.proof import Reference
from speechssl.interop.tensors import modern_name
from speechssl.interop.torch_files import read_torch_file
from speechssl.interop.torchaudio import reference_of_module

_OLD_NAMES = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
_CLASSES = {"wav2vec2": ("Wav2Vec2Model", "Wav2VecEncoder"), "hubert": ("HubertModel", "HubertEncoder")}
"""fairseq's classes of pretrained and fine-tuned models."""
_ENCODER = "wav2vec2."
# Hugging Face's convert_*_original_pytorch_checkpoint_to_pytorch.py of the four families, as patterns over whole names.
_HUGGINGFACE = {
    r"mask_emb": f"{_ENCODER}masked_spec_embed",
    r"feature_extractor\.conv_layers\.(\d+)\.0\.(\w+)": _ENCODER + r"feature_extractor.conv_layers.\1.conv.\2",
    r"feature_extractor\.conv_layers\.(\d+)\.2\.(?:1\.)?(\w+)": (
        _ENCODER + r"feature_extractor.conv_layers.\1.layer_norm.\2"
    ),
    r"layer_norm\.(\w+)": _ENCODER + r"feature_projection.layer_norm.\1",
    r"post_extract_proj\.(\w+)": _ENCODER + r"feature_projection.projection.\1",
    r"encoder\.pos_conv\.(\d+)\.0\.(\w+)": _ENCODER + r"encoder.pos_conv_embed.layers.\1.conv.\2",
    r"encoder\.pos_conv\.0\.([\w.]+)": _ENCODER + r"encoder.pos_conv_embed.conv.\1",
    r"encoder\.layer_norm\.(\w+)": _ENCODER + r"encoder.layer_norm.\1",
    r"encoder\.layers\.(\d+)\.self_attn\.grep_linear\.(\w+)": (
        _ENCODER + r"encoder.layers.\1.attention.gru_rel_pos_linear.\2"
    ),
    r"encoder\.layers\.(\d+)\.self_attn\.grep_a": _ENCODER + r"encoder.layers.\1.attention.gru_rel_pos_const",
    r"encoder\.layers\.0\.self_attn\.relative_attention_bias\.weight": (
        _ENCODER + r"encoder.layers.0.attention.rel_attn_embed.weight"
    ),
    r"encoder\.layers\.(\d+)\.self_attn\.(\w+\.\w+)": _ENCODER + r"encoder.layers.\1.attention.\2",
    r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.(\w+)": _ENCODER + r"encoder.layers.\1.layer_norm.\2",
    r"encoder\.layers\.(\d+)\.fc1\.(\w+)": _ENCODER + r"encoder.layers.\1.feed_forward.intermediate_dense.\2",
    r"encoder\.layers\.(\d+)\.fc2\.(\w+)": _ENCODER + r"encoder.layers.\1.feed_forward.output_dense.\2",
    r"encoder\.layers\.(\d+)\.final_layer_norm\.(\w+)": _ENCODER + r"encoder.layers.\1.final_layer_norm.\2",
    r"quantizer\.vars": "quantizer.codevectors",
    r"quantizer\.weight_proj\.(\w+)": r"quantizer.weight_proj.\1",
    r"project_q\.(\w+)": r"project_q.\1",
    r"final_proj\.(\w+)": r"project_hid.\1",
    r"proj\.(\w+)": r"lm_head.\1",
}


def fairseq_reference(path: Path, architecture: Architecture) -> Reference:
    """A checkpoint's weights in others' models.

    Args:
        path: of the checkpoint, which is read again.
        architecture: what it was found to be.

    Raises:
        ConfigError: transformers, which a model that torchaudio has not needs, is not installed.
    """
    file = read_torch_file(path)
    theirs = file.tensors(file.content["model"])
    if architecture.kind == "pretrain" or architecture.family not in _CLASSES:
        return through_huggingface(theirs, architecture)
    return through_torchaudio(theirs, architecture)


def through_torchaudio(theirs: Mapping[str, Tensor], architecture: Architecture) -> Reference:
    """The model that torchaudio's ``import_fairseq_model`` makes of a checkpoint's tensors."""
    utils = import_torchaudio("torchaudio.models.wav2vec2.utils")
    return reference_of_module(utils.import_fairseq_model(stand_in(theirs, architecture)).eval(), architecture)


def stand_in(theirs: Mapping[str, Tensor], architecture: Architecture) -> Any:
    """What torchaudio looks at in a model of fairseq's: its class, a few numbers, and its state dict."""
    pretrained, fine_tuned = _CLASSES[architecture.family]
    encoder = vars(_encoder(architecture))
    if not any(name.startswith(FINE_TUNED) for name in theirs):
        return _make(pretrained, theirs, **encoder)
    theirs = {name.removeprefix(FINE_TUNED): value for name, value in theirs.items()}
    if architecture.kind == "encoder":
        inner = ENCODER.removeprefix(FINE_TUNED)
        return _make(pretrained, {name.removeprefix(inner): value for name, value in theirs.items()}, **encoder)
    projection = SimpleNamespace(out_features=theirs["proj.weight"].shape[0])
    return _make(fine_tuned, theirs, w2v_model=SimpleNamespace(**encoder), proj=projection)


def _make(class_name: str, theirs: Mapping[str, Tensor], **attributes: Any) -> Any:
    """An object of a class of this name; torchaudio expects the names of normalised weights before PyTorch 2.1."""
    state = {}
    for name, value in theirs.items():
        for new, old in _OLD_NAMES.items():
            name = name.replace(new, old)
        state[name] = value
    return type(class_name, (), {"state_dict": lambda self: state, **attributes})()


def _encoder(architecture: Architecture) -> SimpleNamespace:
    """An encoder of fairseq's, as far as torchaudio looks at it."""
    features, context = architecture.model.feature_encoder, architecture.model.context
    quiet = SimpleNamespace(p=0.0)
    norm = nn.GroupNorm(1, 1) if features.norm == "group" else nn.Identity()
    convolutions = [
        SimpleNamespace(out_channels=channels, kernel_size=(kernel,), stride=(stride,), bias=features.bias or None)
        for channels, kernel, stride in features.conv_layers
    ]
    layer = SimpleNamespace(
        self_attn=SimpleNamespace(num_heads=context.num_heads, dropout_module=quiet),
        fc1=SimpleNamespace(out_features=context.ffn_dim),
        dropout2=quiet,
        dropout3=quiet,
    )
    position = SimpleNamespace(kernel_size=(context.pos_conv_kernel,), groups=context.pos_conv_groups)
    return SimpleNamespace(
        feature_extractor=SimpleNamespace(conv_layers=[[conv, None, norm] for conv in convolutions]),
        post_extract_proj=SimpleNamespace(out_features=context.dim),
        dropout_input=quiet,
        encoder=SimpleNamespace(
            pos_conv=[position],
            layers=[layer] * context.num_layers,
            layer_norm_first=context.norm_first,
            layerdrop=0.0,
        ),
    )


def through_huggingface(theirs: Mapping[str, Tensor], architecture: Architecture) -> Reference:
    """Hugging Face's model with a checkpoint's tensors.

    Raises:
        ConfigError: transformers is not installed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file_name, content in describe(architecture).items():
            (folder / file_name).write_text(json.dumps(content), encoding="utf-8")
        tensors = {
            huggingface_name(name, architecture): value.float().clone(memory_format=torch.contiguous_format)
            for name, value in theirs.items()
            if architecture.kind == "pretrain" or not name.removeprefix(ENCODER).startswith(PRETEXT)
        }
        safetensors.torch.save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
        return huggingface_reference(folder, architecture)


def huggingface_name(name: str, architecture: Architecture) -> str:
    """Hugging Face's name of a tensor of fairseq's."""
    name = modern_name(name).removeprefix(ENCODER).removeprefix(FINE_TUNED)
    for pattern, replacement in _HUGGINGFACE.items():
        if match := re.fullmatch(pattern, name):
            found = match.expand(replacement)
            prefix = "" if architecture.kind == "encoder" else PREFIXES[architecture.family]
            return prefix + found.removeprefix(_ENCODER) if found.startswith(_ENCODER) else found
    raise KeyError(name)
