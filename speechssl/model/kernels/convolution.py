"""Convolution over time as matrix products, for CPUs."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from speechssl.model.kernels.dispatch import runs_on_cpu

CHUNK_BYTES = 1 << 22
"""How much is copied or converted for a product at a time."""


class StridedConv1d(nn.Conv1d):
    """A convolution without padding over (B, C, T), on CPUs as by :func:`convolve`."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Frames (B, C, T) to (B, O, (T - kernel) // stride + 1)."""
        dtype = product_dtype(x)
        fits = x.is_floating_point() and (lowers_precision(x) or dtype == self.weight.dtype)
        if not fits or not runs_on_cpu(x) or x.shape[-1] < self.kernel_size[0]:
            return super().forward(x)
        bias = None if self.bias is None else self.bias.to(dtype)
        return convolve(x.to(dtype), self.weight.to(dtype), bias, self.stride[0])

    def fixed(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """The same for several inputs on a CPU, none of which needs a gradient: weights are converted once.

        In float32 and wider, where they need no conversion, PyTorch's convolutions forwards take no longer.
        """
        if dtype == self.weight.dtype:
            return super().forward
        taps, bias = flat_kernel(self.weight.to(dtype)), None if self.bias is None else self.bias.to(dtype)
        form = Form(self.kernel_size[0], self.stride[0], dtype)
        return lambda x: im2col_product(x.transpose(1, 2).to(dtype).contiguous(), taps, bias, form).transpose(1, 2)


def product_dtype(x: Tensor) -> torch.dtype:
    """Of the products of x on a CPU, under autocast or not."""
    return torch.get_autocast_dtype("cpu") if lowers_precision(x) else x.dtype


def lowers_precision(x: Tensor) -> bool:
    """Whether autocast does."""
    return torch.is_autocast_enabled("cpu") and x.dtype != torch.float64


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, dtype: torch.dtype | None = None) -> Tensor:
    """A convolution over time without padding as the matrix products it amounts to, and its gradients likewise.

    PyTorch's convolutions and their gradients take longer on CPUs (docs/decisions.md). In memory the output has its
    channels last, which is how the next convolution takes it; the usual order is copied into that one. Gradients of
    gradients are not to be had.

    Args:
        x: frames, (B, C, T).
        weight: (O, C, kernel), of the same type.
        bias: (O,), or None.
        stride: frames of x from one frame of the output to the next.
        dtype: of the output, if not that of x.

    Returns:
        Frames (B, O, (T - kernel) // stride + 1).
    """
    form = Form(weight.shape[2], stride, dtype or x.dtype)
    y: Tensor = MatrixConvolution.apply(x, weight, bias, form)
    return y


class Form(NamedTuple):
    """What a convolution is told besides its tensors."""

    kernel: int
    stride: int
    dtype: torch.dtype


