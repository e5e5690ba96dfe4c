"""The network: its architecture, the noise in it while it learns, and the head that is fine-tuned."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from speechssl.config.limits import (
    BelowOne,
    CountOrZero,
    Depth,
    DepthOrZero,
    FactorOrZero,
    SampleRate,
    Section,
    Share,
    Size,
    UpToAThousand,
)

ConvLayer = tuple[Size, Size, Size]
BASE_CONV_LAYERS: list[ConvLayer] = [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2


@dataclass(frozen=True)
class FeatureEncoderConfig(Section):
    """Convolutions from the waveform to frames (section 2, "Feature encoder")."""

    conv_layers: list[ConvLayer] = field(default_factory=lambda: list(BASE_CONV_LAYERS))
    """(channels, kernel, stride) of each convolution, first to last, kernel and stride of the first in samples."""
    first_layer: Literal["convolution", "log_mel"] = "convolution"
    """"convolution": learned from the waveform (as published); "log_mel": log energies in as many mel bands as the
    layer has channels, over windows of its kernel and stride, where audio is too little to learn such a thing from."""
    norm: Literal["group", "layer"] = "group"
    """"group": group norm per channel after the first convolution (base); "layer": layer norm after each (large)."""
    bias: bool = False
    """Whether the convolutions have a bias (only some published large models do)."""

    def problems(self) -> Iterator[str]:
        if not self.conv_layers:
            yield "conv_layers is empty, expected at least one"


@dataclass(frozen=True)
class ContextConfig(Section):
    """Transformer over the frames (section 2, "Contextualized representations")."""

    num_layers: DepthOrZero = 12
    """Transformer blocks; 0 leaves the convolutions alone, as a recogniser on plain features has it."""
    dim: Size = 768
    """Model dimension D."""
    ffn_dim: Size = 3072
    """Inner dimension of the feed-forward blocks."""
    num_heads: Size = 12
    """Attention heads; must divide dim."""
    norm_first: bool = False
    """Pre-norm blocks (large) instead of post-norm ones (base)."""
    pos_conv_kernel: Size = 128
    """Kernel of the convolution that encodes relative position, in frames."""
    pos_conv_groups: Size = 16
    """Groups of that convolution; must divide dim."""
    pos_conv_depth: Depth = 1
    """Such convolutions one after the other: one, with weight norm, as published; several, with layer norm each, as in
    data2vec (Baevski et al. 2022), which has 5 of kernel 19."""
    relative_bias: bool = False
    """Add a learned bias for the distance between two frames, gated by the first of them, to attention (WavLM, Chen et
    al. 2022, section III-B)."""
    num_buckets: Size = 320
    """Buckets into which the relative bias sorts distances, both directions together; a multiple of 4. Distances below
    a quarter of this, in frames, have one each; beyond, buckets widen."""
    max_distance: Size = 800
    """Frames from which on all distances have the same relative bias; more than a quarter of num_buckets."""
    squeeze: Size = 1
    """Neighbouring frames that are averaged into one before the blocks and spread out behind them, after SEW (Wu et al.
    2022): 2 halves the blocks' cost. pos_conv_kernel then counts averaged frames; context vectors stay as many."""

    def problems(self) -> Iterator[str]:
        for name in ("num_heads", "pos_conv_groups"):
            if self.dim % getattr(self, name):
                yield f"dim is {self.dim}, expected a multiple of {name} ({getattr(self, name)})"
        if self.relative_bias and self.num_buckets % 4:
            yield f"num_buckets is {self.num_buckets}, expected a multiple of 4 (320 as published)"
        if self.relative_bias and self.max_distance <= self.num_buckets // 4:
            yield (
                f"max_distance is {self.max_distance} frames, expected more than a quarter of num_buckets "
                f"({self.num_buckets // 4}; 800 as published)"
            )


