"""Long recordings in chunks, which need a fraction of the memory of the whole; without gradients."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.frames import hop_samples, num_frames, samples_for_frames

CONVOLVED_FRAMES = 50
"""Frames of an utterance that are encoded at a time."""
FEED_FORWARD_FRAMES = 512
"""Frames that go through a feed-forward layer at a time."""


class ChunkedBlock(Protocol):
    """A block of the feature encoder that can be given an utterance in chunks."""

    def for_utterance(self, audio: Tensor) -> Callable[[Tensor], Tensor]:
        """The block, (1, C, T) to (1, C', T'), for any chunk of an utterance (S,)."""


Layers = Sequence[tuple[int, int, int]]


def encode_in_chunks(
    blocks: Sequence[ChunkedBlock], layers: Layers, audio: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """What convolutional blocks make of audio (B, S) as a whole, to rounding: (B, T, C), and the frames (B,).

    Args:
        blocks: of the feature encoder, in order.
        layers: channels, kernel and stride of each.
        audio: waveforms, (B, S).
        lengths: samples of each utterance, (B,); None if all have S.
    """
    if lengths is None:
        return torch.stack([_encode_utterance(blocks, layers, row) for row in audio]), None
    rows = zip(audio, lengths.tolist(), strict=True)
    features = [_encode_utterance(blocks, layers, row[:length]) for row, length in rows]
    frames = num_frames(audio.shape[1], layers)
    padded = [F.pad(x, (0, 0, 0, frames - x.shape[0])) for x in features]
    return torch.stack(padded), num_frames(lengths, layers)


def _encode_utterance(blocks: Sequence[ChunkedBlock], layers: Layers, audio: Tensor) -> Tensor:
    """Features (T, C) of one utterance (S,)."""
    hop, frames, channels = hop_samples(layers), num_frames(len(audio), layers), layers[-1][0]
    chunked = [block.for_utterance(audio) for block in blocks] if frames else []
    features = audio.new_empty(0, channels)
    for start in range(0, frames, CONVOLVED_FRAMES):
        stop = min(frames, start + CONVOLVED_FRAMES)
        x = audio[None, None, start * hop : start * hop + samples_for_frames(stop - start, layers)]
        for block in chunked:
            x = block(x)
        if start == 0:  # of the type that the blocks give; a tensor per chunk would lie between freed activations
            features = x.new_empty(frames, channels)
        features[start:stop] = x[0].T
    return features


def feed_forward_in_chunks(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A layer over frames (B, T, D), of which only some are there at its widest at a time."""
    frames = x.reshape(-1, x.shape[2])  # (B * T, D)
    out = torch.empty_like(frames)
    for part, found in zip(frames.split(FEED_FORWARD_FRAMES), out.split(FEED_FORWARD_FRAMES), strict=True):
        found.copy_(layer(part))
    return out.view_as(x)
