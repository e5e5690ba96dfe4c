"""Transformer context network with convolutions for relative position (wav2vec 2.0, section 2).

HuBERT's (Hsu et al. 2021) is the same. WavLM's adds a position bias to attention, data2vec's has several convolutions.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

from speechssl.config import ContextConfig, DropoutConfig
from speechssl.frames import valid_frames
from speechssl.model.kernels.attention import attention, lowest_score
from speechssl.model.kernels.chunks import FEED_FORWARD_FRAMES, feed_forward_in_chunks
from speechssl.model.kernels.dispatch import use_chunks
from speechssl.model.kernels.dropout import Dropout
from speechssl.model.kernels.grouped_convolution import GroupedConv1d
from speechssl.model.relative_position import PositionGate, RelativePositionBias
from speechssl.model.squeeze import Squeeze


class ContextOutput(NamedTuple):
    """What the context network gives."""

    x: Tensor
    """Context vectors, (B, T, D); frames past an utterance's length hold no meaning."""
    layers: list[Tensor]
    """Output of every block, (B, T, D) each; empty unless asked for. Every R frames are equal where the context is
    squeezed: they are spread out behind the last block."""
    feed_forward: list[Tensor]
    """What every block's feed-forward part adds, (B, T, D) each, likewise."""


class ContextNetwork(nn.Module):
    """Positional convolution, then transformer blocks, post-norm (base) or pre-norm (large)."""

    def __init__(self, config: ContextConfig, dropout: DropoutConfig) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.layer_drop = dropout.layer_drop
        self.squeeze = Squeeze(config.dim, config.squeeze) if config.squeeze > 1 else None
        self.position = build_position(config)
        # Outside the blocks: layer drop may skip any of them, and the others still have their bias.
        self.position_bias = build_position_bias(config)
        self.blocks = nn.ModuleList(Block(config, dropout) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(dropout.hidden)
        self.recomputes = False
        """Whether the backward pass computes the insides of the blocks again instead of keeping them."""

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        keep_layers: bool = False,
        keep_feed_forward: bool = False,
    ) -> ContextOutput:
        """Contextualise frames.

        Args:
            x: projected features, (B, T, D).
            lengths: frames of each utterance, (B,); None if all have T.
            keep_layers: also return the output of every block.
            keep_feed_forward: also return what every block's feed-forward part adds, before it is added.
        """
        valid = None
        if lengths is not None:
            valid = valid_frames(lengths, x.shape[1])
            # The positional convolution reaches across the end of an utterance, so what lies there must be zero.
            x = x.masked_fill(~valid[:, :, None], 0.0)
        if self.squeeze is None:
            return self.transform(x, valid, keep_layers=keep_layers, keep_feed_forward=keep_feed_forward)
        squeezed = self.squeeze(x, valid)  # (B, T / R, D)
        if lengths is not None:
            valid = valid_frames(self.squeeze.squeezed_lengths(lengths), squeezed.shape[1])
        y, *kept = self.transform(squeezed, valid, keep_layers=keep_layers, keep_feed_forward=keep_feed_forward)
        spread = ([self.squeeze.repeat(layer, x.shape[1]) for layer in layers] for layers in kept)
        return ContextOutput(self.squeeze.spread(y, x), *spread)

    def transform(
        self, x: Tensor, valid: Tensor | None, *, keep_layers: bool, keep_feed_forward: bool
    ) -> ContextOutput:
        """Position, blocks and norm over frames (B, T, D), zero where not valid (B, T)."""
        attention_mask = None if valid is None else valid[:, None, None, :]  # (B, 1, 1, T)
        x = x + self.position(x, valid)
        if not self.norm_first:
            x = self.norm(x)
        x = self.dropout(x)
        position_bias = None if self.position_bias is None else self.position_bias(x.shape[1])
        layers: list[Tensor] = []
        feed_forward: list[Tensor] = []
        for block in self.blocks:
            if keep_feed_forward:
                x = block(x, attention_mask, position_bias, feed_forward)
            else:
                x = self.run_block(block, x, attention_mask, position_bias)
            if use_chunks(x):
                torch.clear_autocast_cache()  # of the block's weights in bf16, which nobody needs again
            if keep_layers:
                layers.append(x)
        if self.norm_first:
            x = self.norm(x)
        return ContextOutput(x, layers, feed_forward)

    def run_block(self, block: nn.Module, x: Tensor, attention_mask: Tensor | None, bias: Tensor | None) -> Tensor:
        """One block, or nothing if it is skipped."""
        skips = self.training and self.layer_drop > 0
        if skips and not torch.compiler.is_compiling():
            # A draw on the host: skipping a block must not wait for the device.
            if torch.rand(()).item() < self.layer_drop:
                return x
            skips = False
        y: Tensor
        if self.recomputes and torch.is_grad_enabled():
            y = checkpoint(block, x, attention_mask, bias, use_reentrant=False)
        else:
            y = block(x, attention_mask, bias)
        if skips:
            # A branch would cut a compiled graph in two: what is skipped has been computed, and is left.
            return torch.where(torch.rand((), device=x.device) < self.layer_drop, x, y)
        return y


def build_position_bias(config: ContextConfig) -> RelativePositionBias | None:
    """The bias that all blocks share, if there is one."""
    if not config.relative_bias:
        return None
    return RelativePositionBias(config.num_heads, num_buckets=config.num_buckets, max_distance=config.max_distance)


