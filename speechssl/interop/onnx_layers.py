"""A model as one graph from samples to scores, of layers from the operators that ONNX has."""

import copy
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from speechssl.frames import valid_frames
from speechssl.model.ctc import BidirectionalLstm, CtcModel
from speechssl.model.encoder import Encoder
from speechssl.model.feature_encoder import ChannelNorm, LogMelBlock
from speechssl.model.relative_position import RelativePositionBias
from speechssl.model.squeeze import Squeeze


class Graph(nn.Module):
    """A recogniser or an encoder that takes samples and lengths, and gives one thing per frame."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module if isinstance(module, CtcModel) else encoder_of(module)

    def forward(self, audio: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Score audio.

        Args:
            audio: waveforms in -1..1 at the model's rate, (B, S); what lies past a length changes nothing.
            lengths: samples of each utterance, (B,).

        Returns:
            Logits (B, T, labels) of a recogniser, context vectors (B, T, D) of an encoder; frames past an utterance's
            own hold no meaning. And the frames of each utterance, (B,).
        """
        output = self.module(audio, lengths)
        return (output.logits if isinstance(self.module, CtcModel) else output.context), output.lengths


def encoder_of(module: nn.Module) -> Encoder:
    """The encoder in a model, or the model if it is one."""
    encoder = module if isinstance(module, Encoder) else module.get_submodule("encoder")
    assert isinstance(encoder, Encoder)
    return encoder


def onnx_graph(module: nn.Module) -> Graph:
    """A copy of a model as a graph whose layers all have an ONNX counterpart; the model is not touched."""
    graph = Graph(copy.deepcopy(module)).eval().requires_grad_(False)
    replace_layers(graph)
    onnx_normalization(encoder_of(graph.module))
    return graph


def replace_layers(parent: nn.Module) -> None:
    """Put every layer's counterpart in its place, those within a counterpart too."""
    for name, layer in list(parent.named_children()):
        replacement = onnx_layer(layer)
        setattr(parent, name, replacement)
        replace_layers(replacement)


def onnx_normalization(encoder: Encoder) -> None:
    """Let an encoder that normalises its audio do so with sums that are exact in ONNX runtimes too."""
    if encoder.config.normalize_audio:
        encoder.config = replace(encoder.config, normalize_audio=False)
        encoder.register_forward_pre_hook(lambda _, inputs: (normalize(inputs[0], inputs[1]), inputs[1]))


def normalize(audio: Tensor, lengths: Tensor) -> Tensor:
    """Same as :func:`speechssl.model.encoder.normalize_audio`: (B, S) and (B,) to (B, S)."""
    valid = valid_frames(lengths, audio.shape[1])
    count = lengths.clamp(min=1)[:, None].to(audio.dtype)
    mean = long_sum(audio.masked_fill(~valid, 0.0)) / count
    centred = (audio - mean).masked_fill(~valid, 0.0)
    return centred * torch.rsqrt(long_sum(centred.square()) / count + 1e-7)


def long_sum(x: Tensor) -> Tensor:
    """Sum over a last dimension of any length, which stays, in two stages.

    onnxruntime adds up one after the other: over the samples of 30 s that costs two digits.
    """
    x = F.pad(x, (0, -x.shape[-1] % _SUMMED))
    return x.unflatten(-1, (-1, _SUMMED)).sum(-1).sum(-1, keepdim=True)


_SUMMED = 512


