"""The only samples <-> frames arithmetic.

Every convolution of the feature encoder is unpadded, so a layer turns ``n`` positions into
``(n - kernel) // stride + 1``. The functions take ``(channels, kernel, stride)`` triples, the form in which the
configuration writes them, and work on integers and on integer tensors alike. This module imports no torch by itself.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from torch import Tensor

ConvLayers = Sequence[tuple[int, int, int]]
Length = TypeVar("Length")  # int, or an integer tensor of any shape
Position = TypeVar("Position")  # float, or a tensor of any shape


def num_frames(num_samples: Length, conv_layers: ConvLayers) -> Length:
    """Frames that ``num_samples`` samples give; 0 for audio shorter than the receptive field."""
    length: Any = num_samples
    for _, kernel, stride in conv_layers:
        length = (length - kernel) // stride + 1
        length = length * (length > 0)
    return cast(Length, length)


def valid_frames(lengths: "Tensor", num_frames: int) -> "Tensor":
    """True where a frame lies inside its utterance: (B,) lengths to (B, T)."""
    import torch

    return torch.arange(num_frames, device=lengths.device) < lengths[:, None]


def hop_samples(conv_layers: ConvLayers) -> int:
    """Samples between the starts of two neighbouring frames (320 in the published models)."""
    hop = 1
    for _, _, stride in conv_layers:
        hop *= stride
    return hop


def receptive_field_samples(conv_layers: ConvLayers) -> int:
    """Samples that one frame sees (400 in the published models), the shortest audio that gives a frame."""
    return samples_for_frames(1, conv_layers)


def samples_for_frames(frames: int, conv_layers: ConvLayers) -> int:
    """The smallest number of samples that gives ``frames`` frames."""
    length = frames
    for _, kernel, stride in reversed(conv_layers):
        length = (length - 1) * stride + kernel
    return length


def frame_seconds(frame: Position, conv_layers: ConvLayers, sample_rate: int) -> Position:
    """The middle of what a frame hears, in seconds; half a frame before it and behind it are its edges."""
    first_middle = receptive_field_samples(conv_layers) / 2
    return cast(Position, (cast(Any, frame) * hop_samples(conv_layers) + first_middle) / sample_rate)
