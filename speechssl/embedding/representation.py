"""What is kept of an encoder's layers: frames, or their mean and deviation over a recording, of each or of a mix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from speechssl.config import ModelConfig, Pooling
from speechssl.decoding.long_form import Window
from speechssl.errors import ConfigError
from speechssl.frames import frame_seconds, num_frames
from speechssl.model.encoder import Encoder, EncoderOutput

MIX = "mix"
"""Name of what is made of several layers."""


class Moments(NamedTuple):
    """Frames that were pooled, of some layers."""

    num_frames: int
    mean: Tensor
    """(layers, D)"""
    squares: Tensor
    """Sum of the squared distances from the mean, (layers, D)."""


Kept = Tensor | Moments
"""What is kept of a window: frames, float32 (layers, T, D), or their moments; on the CPU."""


def layer_names(encoder: Encoder) -> tuple[str, ...]:
    """Names of an encoder's layers, first to last."""
    return (*(f"block_{i + 1}" for i in range(encoder.config.context.num_layers)), "context")


def frame_times(num_samples: int, model: ModelConfig) -> Tensor:
    """Middle of what each frame of a recording hears, in seconds, float64 (T,)."""
    layers = model.feature_encoder.conv_layers
    frames = torch.arange(num_frames(num_samples, layers), dtype=torch.float64)
    return frame_seconds(frames, layers, model.sample_rate)


@dataclass(frozen=True)
class Representation:
    """Which layers, and what of them.

    Args:
        known: all layers of the encoder, in order.
        layers: those that are wanted, in the order in which they are wanted.
        weights: of the layers in their mean, which is then the only one; None keeps each.
        pooling: over time.
    """

    known: tuple[str, ...]
    layers: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    pooling: Pooling = "none"

    def __post_init__(self) -> None:
        if unknown := [name for name in self.layers if name not in self.known]:
            raise ConfigError(f"layers: {', '.join(unknown)}; expected some of {', '.join(self.known)}")
        if len(set(self.layers)) < len(self.layers):
            raise ConfigError(f"layers: {', '.join(self.layers)}; expected each once")
        if self.weights is not None and len(self.weights) != len(self.layers):
            raise ConfigError(f"mix_weights has {len(self.weights)} numbers for {len(self.layers)} layers")

    @property
    def names(self) -> tuple[str, ...]:
        """Of what is kept."""
        return self.layers if self.weights is None else (MIX,)

    @property
    def needs_blocks(self) -> bool:
        """Whether the outputs of blocks are wanted."""
        return any(name != self.known[-1] for name in self.layers)

    def num_vectors(self, num_frames: int) -> int:
        """Vectors of D numbers that are kept of a recording."""
        per_layer = {"none": num_frames, "mean": 1, "mean_std": 2}[self.pooling]
        return len(self.names) * per_layer

    def of(self, output: EncoderOutput, windows: Sequence[Window]) -> Sequence[Kept]:
        """What is kept of the windows of a batch."""
        found = dict(zip(self.known, [*output.layers, output.context], strict=True)) if output.layers else {}
        found[self.known[-1]] = output.context
        x = torch.stack([found[name] for name in self.layers]).float()  # (layers, B, T, D)
        if self.weights is not None:
            shares = torch.tensor(self.weights, dtype=torch.float64) / sum(self.weights)
            x = torch.einsum("l,lbtd->btd", shares.to(x), x)[None]
        bounds = [(window.first_frame, window.stop_frame) for window in windows]
        if self.pooling == "none":
            x = x.cpu()
            # Copies: a view would keep the whole batch in memory.
            return [x[:, row, first:stop].clone() for row, (first, stop) in enumerate(bounds)]
        return pool_rows(x, bounds)

    def joined(self, outputs: Sequence[Kept]) -> Tensor:
        """That of a recording from that of its windows: float32 (layers, T, D), or pooled (layers, D or 2 D)."""
        if self.pooling == "none":
            return torch.cat([x for x in outputs if isinstance(x, Tensor)], dim=1)
        total = joined_moments([x for x in outputs if isinstance(x, Moments)])
        if self.pooling == "mean":
            return total.mean.float()
        return torch.cat([total.mean, (total.squares / total.num_frames).sqrt()], dim=-1).float()


def pool_rows(x: Tensor, bounds: Sequence[tuple[int, int]]) -> list[Moments]:
    """Moments of the kept frames of each row; only they leave the device.

    Args:
        x: frames, (layers, B, T, D).
        bounds: the first frame of each row that is kept, and the one after the last.
    """
    means, squares = [], []
    for row, (first, stop) in enumerate(bounds):
        frames = x[:, row, first:stop]  # (layers, t, D)
        mean = frames.sum(1) / max(1, stop - first)
        means.append(mean)
        squares.append((frames - mean[:, None]).square().sum(1))
    every_mean, every_square = torch.stack(means).cpu(), torch.stack(squares).cpu()  # (B, layers, D)
    return [
        Moments(stop - first, mean, square)
        for (first, stop), mean, square in zip(bounds, every_mean, every_square, strict=True)
    ]


def joined_moments(parts: Sequence[Moments]) -> Moments:
    """Moments of all frames from those of parts (Chan et al. 1983), in float64."""
    count = sum(part.num_frames for part in parts)
    mean = sum((part.mean.double() * (part.num_frames / count) for part in parts), torch.zeros(()))
    within = sum((part.squares.double() for part in parts), torch.zeros(()))
    between = sum((part.num_frames * (part.mean.double() - mean).square() for part in parts), torch.zeros(()))
    return Moments(count, mean, within + between)
