"""Long recordings as overlapping windows, whose frames are those of the recording, each of them once.

A window hears a margin on both sides of what is kept of it: next to a cut a frame would lack its context.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from speechssl.audio.blocks import read_blocks_at
from speechssl.audio.reading import ARRAY, read_array
from speechssl.config import ModelConfig
from speechssl.errors import ConfigError, DataError
from speechssl.frames import ConvLayers, hop_samples, num_frames, receptive_field_samples, samples_for_frames

Audio = str | PathLike | ArrayLike
"""A file, or floating-point samples, (S,) or (S, C)."""


class WindowShape(NamedTuple):
    """How long windows are."""

    kept_frames: int
    """Of each window but the last, which may have fewer, or a margin more."""
    margin_frames: int
    """Heard, but not kept, on each side; at least 1."""


class Window(NamedTuple):
    """A part of a recording."""

    samples: np.ndarray
    """(S,)"""
    first_frame: int
    """First of its own frames that is kept."""
    stop_frame: int
    """The one after the last that is kept."""
    is_last: bool


@dataclass
class Recording:
    """A recording that a model hears."""

    path: Path | None
    """None of an array."""
    blocks: Iterable[np.ndarray]
    """Its samples in order at the model's rate, float32 (block,) each."""
    num_samples: int = 0
    """Read so far."""

    def windows(self, model: ModelConfig, window_seconds: float, margin_seconds: float) -> Iterator[Window]:
        """Its windows, while it is read; a short one is one window.

        Raises:
            DataError: it cannot be read, or is shorter than a frame.
        """
        rate, layers = model.sample_rate, model.feature_encoder.conv_layers
        shape = shape_of(window_seconds, margin_seconds, rate, layers, squeeze=model.context.squeeze)
        for window in cut_windows(self.counted(), layers, shape):
            if window.stop_frame == 0:
                raise DataError(
                    f"{self.path or ARRAY}: {self.num_samples} samples at {rate} Hz, expected at least "
                    f"{receptive_field_samples(layers)}, one frame"
                )
            yield window

    def counted(self) -> Iterator[np.ndarray]:
        """Its blocks, while ``num_samples`` grows with them."""
        for block in self.blocks:
            self.num_samples += len(block)
            yield block


def open_recording(audio: Audio, sample_rate: int | None, model: ModelConfig) -> Recording:
    """A file, or an array whose rate has to be said, for a model to hear.

    Raises:
        ConfigError: a rate was given for a file.
        DataError: an array that cannot be heard; a file says so when it is read.
    """
    if not isinstance(audio, (str, PathLike)):
        return Recording(None, [read_array(audio, sample_rate, model.sample_rate)])
    if sample_rate is not None:
        raise ConfigError(f"{audio}: sample_rate is {sample_rate}, but files say their own rate; leave it out")
    return Recording(Path(audio), read_blocks_at(Path(audio), model.sample_rate))


def shape_of(
    window_seconds: float, margin_seconds: float, sample_rate: int, conv_layers: ConvLayers, *, squeeze: int = 1
) -> WindowShape:
    """Windows of so many seconds, margins included, in whole frames, and whole groups of those that a squeezed context
    makes one of: it groups those of a window as it would those of the recording."""
    groups_per_second = sample_rate / hop_samples(conv_layers) / squeeze
    margin = max(1, round(margin_seconds * groups_per_second))
    kept = max(1, round(window_seconds * groups_per_second) - 2 * margin)
    return WindowShape(squeeze * kept, squeeze * margin)


def cut_windows(blocks: Iterable[np.ndarray], conv_layers: ConvLayers, shape: WindowShape) -> Iterator[Window]:
    """Cut a recording while it is read; no more of it than a window and a block is in memory.

    Args:
        blocks: the recording's samples in order, float32 (block,) each.
        conv_layers: of the feature encoder.
        shape: of the windows.

    Yields:
        At least one window. The last alone keeps nothing if the recording is shorter than a frame.
    """
    hop = hop_samples(conv_layers)
    begin = kept = 0  # frames of the recording: where the window begins, and how many windows before it have kept
    waiting = np.empty(0, np.float32)
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        while len(waiting) >= (needed := window_samples(kept - begin, shape, conv_layers)):
            yield Window(waiting[:needed], kept - begin, kept - begin + shape.kept_frames, is_last=False)
            kept += shape.kept_frames
            next_begin = max(0, kept - shape.margin_frames)
            waiting = waiting[(next_begin - begin) * hop :]
            begin = next_begin
    yield Window(waiting, kept - begin, num_frames(len(waiting), conv_layers), is_last=True)


def window_samples(left_frames: int, shape: WindowShape, conv_layers: ConvLayers) -> int:
    """Samples of a window with so many frames before those that are kept, and a whole margin behind them."""
    return samples_for_frames(left_frames + shape.kept_frames + shape.margin_frames, conv_layers)
