"""Features of all samples, computed once and kept in files: a layer at a time is in memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from speechssl.data.batches import Batch
from speechssl.errors import ConfigError
from speechssl.model.encoder import Encoder
from speechssl.probing.sets import ProbeSet

LEAST_DEVIATION = 1e-5
"""Dimensions that vary less are no louder than that once they are scaled."""


class LayerSource(Protocol):
    """Where layers come from."""

    names: tuple[str, ...]
    """Of its layers."""
    dims: tuple[int, ...]
    """D of each."""

    def layers(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """Represent padded waveforms, (B, S), of some samples each, (B,): (B, T, D) for each layer."""
        ...


class EncoderLayers:
    """Layers of an encoder: ``features``, what its transformer gets; ``block_1`` and so on; ``context``.

    Args:
        encoder: in evaluation mode.
        names: of the layers that are wanted; all but ``context``, the last block again, if there are none.
        prefix: goes before their names.

    Raises:
        ConfigError: there is no such layer.
    """

    def __init__(self, encoder: Encoder, names: Sequence[str] = (), *, prefix: str = "") -> None:
        config = encoder.config.context
        blocks = [f"block_{i + 1}" for i in range(config.num_layers)]
        known = ["features", *blocks, "context"]
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(f"layers: {', '.join(unknown)}; expected some of {', '.join(known)}")
        chosen = list(names) or known[:-1]
        self._encoder = encoder
        self._places = [known.index(name) for name in chosen]
        self.names = tuple(prefix + name for name in chosen)
        width = encoder.feature_encoder.out_channels
        self.dims = tuple(width if name == "features" else config.dim for name in chosen)

    def layers(self, audio: Tensor, lengths: Tensor) -> list[Tensor]:
        """As of :class:`LayerSource`."""
        device = self._encoder.mask_embedding.device
        output = self._encoder(audio.to(device), lengths.to(device), keep_layers=True)
        found = [output.features, *output.layers, output.context]
        return [found[place].float().cpu() for place in self._places]


class LayerFrames(NamedTuple):
    """A layer's frames in one set."""

    x: Tensor
    """Of all samples, one after the other, float32 (frames, D)."""
    bounds: np.ndarray
    """Where each sample's begin, and their number, (N + 1,)."""

    def split(self) -> list[Tensor]:
        """Those of each sample, (T, D)."""
        return list(self.x.split(np.diff(self.bounds).tolist()))

    def standardized(self, like: "LayerFrames") -> "LayerFrames":
        """Each dimension with zero mean and unit variance over all frames of another set."""
        deviation = like.x.std(0, correction=0).clamp(min=LEAST_DEVIATION)
        return LayerFrames((self.x - like.x.mean(0)) / deviation, self.bounds)

    def pooled(self) -> np.ndarray:
        """Mean and standard deviation of each dimension over each sample, float64 (N, 2 D)."""
        pooled = [torch.cat([x.mean(0), x.std(0, correction=0)]) for x in self.split()]
        return torch.stack(pooled).double().numpy()


@dataclass(frozen=True)
class Layer:
    """A layer whose features lie in files."""

    name: str
    dim: int
    folder: Path

    def frames(self, name: str, bounds: np.ndarray) -> LayerFrames:
        """Those of a set."""
        content = np.load(self.folder / f"{self.name}.{name}.npy")
        return LayerFrames(torch.from_numpy(content), bounds)


@torch.no_grad()
def write_layers(source: LayerSource, sets: dict[str, ProbeSet], folder: Path) -> Iterator[Layer]:
    """Represent every sample of some sets once, by name of set, and yield the layers in order when all are there."""
    layers = [Layer(name, dim, folder) for name, dim in zip(source.names, source.dims, strict=True)]
    for name, samples in sets.items():
        bounds = samples.bounds
        files = [
            np.lib.format.open_memmap(
                folder / f"{layer.name}.{name}.npy", mode="w+", dtype=np.float32, shape=(int(bounds[-1]), layer.dim)
            )
            for layer in layers
        ]
        fill(files, source, samples.batches(), bounds)
        del files
    yield from layers


@torch.no_grad()
def fill(
    layers: Sequence[np.ndarray],
    source: LayerSource,
    batches: Iterable[tuple[Batch, Sequence[int]]],
    bounds: np.ndarray,
) -> None:
    """Represent every sample of a set.

    Args:
        layers: take the frames of each layer, (frames, D).
        source: of the layers.
        batches: of the set, with the positions of their samples in it.
        bounds: where each sample's frames begin, and their number, (N + 1,).
    """
    for batch, places in batches:
        for frames, output in zip(layers, source.layers(batch.audio, batch.lengths), strict=True):
            for row, place in zip(output, places, strict=True):
                start, stop = bounds[place], bounds[place + 1]
                frames[start:stop] = row[: stop - start].numpy()
