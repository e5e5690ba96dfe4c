"""Convolution of audio and group norm in one product: the norm's statistics follow from those of the audio."""

from typing import Protocol

import torch
from torch import Tensor, nn

from speechssl.model.kernels.convolution import convolve, product_dtype


class Affine(Protocol):
    """A norm with a scale and an offset per channel."""

    weight: nn.Parameter
    bias: nn.Parameter
    eps: float


def conv_group_norm(audio: Tensor, lengths: Tensor | None, conv: nn.Conv1d, norm: Affine) -> Tensor:
    """Convolution and group norm of audio (B, 1, S), valid for lengths (B,) frames, in one pass: (B, C, T)."""
    valid = [None] * len(audio) if lengths is None else lengths.tolist()
    found = []
    for row, frames in zip(audio, valid, strict=True):
        weight, bias = fold_group_norm(row[0], conv, norm, frames)
        found.append(convolve(row[None].to(weight.dtype), weight, bias, conv.stride[0], product_dtype(audio)))
    return torch.cat([y.transpose(1, 2) for y in found]).transpose(1, 2)  # channels last in memory


def fold_group_norm(audio: Tensor, conv: nn.Conv1d, norm: Affine, frames: int | None = None) -> tuple[Tensor, Tensor]:
    """Weights (C, 1, kernel) and offsets (C,) of a convolution that gives what group norm makes of ``conv``'s, in
    float32 or wider: rounded ones would not take a constant in the audio away, as the exact mean does.

    A convolution is linear, so its output's mean and variance follow from the audio's at its kernel's lags, and the
    norm's scale and offset go into the weights.

    Args:
        audio: of one utterance, (S,).
        conv: of one input channel, without padding.
        norm: over each channel.
        frames: frames of the output that the norm is over; all if None.
    """
    weight = conv.weight[:, 0].double()  # (C, kernel)
    lags = audio.unfold(0, conv.kernel_size[0], conv.stride[0])  # (T, kernel)
    lags = lags if frames is None else lags[: max(1, frames)]
    mean = lags.mean(0, dtype=torch.float64)
    variance = ((weight @ covariance(lags, mean)) * weight).sum(1).clamp(min=0)
    scale = norm.weight.double() * torch.rsqrt(variance + norm.eps)  # (C,)
    offset = weight @ mean
    if conv.bias is not None:  # which the norm takes away: its gradient is zero, as others wait for
        offset = offset + conv.bias.double() - conv.bias.double()
    offset = norm.bias.double() - scale * offset
    dtype = torch.promote_types(audio.dtype, torch.float32)
    return (scale[:, None] * weight)[:, None].to(dtype), offset.to(dtype)


def covariance(rows: Tensor, mean: Tensor, *, size: int = 1 << 14) -> Tensor:
    """Of rows (T, N) around their mean (N,) in float64, (N, N), from so many rows at a time."""
    centred = (part - mean for part in rows.split(size))  # (size, N)
    return torch.stack([part.T @ part for part in centred]).sum(0) / len(rows)
