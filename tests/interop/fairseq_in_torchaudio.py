"""torchaudio's own conversion of fairseq's models, as an oracle that knows nothing of Hugging Face's names.

``import_fairseq_model`` takes fairseq's modules, of which a stand-in has what it looks at.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn
from torchaudio.models.wav2vec2.utils import import_fairseq_model

from speechssl.interop.fairseq import ENCODER, FINE_TUNED
from speechssl.interop.imported import Architecture
from speechssl.interop.proof import Reference
from speechssl.interop.torchaudio import reference_of_module

_OLD_NAMES = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
_CLASSES = {"wav2vec2": ("Wav2Vec2Model", "Wav2VecEncoder"), "hubert": ("HubertModel", "HubertEncoder")}
"""fairseq's classes of pretrained and fine-tuned models."""


def through_torchaudio(theirs: Mapping[str, Tensor], architecture: Architecture) -> Reference:
    """The model that torchaudio's ``import_fairseq_model`` makes of a checkpoint's tensors."""
    return reference_of_module(import_fairseq_model(stand_in(theirs, architecture)).eval(), architecture)


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
