"""Convolutional feature encoder: waveform to frames (wav2vec 2.0, section 2)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechssl.config import FeatureEncoderConfig
from speechssl.frames import hop_samples, num_frames
from speechssl.installation import import_torchaudio
from speechssl.model.kernels.chunks import CONVOLVED_FRAMES, encode_in_chunks
from speechssl.model.kernels.convolution import StridedConv1d, convolve, product_dtype
from speechssl.model.kernels.dispatch import runs_on_cpu, use_chunks
from speechssl.model.kernels.group_norm import conv_group_norm, fold_group_norm


class FeatureEncoder(nn.Module):
    """Strided convolutions without padding, GELU after each; the first may be a log-mel analysis instead.

    Padding never leaks into valid frames: the convolutions see only samples inside the utterance, and the group norm of
    the first layer takes its statistics over valid positions alone (reference implementations include the padding).
    """

    def __init__(self, config: FeatureEncoderConfig, sample_rate: int) -> None:
        super().__init__()
        self.conv_layers = list(config.conv_layers)
        blocks: list[nn.Module] = []
        in_channels = 1
        for i, (channels, kernel, stride) in enumerate(config.conv_layers):
            norm = "layer" if config.norm == "layer" else ("group" if i == 0 else "none")
            if i == 0 and config.first_layer == "log_mel":
                blocks.append(LogMelBlock(channels, kernel, stride, sample_rate=sample_rate, norm=norm))
            else:
                blocks.append(ConvBlock(in_channels, channels, kernel, stride, norm=norm, bias=config.bias))
            in_channels = channels
        self.blocks = nn.ModuleList(blocks)
        self.out_channels = in_channels
        self.recomputes = False
        """Whether the backward pass computes the insides of the blocks again instead of keeping them."""

    def forward(self, audio: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Encode audio.

        Args:
            audio: waveforms, (B, S).
            lengths: samples of each utterance, (B,); None if all have S.

        Returns:
            Features (B, T, C) and the frames of each utterance (B,), None if all have T.
        """
        if use_chunks(audio) and self.is_longer_than_chunks(audio):
            return encode_in_chunks(list(self.blocks), self.conv_layers, audio, lengths)  # type: ignore[arg-type]
        x = audio.unsqueeze(1)  # (B, 1, S)
        for block, layer in zip(self.blocks, self.conv_layers, strict=True):
            if lengths is not None:
                lengths = num_frames(lengths, [layer])
            if self.recomputes and torch.is_grad_enabled():
                x = checkpoint(block, x, lengths, use_reentrant=False)
            else:
                x = block(x, lengths)
        return x.transpose(1, 2), lengths  # (B, T, C)

    def is_longer_than_chunks(self, audio: Tensor) -> bool:
        """Whether audio (B, S) is of several chunks, and all blocks can be given chunks."""
        if not isinstance(self.blocks[0], ConvBlock):
            return False
        return audio.shape[1] >= 2 * CONVOLVED_FRAMES * hop_samples(self.conv_layers)


class ConvBlock(nn.Module):
    """Convolution, norm, GELU over (B, C, T)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, *, norm: str, bias: bool) -> None:
        super().__init__()
        self.conv = StridedConv1d(in_channels, out_channels, kernel, stride, bias=bias)
        nn.init.kaiming_normal_(self.conv.weight)
        self.norm = build_norm(norm, out_channels)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        # Graphs are for any batch: asked for its size, one would be for that size alone.
        if isinstance(self.norm, ChannelNorm) and runs_on_cpu(x) and len(x) and x.shape[2] >= self.conv.kernel_size[0]:
            return F.gelu(conv_group_norm(x, lengths, self.conv, self.norm))
        return F.gelu(self.norm(self.conv(x), lengths))

    def for_utterance(self, audio: Tensor) -> Callable[[Tensor], Tensor]:
        """The block for any chunk of an utterance (S,), all of which a group norm is over; no gradients."""
        dtype = product_dtype(audio)
        if not isinstance(self.norm, ChannelNorm):
            convolution = self.conv.fixed(dtype)
            return lambda x: F.gelu(self.norm(convolution(x), None))
        weight, bias = fold_group_norm(audio, self.conv, self.norm)
        if dtype == weight.dtype:
            return lambda x: F.gelu(F.conv1d(x, weight, bias, self.conv.stride))
        return lambda x: F.gelu(convolve(x.to(weight.dtype), weight, bias, self.conv.stride[0], dtype))


class LogMelBlock(nn.Module):
    """Log energies in mel bands, then the norm: (B, 1, S) to (B, bands, T), frames as of an unpadded convolution.

    With group norm, each band has zero mean and unit variance over the utterance, up to a learned scale and offset.
    """

    FLOOR = 1e-6  # about what white noise at -66 dB of full scale gives

    filters: Tensor
    window: Tensor

    def __init__(self, bands: int, window: int, hop: int, *, sample_rate: int, norm: str) -> None:
        super().__init__()
        self.hop = hop
        self.register_buffer("filters", mel_filters(bands, window, sample_rate), persistent=False)
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.norm = build_norm(norm, bands)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            frames = x[:, 0].unfold(1, self.window.shape[0], self.hop) * self.window  # (B, T, window)
            energies = torch.fft.rfft(frames).abs().square() @ self.filters  # (B, T, bands)
            return self.norm((energies + self.FLOOR).log().transpose(1, 2), lengths)


def mel_filters(bands: int, window: int, sample_rate: int) -> Tensor:
    """Triangles of equal area over the frequencies of an even window, (window / 2 + 1, bands)."""
    functional = import_torchaudio("torchaudio.functional")  # models without this layer start without torchaudio
    with torch.device("cpu"):  # it looks at what it has made, which the meta device does not have
        return functional.melscale_fbanks(window // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate, norm="slaney")


def build_norm(name: str, channels: int) -> nn.Module:
    """Norm over (B, C, T): "group", "layer" or "none"."""
    match name:
        case "group":
            return ChannelNorm(channels)
        case "layer":
            return TransposedLayerNorm(channels)
        case _:
            return Unnormalized()


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
        if lengths is None and x.shape[2] > 1:
            return F.group_norm(x, x.shape[1], self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)
        if lengths is None:  # PyTorch refuses to normalise a single position; as in a padded batch, it becomes zero
            lengths = torch.ones(x.shape[0], dtype=torch.long, device=x.device)
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
