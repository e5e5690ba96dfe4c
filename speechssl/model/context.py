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
from speechssl.model.dropout import Dropout, dropout
from speechssl.model.parts import goes_in_parts
from speechssl.model.relative_position import PositionGate, RelativePositionBias
from speechssl.model.squeeze import Squeeze


def valid_frames(lengths: Tensor, num_frames: int) -> Tensor:
    """True where a frame lies inside its utterance: (B,) lengths to (B, T)."""
    return torch.arange(num_frames, device=lengths.device) < lengths[:, None]


FEED_FORWARD_FRAMES = 512
"""Frames that go through a feed-forward layer at a time where no gradient is needed on a CPU."""


class ContextOutput(NamedTuple):
    """What the context network gives."""

    x: Tensor
    """Context vectors, (B, T, D); frames past an utterance's length hold no meaning."""
    layers: list[Tensor]
    """Output of every block, (B, T, D) each; empty unless asked for. Every R frames are equal where the context is
    squeezed: they are spread out behind the last block."""


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

    def forward(self, x: Tensor, lengths: Tensor | None = None, *, keep_layers: bool = False) -> ContextOutput:
        """Contextualise frames.

        Args:
            x: projected features, (B, T, D).
            lengths: frames of each utterance, (B,); None if all have T.
            keep_layers: also return the output of every block.
        """
        valid = None
        if lengths is not None:
            valid = valid_frames(lengths, x.shape[1])
            # The positional convolution reaches across the end of an utterance, so what lies there must be zero.
            x = x.masked_fill(~valid[:, :, None], 0.0)
        if self.squeeze is None:
            return self.transform(x, valid, keep_layers=keep_layers)
        squeezed = self.squeeze(x, valid)  # (B, T / R, D)
        if lengths is not None:
            valid = valid_frames(self.squeeze.squeezed_lengths(lengths), squeezed.shape[1])
        y, layers = self.transform(squeezed, valid, keep_layers=keep_layers)
        return ContextOutput(self.squeeze.spread(y, x), [self.squeeze.repeat(layer, x.shape[1]) for layer in layers])

    def transform(self, x: Tensor, valid: Tensor | None, *, keep_layers: bool) -> ContextOutput:
        """Position, blocks and norm over frames (B, T, D), zero where not valid (B, T)."""
        attention_mask = None if valid is None else valid[:, None, None, :]  # (B, 1, 1, T)
        x = x + self.position(x, valid)
        if not self.norm_first:
            x = self.norm(x)
        x = self.dropout(x)
        position_bias = None if self.position_bias is None else self.position_bias(x.shape[1])
        layers = []
        for block in self.blocks:
            x = self.run_block(block, x, attention_mask, position_bias)
            if goes_in_parts(x):
                torch.clear_autocast_cache()  # of the block's weights in bf16, which nobody needs again
            if keep_layers:
                layers.append(x)
        if self.norm_first:
            x = self.norm(x)
        return ContextOutput(x, layers)

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
        conv = nn.Conv1d(config.dim, config.dim, kernel, padding=kernel // 2, groups=config.pos_conv_groups)
        self.layer_norm = layer_norm
        if layer_norm:
            self.conv = conv  # PyTorch's initialisation, as published: the norm undoes the scale
        else:
            nn.init.normal_(conv.weight, std=math.sqrt(4.0 / (kernel * config.dim)))
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            self.conv = weight_norm(conv, name="weight", dim=2)
        self.trim = 1 - kernel % 2  # an even kernel gives one frame too many
        self._low_precision_works: bool | None = None

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encode the position of frames (B, T, D).

        Args:
            x: frames, zero outside their utterances.
            valid: which frames lie inside, (B, T); no matter to a single convolution.
        """
        device = x.device.type
        low_precision = device == "cpu" and torch.is_autocast_enabled(device)
        # Some oneDNN kernels for AMX give wrong bf16 values if groups have few channels; the run would never learn.
        if low_precision and not self.low_precision_works(torch.get_autocast_dtype(device)):
            with torch.autocast(device, enabled=False):
                return self.convolve(x.to(self.conv.weight.dtype))
        return self.convolve(x)

    def low_precision_works(self, dtype: torch.dtype) -> bool:
        """Whether this machine's kernels do; tried once."""
        if self._low_precision_works is None:
            self._low_precision_works = low_precision_works(self.conv, dtype)
        return self._low_precision_works

    # As torch.compiler.assume_constant_result does it, which would import the compiler: 120 MiB and 2 s for everyone.
    low_precision_works._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def convolve(self, x: Tensor) -> Tensor:
        """Convolution, norm and GELU over (B, T, D)."""
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


def low_precision_works(conv: nn.Conv1d, dtype: torch.dtype, tolerance: float = 0.05) -> bool:
    """Whether this machine's kernels for a convolution agree with float32, in values and both gradients."""
    found = []
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        wave = torch.arange(2 * conv.in_channels * (conv.kernel_size[0] + 16), dtype=torch.float32).sin()
        for kind in (torch.float32, dtype):
            x = wave.view(2, conv.in_channels, -1).to(kind).requires_grad_()
            weight = conv.weight.detach().to(kind).requires_grad_()
            y = F.conv1d(x, weight, padding=conv.padding, groups=conv.groups)
            found.append((y.detach(), *torch.autograd.grad(y, (x, weight), y.detach())))
    exact, rough = found
    errors = [(b.float() - a).norm() / a.norm() for a, b in zip(exact, rough, strict=True)]
    return bool(torch.stack(errors).max() < tolerance)


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

    def forward(self, x: Tensor, attention_mask: Tensor | None, position_bias: Tensor | None = None) -> Tensor:
        """Frames (B, T, D) to the same; the rest as of :class:`SelfAttention`."""
        if self.norm_first:
            x = x + self.dropout(self.attention(self.attention_norm(x), attention_mask, position_bias))
            return x + self.dropout(self.feed_forward(self.ffn_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, attention_mask, position_bias)))
        return self.ffn_norm(x + self.dropout(self.feed_forward(x)))

    def feed_forward(self, x: Tensor) -> Tensor:
        """Frames (B, T, D) to the same; what is widest in the network is not there as a whole if need not be."""
        if not goes_in_parts(x) or x.shape[0] * x.shape[1] <= FEED_FORWARD_FRAMES:
            return self.ffn_out(self.activation_dropout(F.gelu(self.ffn_in(x))))
        frames = x.reshape(-1, x.shape[2])  # (B * T, D)
        out = torch.empty_like(frames)
        for part, found in zip(frames.split(FEED_FORWARD_FRAMES), out.split(FEED_FORWARD_FRAMES), strict=True):
            found.copy_(self.ffn_out(self.activation_dropout(F.gelu(self.ffn_in(part)))))
        return out.view_as(x)


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
            attention_mask = bias if attention_mask is None else bias.masked_fill(~attention_mask, least(bias))
        dropout = self.dropout if self.training else 0.0
        # PyTorch's attention trains slowly on CPUs: in bf16 two to four times as long as these products take, and with
        # dropout it is not the fused one.
        slow = query.requires_grad and (query.dtype == torch.bfloat16 or dropout > 0)
        attend = explicit_attention if slow and query.device.type == "cpu" else F.scaled_dot_product_attention
        x = attend(query, key, value, attn_mask=attention_mask, dropout_p=dropout)
        return self.out(x.transpose(1, 2).reshape(batch, frames, dim))


def explicit_attention(
    query: Tensor, key: Tensor, value: Tensor, *, attn_mask: Tensor | None, dropout_p: float
) -> Tensor:
    """Scaled dot-product attention as written in Vaswani et al. 2017, section 3.2.1.

    PyTorch computes the softmax of numbers in bf16 in float32, and rounds what comes out.

    Args:
        query: (B, heads, T, D / heads); key and value likewise.
        attn_mask: True where a key may be attended to, or numbers to add to the scores, broadcast to (B, heads, T, T);
            None if all may.
        dropout_p: share of the attention weights set to zero.
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # (B, heads, T, T)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, least(scores))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return dropout(scores.softmax(-1), dropout_p) @ value


def least(scores: Tensor) -> float:
    """A score for keys that are not attended to: as good as minus infinity, but a row of nothing else has a softmax."""
    return torch.finfo(scores.dtype).min