class MatrixConvolution(torch.autograd.Function):
    """What :func:`convolve` describes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, form: Form) -> Tensor:
        """Keeps the frames as they are multiplied."""
        frames = x.transpose(1, 2).contiguous()  # (B, T, C)
        ctx.save_for_backward(frames, weight)
        ctx.form, ctx.bias_dtype = form, None if bias is None else bias.dtype
        ctx.time_is_last = x.is_contiguous()
        return im2col_product(frames, flat_kernel(weight), bias, form).transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """For every group of taps that reads no frame twice, products without copies."""
        frames, weight = ctx.saved_tensors
        stride = ctx.form.stride
        grad = grad.transpose(1, 2).contiguous()  # (B, T', O)
        grad_x = grad_weight = grad_bias = None
        with torch.autocast("cpu", enabled=False):
            if ctx.needs_input_grad[0]:
                grad_x = conv1d_input(grad, frames, weight, stride).transpose(1, 2)
                if ctx.time_is_last:
                    grad_x = grad_x.contiguous()  # else what comes before would read in two orders at once, slowly
            if ctx.needs_input_grad[1]:
                grad_weight = conv1d_weight(grad, frames, weight, stride)
            if ctx.bias_dtype is not None and ctx.needs_input_grad[2]:
                grad_bias = grad.sum((0, 1), dtype=torch.promote_types(grad.dtype, torch.float32)).to(ctx.bias_dtype)
        return grad_x, grad_weight, grad_bias, None


def im2col_product(frames: Tensor, taps: Tensor, bias: Tensor | None, form: Form) -> Tensor:
    """Frames (B, T, C), contiguous, and rows of taps (kernel * C, O) to (B, T', O).

    One product for so many rows of an utterance; where it reads a frame more than once, of a copy.
    """
    y = frames.new_empty(
        len(frames), (frames.shape[1] - form.kernel) // form.stride + 1, taps.shape[1], dtype=form.dtype
    )
    with torch.autocast("cpu", enabled=False):
        for utterance, found in zip(frames, y, strict=True):
            windows = im2col(utterance, len(found), range(form.kernel), form.stride)
            rows = chunk_rows(windows)
            for part, out in zip(windows.split(rows), found.split(rows), strict=True):
                if form.dtype != frames.dtype:
                    out.copy_(F.linear(part, taps.T, bias))
                elif bias is None:
                    torch.mm(part, taps, out=out)
                else:
                    torch.addmm(bias, part, taps, out=out)
    return y


def flat_kernel(weight: Tensor) -> Tensor:
    """Weights (O, C, kernel) as (kernel * C, O)."""
    return weight.permute(2, 1, 0).flatten(0, 1)


def im2col(utterance: Tensor, frames: int, taps: range, stride: int) -> Tensor:
    """What some neighbouring taps of a kernel read for each of the frames that come out, as a view.

    From (T, C), contiguous, to (frames, taps * C); rows overlap in memory where there are more taps than the stride.
    """
    channels = utterance.shape[1]
    offset = utterance.storage_offset() + taps.start * channels
    return utterance.as_strided((frames, len(taps) * channels), (stride * channels, 1), offset)


def chunk_rows(x: Tensor) -> int:
    """Rows (T, N) that are copied or converted at a time."""
    return max(1, CHUNK_BYTES // (x.shape[1] * x.element_size()))


def disjoint_taps(kernel: int, stride: int) -> Iterator[range]:
    """A kernel's taps in groups that read no frame twice."""
    return (range(start, min(start + stride, kernel)) for start in range(0, kernel, stride))


def conv1d_input(grad: Tensor, frames: Tensor, weight: Tensor, stride: int) -> Tensor:
    """From gradients of the output (B, T', O) to those of frames (B, T, C)."""
    kernel = weight.shape[2]
    found = torch.empty_like(frames) if kernel >= stride else torch.zeros_like(frames)
    for group in disjoint_taps(kernel, stride):
        by_tap = weight[:, :, group.start : group.stop].transpose(1, 2).flatten(1)  # (O, taps * C)
        for out, utterance in zip(grad.to(weight.dtype), found, strict=True):
            place = im2col(utterance, len(out), group, stride)
            if group.start == 0:
                torch.mm(out, by_tap, out=place)
                utterance[len(out) * stride :] = 0.0
            else:
                place += out @ by_tap
    return found


def conv1d_weight(grad: Tensor, frames: Tensor, weight: Tensor, stride: int) -> Tensor:
    """From gradients of the output (B, T', O) to (O, C, kernel), of utterances added up in float32 or wider."""
    outputs, channels, kernel = weight.shape
    wide = torch.promote_types(weight.dtype, torch.float32)
    groups = []
    # Of audio all at once, which is quickly copied.
    for group in disjoint_taps(kernel, stride) if channels > 1 else [range(kernel)]:
        found = torch.zeros(outputs, len(group) * channels, dtype=wide)
        for out, utterance in zip(grad, frames, strict=True):
            inputs = im2col(utterance, len(out), group, stride)
            rows = len(out) if out.dtype == weight.dtype else chunk_rows(out)
            for part, part_in in zip(out.split(rows), inputs.split(rows), strict=True):
                found += part.to(weight.dtype).T @ part_in
        groups.append(found.view(outputs, len(group), channels))
    return torch.cat(groups, 1).transpose(1, 2).to(weight.dtype)
