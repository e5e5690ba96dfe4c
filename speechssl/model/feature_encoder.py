"""Convolutional feature encoder: waveform to frames (wav2vec 2.0, section 2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.config import FeatureEncoderConfig
from speechssl.frames import num_frames


class FeatureEncoder(nn.Module):
    """Strided convolutions without padding, GELU after each.

    Padding never leaks into valid frames: the convolutions see only samples inside the utterance, and the group norm of
    the first layer takes its statistics over valid positions alone (reference implementations include the padding).
    """

    def __init__(self, config: FeatureEncoderConfig) -> None:
        super().__init__()
        self.conv_layers = list(config.conv_layers)
        blocks: list[ConvBlock] = []
        in_channels = 1
        for i, (channels, kernel, stride) in enumerate(config.conv_layers):
            norm = "layer" if config.norm == "layer" else ("group" if i == 0 else "none")
            blocks.append(ConvBlock(in_channels, channels, kernel, stride, norm=norm, bias=config.bias))
            in_channels = channels
        self.blocks = nn.ModuleList(blocks)
        self.out_channels = in_channels

    def forward(self, audio: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Encode audio.

        Args:
            audio: waveforms, (B, S).
            lengths: samples of each utterance, (B,); None if all have S.

        Returns:
            Features (B, T, C) and the frames of each utterance (B,), None if all have T.
        """
        x = audio.unsqueeze(1)  # (B, 1, S)
        for block, layer in zip(self.blocks, self.conv_layers, strict=True):
            if lengths is not None:
                lengths = num_frames(lengths, [layer])
            x = block(x, lengths)
        return x.transpose(1, 2), lengths  # (B, T, C)


class ConvBlock(nn.Module):
    """Convolution, norm, GELU over (B, C, T)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, *, norm: str, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel, stride, bias=bias)
        nn.init.kaiming_normal_(self.conv.weight)
        match norm:
            case "group":
                self.norm: nn.Module = ChannelNorm(out_channels)
            case "layer":
                self.norm = TransposedLayerNorm(out_channels)
            case _:
                self.norm = Unnormalized()

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        return F.gelu(self.norm(self.conv(x), lengths))


class Unnormalized(nn.Module):
    """Stands where a block has no norm."""

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        return x


class ChannelNorm(nn.Module):
    """Group norm with one group per channel, over the valid positions of each utterance."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return F.group_norm(x, x.shape[1], self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)
        valid = torch.arange(x.shape[2], device=x.device) < lengths[:, None, None]  # (B, 1, T)
        count = lengths.clamp(min=1)[:, None, None].to(torch.promote_types(x.dtype, torch.float32))
        values = x.to(count.dtype).masked_fill(~valid, 0.0)
        mean = values.sum(2, keepdim=True) / count
        # Two passes: the difference of large sums would lose the variance of quiet channels.
        variance = (values - mean).masked_fill(~valid, 0.0).square().sum(2, keepdim=True) / count
        scale = self.weight[:, None] * torch.rsqrt(variance + self.eps)  # (B, C, 1)
        return (values * scale + (self.bias[:, None] - mean * scale)).to(x.dtype)


class TransposedLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, T)."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)
