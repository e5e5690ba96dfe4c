"""What the tensors of an encoder are called elsewhere, one by one, so that none can be lost or left over."""

from dataclasses import dataclass
from typing import NamedTuple

from speechssl.config import ContextConfig, ModelConfig
from speechssl.interop.imported import Architecture

WEIGHT_AND_BIAS = ("weight", "bias")
OLD_WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
"""PyTorch's names for the parts of a normalised weight, before 2.1 and since."""


class Pair(NamedTuple):
    """One tensor of ours and what it is elsewhere."""

    ours: str
    theirs: tuple[str, ...]
    """Names; several are ours one after the other, along the first dimension."""
    their_shape: tuple[int, ...] | None = None
    """Of the same numbers elsewhere; None: as here."""


@dataclass(frozen=True)
class Names:
    """Modules of a wav2vec 2.0 encoder in one framework; ``{i}`` is a layer's number."""

    conv: str
    group_norm: str
    """After the first convolution."""
    layer_norm: str
    """After each convolution."""
    feature_norm: str
    projection: str
    mask_embedding: str
    """Empty if the framework has none."""
    position: str
    """Positional convolution with weight norm."""
    position_stack: str
    """Each of several with layer norm (data2vec)."""
    position_bias: str
    """Embedding of distances that all blocks share (WavLM), which others keep in the first block."""
    block: str
    attention: str
    """Within a block, as all that follow; q_proj, k_proj and v_proj lie in it."""
    gate: str
    """Within attention: linear layer of the gate on the position bias."""
    gate_scale: str
    attention_norm: str
    ffn_in: str
    ffn_out: str
    ffn_norm: str
    norm: str
    head: str
    """Scores of labels, without the encoder's prefix, as all that follow."""
    codebook: str = ""
    """Empty, as all that follow, if the framework has no contrastive task."""
    scores: str = ""
    targets: str = ""
    predictions: str = ""


_BOTH = {
    "conv": "feature_extractor.conv_layers.{i}.conv",
    "group_norm": "feature_extractor.conv_layers.{i}.layer_norm",
    "layer_norm": "feature_extractor.conv_layers.{i}.layer_norm",
    "attention": "attention",
    "gate": "gru_rel_pos_linear",
    "gate_scale": "gru_rel_pos_const",
    "attention_norm": "layer_norm",
    "ffn_in": "feed_forward.intermediate_dense",
    "ffn_out": "feed_forward.output_dense",
    "ffn_norm": "final_layer_norm",
}
HUGGINGFACE = Names(
    feature_norm="feature_projection.layer_norm",
    projection="feature_projection.projection",
    mask_embedding="masked_spec_embed",
    position="encoder.pos_conv_embed.conv",
    position_stack="encoder.pos_conv_embed.layers.{i}.conv",
    position_bias="encoder.layers.0.attention.rel_attn_embed.weight",
    block="encoder.layers.{i}",
    norm="encoder.layer_norm",
    head="lm_head",
    codebook="quantizer.codevectors",
    scores="quantizer.weight_proj",
    targets="project_q",
    predictions="project_hid",
    **_BOTH,
)
TORCHAUDIO = Names(
    feature_norm="encoder.feature_projection.layer_norm",
    projection="encoder.feature_projection.projection",
    mask_embedding="",
    position="encoder.transformer.pos_conv_embed.conv",
    position_stack="",
    position_bias="encoder.transformer.layers.0.attention.rel_attn_embed.weight",
    block="encoder.transformer.layers.{i}",
    norm="encoder.transformer.layer_norm",
    head="aux",
    **_BOTH,
)
FAIRSEQ = Names(
    conv="feature_extractor.conv_layers.{i}.0",
    group_norm="feature_extractor.conv_layers.{i}.2",
    layer_norm="feature_extractor.conv_layers.{i}.2.1",
    feature_norm="layer_norm",
    projection="post_extract_proj",
    mask_embedding="mask_emb",
    position="encoder.pos_conv.0",
    position_stack="encoder.pos_conv.{i}.0",
    position_bias="encoder.layers.0.self_attn.relative_attention_bias.weight",
    block="encoder.layers.{i}",
    attention="self_attn",
    gate="grep_linear",
    gate_scale="grep_a",
    attention_norm="self_attn_layer_norm",
    ffn_in="fc1",
    ffn_out="fc2",
    ffn_norm="final_layer_norm",
    norm="encoder.layer_norm",
    head="w2v_encoder.proj",
    codebook="quantizer.vars",
    scores="quantizer.weight_proj",
    targets="project_q",
    predictions="final_proj",
)