class OnnxChannelNorm(nn.Module):
    """Group norm of each channel over the valid positions, (B, C, T), with exact sums."""

    def __init__(self, norm: ChannelNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        valid = valid_frames(lengths, x.shape[2])[:, None]  # (B, 1, T)
        count = lengths.clamp(min=1)[:, None, None].to(x.dtype)
        centred = x - long_sum(x.masked_fill(~valid, 0.0)) / count
        variance = long_sum(centred.masked_fill(~valid, 0.0).square()) / count
        return centred * torch.rsqrt(variance + self.eps) * self.weight[:, None] + self.bias[:, None]


def onnx_layer(layer: nn.Module) -> nn.Module:
    """A layer's counterpart, or the layer itself."""
    match layer:
        case ChannelNorm():
            return OnnxChannelNorm(layer)
        case LogMelBlock():
            return ConvolvedLogMel(layer)
        case BidirectionalLstm():
            return OnnxLstm(layer)
        case nn.Conv1d() if parametrize.is_parametrized(layer):
            return plain_convolution(layer)
        case RelativePositionBias():
            return GatheredBias(layer)
        case Squeeze():
            return GatheredSqueeze(layer)
        case _:
            return layer


def plain_convolution(conv: nn.Conv1d) -> nn.Conv1d:
    """A convolution whose weight norm is worked out once instead of at every call."""
    # Taking the parametrization off a copy would take it off the original too: they share its class.
    plain = nn.Conv1d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    plain.load_state_dict({name: getattr(conv, name).detach() for name in plain.state_dict()})
    return plain.requires_grad_(False)


class ConvolvedLogMel(nn.Module):
    """The log-mel analysis with a convolution for the Fourier transform: (B, 1, S) to (B, bands, T).

    ONNX has a DFT, but few runtimes have it for windows that are no power of two, and none a view of overlapping
    windows. A convolution with the windowed cosines and sines is both at once.
    """

    def __init__(self, block: LogMelBlock) -> None:
        super().__init__()
        self.hop, self.floor, self.norm = block.hop, block.FLOOR, block.norm
        size = block.window.shape[0]
        bins = torch.arange(size // 2 + 1)
        # The product is taken modulo the window first: sines of large numbers are not exact.
        phase = 2 * torch.pi * (bins[:, None] * torch.arange(size) % size).double() / size
        waves = torch.cat([phase.cos(), phase.sin()]) * block.window.double()
        self.register_buffer("waves", waves.float()[:, None])  # (2 bins, 1, window)
        self.register_buffer("filters", block.filters.t()[:, :, None].contiguous())  # (bands, bins, 1)

    waves: Tensor
    filters: Tensor

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        real, imaginary = F.conv1d(x, self.waves, stride=self.hop).square().chunk(2, dim=1)  # each (B, bins, T)
        energies = F.conv1d(real + imaginary, self.filters)  # (B, bands, T)
        return self.norm((energies + self.floor).log(), lengths)


class OnnxLstm(nn.Module):
    """Both directions of an LSTM as ONNX's one operator, which turns round each utterance's own frames by itself.

    It computes nothing in PyTorch; only its export has a meaning.
    """

    weight: Tensor
    recurrence: Tensor
    bias: Tensor

    def __init__(self, lstm: BidirectionalLstm) -> None:
        super().__init__()
        directions = (lstm.forwards, lstm.backwards)
        self.dim = lstm.forwards.hidden_size
        biases = [torch.cat([gates(x.bias_ih_l0), gates(x.bias_hh_l0)]) for x in directions]
        self.register_buffer("weight", torch.stack([gates(x.weight_ih_l0) for x in directions]))  # (2, 4 dim, D)
        self.register_buffer("recurrence", torch.stack([gates(x.weight_hh_l0) for x in directions]))  # (2, 4 dim, dim)
        self.register_buffer("bias", torch.stack(biases))  # (2, 8 dim)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        batch, frames, _ = x.shape
        inputs = (x.transpose(0, 1), self.weight, self.recurrence, self.bias, lengths.to(torch.int32))
        attributes: dict[str, Any] = {"hidden_size": self.dim, "direction": "bidirectional"}
        shape = (frames, 2, batch, self.dim)
        y = torch.onnx.ops.symbolic("LSTM", inputs, attributes, dtype=x.dtype, shape=shape)
        return y.permute(2, 0, 1, 3).reshape(batch, frames, 2 * self.dim)


def gates(parameter: Tensor | nn.Module) -> Tensor:
    """Gates in ONNX's order (input, output, forget, cell) from PyTorch's (input, forget, cell, output)."""
    assert isinstance(parameter, Tensor)
    i, f, c, o = parameter.detach().chunk(4)
    return torch.cat([i, o, f, c])


class GatheredBias(RelativePositionBias):
    """The position bias with rows that are looked up: T to (heads, T, T)."""

    def __init__(self, bias: RelativePositionBias) -> None:
        nn.Module.__init__(self)  # the parent's would draw an embedding
        self.embedding = bias.embedding
        self.register_buffer("buckets", bias.buckets)

    def forward(self, num_frames: int) -> Tensor:
        frames = torch.arange(num_frames, device=self.buckets.device)
        offsets = torch.arange(1 - num_frames, num_frames, device=self.buckets.device)  # (2 T - 1,)
        values = self.embedding(self.bucket_of(offsets)).t()  # (heads, 2 T - 1)
        return values[:, frames - frames[:, None] + num_frames - 1]


class GatheredSqueeze(Squeeze):
    """Squeezing with frames that are looked up, where a slice's end would be guarded."""

    def __init__(self, squeeze: Squeeze) -> None:
        nn.Module.__init__(self)  # the parent's would draw weights
        self.factor, self.expand, self.norm = squeeze.factor, squeeze.expand, squeeze.norm

    def grouped(self, x: Tensor) -> Tensor:
        groups = (x.shape[1] + self.factor - 1) // self.factor
        frames = torch.arange(groups, device=x.device)[:, None] * self.factor
        frames = frames + torch.arange(self.factor, device=x.device)  # (T / R, R)
        outside = (frames >= x.shape[1])[:, :, None]
        return x[:, frames.clamp(max=x.shape[1] - 1)].masked_fill(outside, 0.0)

    def spread(self, squeezed: Tensor, x: Tensor) -> Tensor:
        expanded = self.expand(squeezed).unflatten(2, (self.factor, -1))  # (B, T / R, R, D)
        frames = torch.arange(x.shape[1], device=x.device)
        return self.norm(x + expanded[:, frames // self.factor, frames % self.factor])
