"""The other side of a proof of fairseq checkpoints: Hugging Face's model, since fairseq itself no longer installs.

A checkpoint's tensors go there under the names of Hugging Face's published conversion scripts, which were checked
against fairseq when it ran. These rewrite names by patterns, and know nothing of the tables in ``naming.py``.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from speechssl.interop.fairseq import ENCODER, FINE_TUNED, PRETEXT
from speechssl.interop.huggingface import PREFIXES, WEIGHTS_FILE
from speechssl.interop.huggingface_config import describe
from speechssl.interop.huggingface_reference import huggingface_reference
from speechssl.interop.imported import Architecture
from speechssl.interop.proof import Reference
from speechssl.interop.tensors import modern_name
from speechssl.interop.torch_files import read_torch_file

# convert_*_original_pytorch_checkpoint_to_pytorch.py of the four families; the first that matches is followed.
_HEADS = {
    r"quantizer\.vars": "quantizer.codevectors",
    r"(quantizer\.weight_proj|project_q)\.(\w+)": r"\1.\2",
    r"final_proj\.(\w+)": r"project_hid.\1",
    r"proj\.(\w+)": r"lm_head.\1",
}
_FEATURES, _POSITION, _LAYER = r"feature_extractor\.conv_layers\.(\d+)", r"encoder\.pos_conv", r"encoder\.layers\.(\d+)"
_ENCODER = {
    r"mask_emb": "masked_spec_embed",
    rf"{_FEATURES}\.0\.(\w+)": r"feature_extractor.conv_layers.\1.conv.\2",
    rf"{_FEATURES}\.2\.(?:1\.)?(\w+)": r"feature_extractor.conv_layers.\1.layer_norm.\2",
    r"layer_norm\.(\w+)": r"feature_projection.layer_norm.\1",
    r"post_extract_proj\.(\w+)": r"feature_projection.projection.\1",
    rf"{_POSITION}\.(\d+)\.0\.(\w+)": r"encoder.pos_conv_embed.layers.\1.conv.\2",
    rf"{_POSITION}\.0\.([\w.]+)": r"encoder.pos_conv_embed.conv.\1",
    r"encoder\.layer_norm\.(\w+)": r"encoder.layer_norm.\1",
    rf"{_LAYER}\.self_attn\.grep_linear\.(\w+)": r"encoder.layers.\1.attention.gru_rel_pos_linear.\2",
    rf"{_LAYER}\.self_attn\.grep_a": r"encoder.layers.\1.attention.gru_rel_pos_const",
    rf"{_LAYER}\.self_attn\.relative_attention_bias\.(\w+)": r"encoder.layers.\1.attention.rel_attn_embed.\2",
    rf"{_LAYER}\.self_attn\.(\w+\.\w+)": r"encoder.layers.\1.attention.\2",
    rf"{_LAYER}\.self_attn_layer_norm\.(\w+)": r"encoder.layers.\1.layer_norm.\2",
    rf"{_LAYER}\.fc1\.(\w+)": r"encoder.layers.\1.feed_forward.intermediate_dense.\2",
    rf"{_LAYER}\.fc2\.(\w+)": r"encoder.layers.\1.feed_forward.output_dense.\2",
    rf"{_LAYER}\.final_layer_norm\.(\w+)": r"encoder.layers.\1.final_layer_norm.\2",
}


def fairseq_reference(path: Path, architecture: Architecture) -> Reference:
    """A checkpoint's weights in Hugging Face's model.

    Args:
        path: of the checkpoint, which is read again.
        architecture: what it was found to be.

    Raises:
        ConfigError: transformers is not installed.
    """
    file = read_torch_file(path)
    return through_huggingface(file.tensors(file.content["model"]), architecture)


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
    prefix = "" if architecture.kind == "encoder" else PREFIXES[architecture.family]
    for start, names in (("", _HEADS), (prefix, _ENCODER)):
        for pattern, replacement in names.items():
            if match := re.fullmatch(pattern, name):
                return start + match.expand(replacement)
    raise KeyError(name)