def model_pairs(architecture: Architecture, names: Names, prefix: str = "") -> list[Pair]:
    """Every tensor of a model that is there too, with the encoder's under a prefix there."""
    pairs = [pair._replace(ours=f"encoder.{pair.ours}") for pair in encoder_pairs(architecture.model, names, prefix)]
    if architecture.objective is not None and names.codebook:
        config = architecture.objective.quantizer
        # The entries of all groups are one list there.
        shape = (1, config.num_groups * config.num_entries, config.dim // config.num_groups)
        pairs += [Pair("quantizer.codebook", (names.codebook,), shape), *_both("quantizer.scores", names.scores)]
        pairs += _both("project_targets", names.targets) + _both("project_context", names.predictions)
    return pairs + (_both("head", names.head) if architecture.kind == "ctc" else [])


def encoder_pairs(config: ModelConfig, names: Names, prefix: str = "") -> list[Pair]:
    """Every tensor of an encoder, without a prefix here and with one there."""
    pairs = [Pair("mask_embedding", (names.mask_embedding,))] if names.mask_embedding else []
    pairs += _feature_encoder_pairs(config, names)
    pairs += _both("feature_norm", names.feature_norm) + _both("projection", names.projection)
    pairs += _position_pairs(config.context, names)
    for i in range(config.context.num_layers):
        pairs += _block_pairs(config.context, f"context.blocks.{i}", names.block.format(i=i), names)
    pairs += _both("context.norm", names.norm)
    return [Pair(ours, tuple(prefix + name for name in theirs), shape) for ours, theirs, shape in pairs]


def _feature_encoder_pairs(config: ModelConfig, names: Names) -> list[Pair]:
    pairs = []
    for i in range(len(config.feature_encoder.conv_layers)):
        ours, theirs = f"feature_encoder.blocks.{i}.conv", names.conv.format(i=i)
        pairs += _both(ours, theirs) if config.feature_encoder.bias else [Pair(f"{ours}.weight", (f"{theirs}.weight",))]
        if config.feature_encoder.norm == "layer":
            pairs += _both(f"feature_encoder.blocks.{i}.norm", names.layer_norm.format(i=i))
        elif i == 0:
            pairs += _both(f"feature_encoder.blocks.{i}.norm", names.group_norm.format(i=i))
    return pairs


def _position_pairs(config: ContextConfig, names: Names) -> list[Pair]:
    if config.pos_conv_depth > 1:
        pairs = []
        for i in range(config.pos_conv_depth):
            pairs += _both(f"context.position.layers.{i}.conv", names.position_stack.format(i=i))
        return pairs
    parts = ("bias", *OLD_WEIGHT_NORM.values())
    pairs = [Pair(f"context.position.conv.{part}", (f"{names.position}.{part}",)) for part in parts]
    if config.relative_bias:
        pairs.append(Pair("context.position_bias.embedding.weight", (names.position_bias,)))
    return pairs


def _block_pairs(config: ContextConfig, ours: str, theirs: str, names: Names) -> list[Pair]:
    attention = f"{theirs}.{names.attention}"
    pairs = [
        Pair(f"{ours}.attention.qkv.{part}", tuple(f"{attention}.{x}_proj.{part}" for x in "qkv"))
        for part in WEIGHT_AND_BIAS
    ]
    pairs += _both(f"{ours}.attention.out", f"{attention}.out_proj")
    if config.relative_bias:
        pairs += _both(f"{ours}.attention.gate.linear", f"{attention}.{names.gate}")
        shape = (1, config.num_heads, 1, 1)
        pairs.append(Pair(f"{ours}.attention.gate.scale", (f"{attention}.{names.gate_scale}",), shape))
    for module in ("attention_norm", "ffn_in", "ffn_out", "ffn_norm"):
        pairs += _both(f"{ours}.{module}", f"{theirs}.{getattr(names, module)}")
    return pairs


def _both(ours: str, theirs: str) -> list[Pair]:
    return [Pair(f"{ours}.{part}", (f"{theirs}.{part}",)) for part in WEIGHT_AND_BIAS]