@dataclass(frozen=True)
class ModelConfig(Section):
    """The encoder's architecture: all that decides the shape and meaning of its weights."""

    sample_rate: SampleRate = 16000
    """Samples per second that the encoder hears; shards of another rate are resampled when they are made."""
    normalize_audio: bool = False
    """Scale each utterance to zero mean and unit variance before the feature encoder (large models)."""
    feature_encoder: FeatureEncoderConfig = FeatureEncoderConfig()
    """Convolutional feature encoder."""
    context: ContextConfig = ContextConfig()
    """Transformer context network."""

    def problems(self) -> Iterator[str]:
        if self.feature_encoder.first_layer != "log_mel" or not self.feature_encoder.conv_layers:
            return
        bands, window, _ = self.feature_encoder.conv_layers[0]
        empty = count_empty_bands(bands, window, self.sample_rate)
        if window % 2 or empty:
            yield (
                f"feature_encoder.conv_layers begins with {bands} mel bands over windows of {window} samples at "
                f"{self.sample_rate} Hz, of which {empty} would be empty; expected an even window, of 25 ms "
                f"({self.sample_rate // 40} samples), and fewer bands (40 to 80), or first_layer: convolution"
            )


def count_empty_bands(bands: int, window: int, sample_rate: int) -> int:
    """Mel bands so narrow that no frequency of the window falls into them; the mel scale is 2595 lg(1 + f / 700)."""
    highest = math.log10(1 + sample_rate / 2 / 700)
    steps_per_hertz = (window // 2) / (sample_rate / 2)
    edges = [700 * (10 ** (highest * i / (bands + 1)) - 1) * steps_per_hertz for i in range(bands + 2)]
    return sum(math.floor(edges[i]) + 1 >= edges[i + 2] - 1e-9 for i in range(bands))  # the last edge is the last step


@dataclass(frozen=True)
class DropoutConfig(Section):
    """Noise inside the network during training; none of it is part of the architecture."""

    features: BelowOne = 0.0
    """On the projected features that enter the context network."""
    quantizer_input: BelowOne = 0.0
    """On the features that enter the quantizer."""
    hidden: BelowOne = 0.1
    """After each attention and feed-forward block, and on the context network's input."""
    attention: BelowOne = 0.1
    """On attention weights."""
    activation: BelowOne = 0.0
    """Inside the feed-forward blocks, after the activation."""
    output: BelowOne = 0.0
    """On what enters each layer of the CTC head (fine-tuning)."""
    layer_drop: BelowOne = 0.05
    """Chance that an update skips a transformer block (LayerDrop, Fan et al. 2020)."""


@dataclass(frozen=True)
class MaskingConfig(Section):
    """Span masks (section 3.1 and appendix A of wav2vec 2.0; in fine-tuning a form of SpecAugment)."""

    time_prob: Share = 0.65
    """Mask spans drawn per utterance, as frames covered if none overlapped, over all frames (0.65 masks about 49%)."""
    time_length: Size = 10
    """Frames per time span."""
    min_time_spans: CountOrZero = 2
    """Fewest time spans per utterance."""
    channel_prob: Share = 0.0
    """The same share for spans of feature channels."""
    channel_length: Size = 64
    """Channels per channel span."""

    @property
    def min_frames(self) -> int:
        """Frames of the shortest crop that is masked: in fewer, masks leave no room for spans, or no distractors."""
        return 2 * self.time_length


@dataclass(frozen=True)
class ConsistencyConfig(Section):
    """Two views of each utterance, whose label distributions are drawn together (CR-CTC; Yao et al. 2024)."""

    weight: FactorOrZero = 0.0
    """Of their divergence beside the CTC loss, 0.2 as published; 0: one view. Masks and dropout tell the views apart,
    and an update takes twice the time and memory."""


@dataclass(frozen=True)
class HeadConfig(Section):
    """From context vectors to labels."""

    normalize_context: bool = False
    """Give each dimension of the context vectors zero mean and unit variance over the utterance before the head."""
    num_lstm_layers: UpToAThousand = 0
    """Bidirectional LSTM layers before the linear one: none as published; SUPERB (Yang et al. 2021) puts 2 recurrent
    layers on a frozen encoder."""
    lstm_dim: Size = 128
    """Units per direction of an LSTM layer."""
