"""Random weights of a recogniser in the form of everyone whom bench_infer.py times."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from speechssl.config import DropoutConfig, FinetuneConfig, HeadConfig, ModelConfig
from speechssl.config.reading import to_dict
from speechssl.interop.huggingface import write_huggingface
from speechssl.interop.imported import Architecture
from speechssl.interop.onnx_models import MODEL_FILE, describe, write_float
from speechssl.interop.tensors import to_theirs
from speechssl.interop.torchaudio import their_pairs
from speechssl.model.ctc import CtcModel
from speechssl.text.vocabulary import Vocabulary
from speechssl.training.checkpoints import save_checkpoint

VOCABULARY = Vocabulary.of_characters("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")


def write_weights(folder: Path, config: ModelConfig, peers: Collection[str]) -> None:
    """Write ours and those of peers into folders of their names."""
    torch.manual_seed(0)
    model = CtcModel(config, DropoutConfig(), len(VOCABULARY), HeadConfig()).eval()
    save_checkpoint(
        folder / "ours",
        kind="ctc",
        update=1,
        config=to_dict(FinetuneConfig(model=config)),
        model_state=model.state_dict(),
        training_state={},
        vocabulary=VOCABULARY.to_dict(),
        metrics={},
    )
    architecture = Architecture("ctc", "wav2vec2", config, None, VOCABULARY)
    for peer in peers:
        (folder / peer).mkdir()
    if "huggingface" in peers:
        write_huggingface(folder / "huggingface", architecture, model.state_dict())
    if "torchaudio" in peers:
        weights = to_theirs(their_pairs(architecture), model.state_dict())
        content = {"arguments": torchaudio_arguments(config), "weights": weights}
        torch.save(content, folder / "torchaudio" / "model.pt")
    if "onnxruntime" in peers:  # without the proof of an export: the benchmark compares logits
        write_float(folder / "onnxruntime" / MODEL_FILE, architecture, model, describe(architecture))


def torchaudio_arguments(config: ModelConfig) -> dict[str, Any]:
    """Arguments of torchaudio's ``wav2vec2_model`` for an encoder and the head."""
    features, context = config.feature_encoder, config.context
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
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": context.ffn_dim,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": context.norm_first,
        "encoder_layer_drop": 0.0,
        "aux_num_out": len(VOCABULARY),
    }
