"""The assembled encoder: feature encoder, projection, mask, context network.

It is that of wav2vec 2.0 (Baevski et al. 2020), HuBERT (Hsu et al. 2021), WavLM (Chen et al. 2022) or data2vec (Baevski
et al. 2022), depending on the configuration's fields alone.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from speechssl.config import DropoutConfig, ModelConfig
from speechssl.frames import valid_frames
from speechssl.model.context import ContextNetwork
from speechssl.model.feature_encoder import FeatureEncoder
from speechssl.model.kernels.dropout import Dropout


class EncoderOutput(NamedTuple):
    """What the encoder gives."""

    context: Tensor
    """Context vectors, (B, T, D)."""
    features: Tensor
    """Layer-normalised features before projection and mask, (B, T, C): what the quantizer sees."""
    lengths: Tensor | None
    """Frames of each utterance, (B,); None if all have T."""
    feature_energy: Tensor
    """Mean squared feature-encoder output over valid frames, a scalar: the published feature penalty."""
    layers: list[Tensor]
    """Output of every transformer block, (B, T, D) each; empty unless asked for."""


class Encoder(nn.Module):
    """Audio to context vectors; time and channel masks hide part of the projected features."""

    def __init__(self, config: ModelConfig, dropout: DropoutConfig) -> None:
        super().__init__()
        self.config = config
        self.feature_encoder = FeatureEncoder(config.feature_encoder, config.sample_rate)
        self.feature_norm = nn.LayerNorm(self.feature_encoder.out_channels)
        self.projection = nn.Linear(self.feature_encoder.out_channels, config.context.dim)
        self.projection_dropout = Dropout(dropout.features)
        self.mask_embedding = nn.Parameter(torch.empty(config.context.dim).uniform_())
        self.context = ContextNetwork(config.context, dropout)
        self.feature_grad_scale = 1.0

    @property
    def feature_grad_scale(self) -> float:
        """Factor on the gradient that reaches the feature encoder; 0 computes none."""
        return self._feature_grad_scale

    @feature_grad_scale.setter
    def feature_grad_scale(self, scale: float) -> None:
        self._feature_grad_scale = scale
        self._features_learn = scale > 0  # compiled graphs branch on this, while the number may be an input of theirs
        self._scales_gradient = scale != 1.0

    def recompute(self, what: Literal["none", "context", "all"]) -> None:
        """Choose the activations that the backward pass computes again instead of keeping them."""
        self.context.recomputes = what != "none"
        self.feature_encoder.recomputes = what == "all"

    def forward(
        self,
        audio: Tensor,
        lengths: Tensor | None = None,
        *,
        time_mask: Tensor | None = None,
        channel_mask: Tensor | None = None,
        keep_layers: bool = False,
    ) -> EncoderOutput:
        """Encode audio.

        Args:
            audio: waveforms in -1..1, (B, S).
            lengths: samples of each utterance, (B,); None if all have S.
            time_mask: frames that the mask embedding replaces, boolean (B, T).
            channel_mask: feature channels set to zero, boolean (B, D).
            keep_layers: also return the output of every transformer block.
        """
        if self.config.normalize_audio:
            audio = normalize_audio(audio, lengths)
        raw_features, frame_lengths = self.encode_features(audio, lengths)
        features = self.feature_norm(raw_features)
        x = self.projection_dropout(self.projection(features))  # (B, T, D)
        if time_mask is not None:
            x = torch.where(time_mask[:, :, None], self.mask_embedding.to(x.dtype), x)
        if channel_mask is not None:
            x = x.masked_fill(channel_mask[:, None, :], 0.0)
        context = self.context(x, frame_lengths, keep_layers=keep_layers)
        energy = mean_square(raw_features, frame_lengths)
        return EncoderOutput(context.x, features, frame_lengths, energy, context.layers)

    def normalized_features(self, audio: Tensor) -> Tensor:
        """What the quantizer sees of waveforms of equal length, (B, S) to (B, T, C)."""
        if self.config.normalize_audio:
            audio = normalize_audio(audio, None)
        return self.feature_norm(self.encode_features(audio, None)[0])

    def encode_features(self, audio: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Run the feature encoder with the gradient scale in force."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._features_learn):
            features, frame_lengths = self.feature_encoder(audio, lengths)
        if self._scales_gradient and features.requires_grad:
            features = ScaleGradient.apply(features, self.feature_grad_scale)
        return features, frame_lengths


class ScaleGradient(torch.autograd.Function):
    """Identity whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: float) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return gradient * ctx.scale, None


def normalize_audio(audio: Tensor, lengths: Tensor | None) -> Tensor:
    """Zero mean, unit variance over each utterance's own samples; padding becomes zero. (B, S) to (B, S)."""
    if lengths is None:
        centred = audio - audio.mean(1, keepdim=True)
        return centred * torch.rsqrt(centred.square().mean(1, keepdim=True) + 1e-7)
    valid = valid_frames(lengths, audio.shape[1])
    count = lengths.clamp(min=1)[:, None].to(audio.dtype)
    mean = audio.masked_fill(~valid, 0.0).sum(1, keepdim=True) / count
    centred = (audio - mean).masked_fill(~valid, 0.0)
    return centred * torch.rsqrt(centred.square().sum(1, keepdim=True) / count + 1e-7)


def mean_square(features: Tensor, lengths: Tensor | None) -> Tensor:
    """Mean square over valid frames, a float32 (or wider) scalar."""
    squares = features.to(torch.promote_types(features.dtype, torch.float32)).square()
    if lengths is None:
        return squares.mean()
    valid = valid_frames(lengths, features.shape[1])
    total = squares.masked_fill(~valid[:, :, None], 0.0).sum()
    return total / (lengths.sum() * features.shape[2])
