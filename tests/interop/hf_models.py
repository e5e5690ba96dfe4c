"""Small models of Hugging Face's with random weights, as folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from speechssl.cli import main

CHARACTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
"""The labels of the published recognisers."""
SMALL: dict[str, Any] = {
    "vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
    "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    "num_codevectors_per_group": 7, "codevector_dim": 12, "proj_codevector_dim": 10, "num_negatives": 6,
}  # fmt: skip
DATA2VEC: dict[str, Any] = {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}
FEW_LAYERS = {"num_hidden_layers": 1, "conv_dim": [16] * 3, "conv_kernel": [10, 8, 8], "conv_stride": [5, 8, 8]}
LARGE: dict[str, Any] = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}


def save_model(transformers: Any, name: str, folder: Path, **options: Any) -> Any:
    """A model of a class, with its vocabulary and feature extractor; returns the model."""
    config = getattr(transformers, name.partition("For")[0].removesuffix("Model") + "Config")(**SMALL | options)
    torch.manual_seed(0)
    model = getattr(transformers, name)(config).eval()
    model.save_pretrained(folder)
    large = getattr(config, "feat_extract_norm", "layer") == "layer"
    transformers.Wav2Vec2FeatureExtractor(do_normalize=large, return_attention_mask=large).save_pretrained(folder)
    if name.endswith("CTC"):
        vocabulary = {label: i for i, label in enumerate(CHARACTERS)}
        (folder / "vocab.json").write_text(json.dumps(vocabulary))
        transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    return model


def run_verb(*argv: object) -> int:
    """Exit status of a command."""
    return main([str(item) for item in argv])


def change(folder: Path, file: str, **values: Any) -> None:
    """Write other values into a JSON file of a folder."""
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | values))


def change_weights(folder: Path, action: Callable[[dict[str, Tensor]], Any]) -> None:
    """Write other weights into a folder."""
    state = safetensors.torch.load_file(folder / "model.safetensors")
    action(state)
    safetensors.torch.save_file(state, folder / "model.safetensors")
