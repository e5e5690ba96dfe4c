"""Weights of a Hugging Face wav2vec 2.0 under speechssl's names."""

import torch
from torch import Tensor


def encoder_weights(theirs: dict[str, Tensor], prefix: str = "wav2vec2.") -> dict[str, Tensor]:
    """State of ``Wav2Vec2Model`` (under a prefix) to that of ``speechssl.model.encoder.Encoder``."""
    state = {name.removeprefix(prefix): w for name, w in theirs.items() if name.startswith(prefix)}
    ours: dict[str, Tensor] = {"mask_embedding": state.pop("masked_spec_embed")}
    renamed = {
        "feature_extractor.conv_layers.": "feature_encoder.blocks.",
        ".layer_norm.": ".norm.",
        "feature_projection.norm.": "feature_norm.",
        "feature_projection.projection.": "projection.",
        "encoder.pos_conv_embed.conv.": "context.position.conv.",
        "encoder.layers.": "context.blocks.",
        "encoder.norm.": "context.norm.",
        ".attention.out_proj.": ".attention.out.",
        ".final_norm.": ".ffn_norm.",
        ".feed_forward.intermediate_dense.": ".ffn_in.",
        ".feed_forward.output_dense.": ".ffn_out.",
    }
    parts: dict[str, dict[str, Tensor]] = {}
    for name, weight in state.items():
        name = name.replace(".final_layer_norm.", ".final_norm.")
        in_block = name.startswith("encoder.layers.")
        name = name.replace(".layer_norm.", ".attention_norm." if in_block else ".norm.")
        for old, new in renamed.items():
            name = name.replace(old, new)
        for part in ("q_proj", "k_proj", "v_proj"):
            if f".attention.{part}." in name:
                parts.setdefault(name.replace(part, "qkv"), {})[part] = weight
                break
        else:
            ours[name] = weight
    for name, part in parts.items():
        ours[name] = torch.cat([part["q_proj"], part["k_proj"], part["v_proj"]])
    return ours


def pretraining_weights(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of ``Wav2Vec2ForPreTraining`` to that of ``ContrastiveModel``."""
    ours = {f"encoder.{name}": w for name, w in encoder_weights(theirs).items()}
    codevectors = theirs["quantizer.codevectors"]  # (1, G V, dim / G)
    scores = theirs["quantizer.weight_proj.weight"]
    return ours | {
        "quantizer.scores.weight": scores,
        "quantizer.scores.bias": theirs["quantizer.weight_proj.bias"],
        "quantizer.codebook": codevectors[0],
        "project_targets.weight": theirs["project_q.weight"],
        "project_targets.bias": theirs["project_q.bias"],
        "project_context.weight": theirs["project_hid.weight"],
        "project_context.bias": theirs["project_hid.bias"],
    }


def ctc_weights(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of ``Wav2Vec2ForCTC`` to that of ``CtcModel``."""
    ours = {f"encoder.{name}": w for name, w in encoder_weights(theirs).items()}
    return ours | {"head.weight": theirs["lm_head.weight"], "head.bias": theirs["lm_head.bias"]}
