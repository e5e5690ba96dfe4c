"""Layers of ours without views whose sizes ``torch.export`` takes for constants; bit for bit the same."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from speechssl.interop.portable import Graph, frozen_graph
from speechssl.model.feature_encoder import LogMelBlock
from speechssl.model.relative_position import RelativePositionBias
from speechssl.model.squeeze import Squeeze


def torch_graph(module: nn.Module) -> Graph:
    """A copy of a model as a graph that holds for every batch and length; the model is not touched."""
    graph = frozen_graph(module)
    replace_layers(graph, torch_layer)
    return graph


def replace_layers(parent: nn.Module, counterpart: Callable[[nn.Module], nn.Module]) -> None:
    """Put every layer's counterpart in its place, those within a counterpart too."""
    for name, layer in list(parent.named_children()):
        replacement = counterpart(layer)
        setattr(parent, name, replacement)
        replace_layers(replacement, counterpart)


def torch_layer(layer: nn.Module) -> nn.Module:
    """A layer's counterpart, or the layer itself."""
    match layer:
        case LogMelBlock():
            return GatheredLogMel(layer)
        case RelativePositionBias():
            return GatheredBias(layer)
        case Squeeze():
            return GatheredSqueeze(layer)
        case _:
            return layer


class GatheredLogMel(nn.Module):
    """The log-mel analysis with windows that are looked up: (B, 1, S) to (B, bands, T)."""

    filters: Tensor
    window: Tensor

    def __init__(self, block: LogMelBlock) -> None:
        super().__init__()
        self.hop, self.floor, self.norm = block.hop, block.FLOOR, block.norm
        self.register_buffer("filters", block.filters)  # (bins, bands)
        self.register_buffer("window", block.window)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        size = self.window.shape[0]
        starts = self.hop * torch.arange((x.shape[2] - size) // self.hop + 1, device=x.device)
        windows = x[:, 0][:, starts[:, None] + torch.arange(size, device=x.device)]  # (B, T, window)
        energies = torch.fft.rfft(windows * self.window).abs().square() @ self.filters  # (B, T, bands)
        return self.norm((energies + self.floor).log().transpose(1, 2), lengths)


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