def build_position(config: ContextConfig) -> "PositionalConvolution | PositionalStack":
    """The convolution that encodes relative position, or a stack of several."""
    return PositionalConvolution(config) if config.pos_conv_depth == 1 else PositionalStack(config)


class PositionalConvolution(nn.Module):
    """Grouped convolution over time with weight norm, GELU; keeps the number of frames.

    Args:
        config: kernel and groups.
        layer_norm: instead of weight norm, layer norm without weights between the convolution and GELU (data2vec).
    """

    def __init__(self, config: ContextConfig, *, layer_norm: bool = False) -> None:
        super().__init__()
        kernel = config.pos_conv_kernel
        conv = GroupedConv1d(config.dim, kernel, config.pos_conv_groups)
        self.layer_norm = layer_norm
        if layer_norm:
            self.conv = conv  # PyTorch's initialisation, as published: the norm undoes the scale
        else:
            nn.init.normal_(conv.weight, std=math.sqrt(4.0 / (kernel * config.dim)))
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            self.conv = weight_norm(conv, name="weight", dim=2)
        self.trim = 1 - kernel % 2  # an even kernel gives one frame too many

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encode the position of frames (B, T, D).

        Args:
            x: frames, zero outside their utterances.
            valid: which frames lie inside, (B, T); no matter to a single convolution.
        """
        x = self.conv(x.transpose(1, 2))  # (B, D, T)
        x = x[:, :, : x.shape[2] - self.trim]
        if self.layer_norm:
            x = F.layer_norm(x.transpose(1, 2), x.shape[1:2]).transpose(1, 2)
        return F.gelu(x).transpose(1, 2)


class PositionalStack(nn.Module):
    """Several grouped convolutions, each with layer norm and GELU (the published code of data2vec)."""

    def __init__(self, config: ContextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            PositionalConvolution(config, layer_norm=True) for _ in range(config.pos_conv_depth)
        )

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Arguments as of :class:`PositionalConvolution`."""
        for i, layer in enumerate(self.layers):
            if i > 0 and valid is not None:
                # What one convolution leaves behind an utterance's end the next would carry back into it.
                x = x.masked_fill(~valid[:, :, None], 0.0)
            x = layer(x)
        return x


class Block(nn.Module):
    """Self-attention and feed-forward with residual connections."""

    def __init__(self, config: ContextConfig, dropout: DropoutConfig) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.attention = SelfAttention(
            config.dim, config.num_heads, dropout.attention, position_gate=config.relative_bias
        )
        self.attention_norm = nn.LayerNorm(config.dim)
        self.ffn_in = nn.Linear(config.dim, config.ffn_dim)
        self.ffn_out = nn.Linear(config.ffn_dim, config.dim)
        self.ffn_norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(dropout.hidden)
        self.activation_dropout = Dropout(dropout.activation)
        for layer in (self.attention.qkv, self.attention.out, self.ffn_in, self.ffn_out):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        x: Tensor,
        attention_mask: Tensor | None,
        position_bias: Tensor | None = None,
        kept: list[Tensor] | None = None,
    ) -> Tensor:
        """Frames (B, T, D) to the same; ``kept`` gets what the feed-forward part adds; the rest as of
        :class:`SelfAttention`."""
        if self.norm_first:
            x = x + self.dropout(self.attention(self.attention_norm(x), attention_mask, position_bias))
            added = self.feed_forward(self.ffn_norm(x))
        else:
            x = self.attention_norm(x + self.dropout(self.attention(x, attention_mask, position_bias)))
            added = self.feed_forward(x)
        if kept is not None:
            kept.append(added)
        x = x + self.dropout(added)
        return x if self.norm_first else self.ffn_norm(x)

    def feed_forward(self, x: Tensor) -> Tensor:
        """Frames (B, T, D) to the same; what is widest in the network is not there as a whole if need not be."""
        if not use_chunks(x) or x.shape[0] * x.shape[1] <= FEED_FORWARD_FRAMES:
            return self.expand_and_project(x)
        return feed_forward_in_chunks(self.expand_and_project, x)

    def expand_and_project(self, x: Tensor) -> Tensor:
        """Frames (..., D) through the inner dimension."""
        return self.ffn_out(self.activation_dropout(F.gelu(self.ffn_in(x))))


class SelfAttention(nn.Module):
    """Multi-head self-attention; one projection makes queries, keys and values.

    Args:
        dim: model dimension D.
        num_heads: divides dim.
        dropout: share of the attention weights set to zero in training.
        position_gate: whether a gated position bias is added to the scores.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float, *, position_gate: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.gate = PositionGate(dim, num_heads) if position_gate else None

    def forward(self, x: Tensor, attention_mask: Tensor | None, position_bias: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: frames, (B, T, D).
            attention_mask: True where a key may be attended to, broadcast to (B, heads, T, T); None if all may.
            position_bias: added to the scores once gated, (heads, T, T); None if there is no gate.
        """
        batch, frames, dim = x.shape
        qkv = self.qkv(x).view(batch, frames, 3, self.num_heads, dim // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, D / heads)
        if self.gate is not None and position_bias is not None:
            # Gated in the precision of the scores: in bf16 a wider tensor of all pairs would only cost memory.
            bias = self.gate(x).to(query.dtype) * position_bias.to(query.dtype)  # (B, heads, T, T)
            attention_mask = bias if attention_mask is None else bias.masked_fill(~attention_mask, lowest_score(bias))
        dropout = self.dropout if self.training else 0.0
        x = attention(query, key, value, attn_mask=attention_mask, dropout_p=dropout)
        return self.out(x.transpose(1, 2).reshape(batch, frames, dim))
