"""Convolutions as matrix products are convolutions, forwards and backwards."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.model.feature_encoder import ConvBlock
from speechssl.model.kernels import convolution
from speechssl.model.kernels.convolution import StridedConv1d


def gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.linspace(-1.0, 2.0, y.numel(), dtype=torch.float64).sin().view_as(y).to(y.dtype)
    return list(torch.autograd.grad(y, inputs, weights))


def assert_same(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-10) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.parametrize("time_is_last", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "frames"),
    [(10, 5, 43), (3, 2, 29), (3, 2, 30), (2, 2, 29), (2, 3, 30), (7, 2, 40), (5, 1, 31), (1, 1, 3), (3, 2, 3)],
)
def test_values_and_gradients_are_those_of_pytorch(kernel: int, stride: int, frames: int, time_is_last: bool) -> None:
    torch.manual_seed(0)
    convolution = StridedConv1d(6, 5, kernel, stride, bias=stride != 2).double()
    x = torch.randn(3, 6, frames, dtype=torch.float64)
    x = (x if time_is_last else x.transpose(1, 2).contiguous().transpose(1, 2)).requires_grad_()
    y = convolution(x)
    reference = F.conv1d(x, convolution.weight, convolution.bias, stride)
    inputs = [x, *convolution.parameters()]
    assert_same([y, *gradients(y, inputs)], [reference, *gradients(reference, inputs)])


@pytest.mark.parametrize("norm", ["none", "group"])
def test_recordings_longer_than_a_part(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    block = ConvBlock(1 if norm == "group" else 2, 3, 3, 2, norm=norm, bias=norm == "none")
    x = torch.randn(2, block.conv.in_channels, 101)
    inputs = list(block.parameters())
    found = []
    for size in (1 << 22, 100):
        monkeypatch.setattr(convolution, "CHUNK_BYTES", size)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = block(x, None)
        found.append([y.float(), *gradients(y, inputs)])
    assert_same(found[1], found[0], 0.01)


def test_orders_in_memory() -> None:
    """What comes out is in the order that the next one takes; a gradient is in the order of what went in."""
    convolution = StridedConv1d(6, 6, 3, 2)
    x = torch.randn(2, 6, 31).requires_grad_()
    first = convolution(x)
    second = convolution(first)
    assert first.transpose(1, 2).is_contiguous()
    of_x, of_first = torch.autograd.grad(second.square().sum(), [x, first])
    assert of_x.is_contiguous()
    assert of_first.transpose(1, 2).is_contiguous()


def test_autocast_rounds_as_pytorchs_convolution_does() -> None:
    torch.manual_seed(0)
    convolution = StridedConv1d(64, 64, 3, 2, bias=True)
    x = torch.randn(2, 64, 101)
    exact = F.conv1d(x, convolution.weight, convolution.bias, 2)
    inputs = list(convolution.parameters())
    expected = [exact, *gradients(exact, inputs)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = convolution(x)
        reference = F.conv1d(x, convolution.weight, convolution.bias, 2)
    assert y.dtype == torch.bfloat16
    found, theirs = [y, *gradients(y, inputs)], [reference, *gradients(reference, inputs)]
    for ours, other, value in zip(found, theirs, expected, strict=True):
        assert ours.dtype == other.dtype
        assert (ours - value).norm() < 1.3 * (other - value).norm() + 1e-4 * value.norm()


def test_audio_shorter_than_the_kernel_is_pytorchs_error() -> None:
    with pytest.raises(RuntimeError, match="Kernel size"):
        StridedConv1d(1, 2, 10, 5)(torch.zeros(1, 1, 9))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("lengths", [None, [40, 25, 1]])
def test_the_first_layer_is_normalised_within_its_product(lengths: list[int] | None, bias: bool) -> None:
    torch.manual_seed(0)
    block = ConvBlock(1, 6, 10, 5, norm="group", bias=bias).double()
    with torch.no_grad():
        for parameter in block.norm.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    audio = (torch.randn(3, 1, 5 * 39 + 10, dtype=torch.float64) + 0.5).requires_grad_()
    frames = None if lengths is None else torch.tensor(lengths)
    found = block(audio, frames)
    expected = F.gelu(block.norm(block.conv(audio), frames))
    for i, length in enumerate(lengths or [40, 40, 40]):
        found[i, :, length:] = expected[i, :, length:] = 0.0
    inputs = [audio, block.conv.weight, *block.norm.parameters()]
    assert_same(gradients(expected, inputs), gradients(found, inputs))
    assert_same([found], [expected])
    if bias:  # which the norm takes away; with several processes, one may wait for its gradient
        (gradient,) = torch.autograd.grad(block(audio, frames).sum(), block.conv.bias)
        assert gradient.abs().max() < 1e-10


@pytest.mark.parametrize("audio", [torch.zeros(2, 1, 60), torch.full((2, 1, 60), 0.7), torch.randn(2, 1, 60)])
def test_gradients_are_finite_for_silence_and_utterances_without_frames(audio: Tensor) -> None:
    block = ConvBlock(1, 6, 10, 5, norm="group", bias=False)
    y = block(audio, torch.tensor([11, 0]))
    assert torch.isfinite(y).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients(y[:1], list(block.parameters())))
    assert block(audio[:0], torch.tensor([], dtype=torch.long)).shape == (0, 6, 11)


def test_weights_and_audio_in_bf16_are_normalised_as_in_float32() -> None:
    torch.manual_seed(0)
    block = ConvBlock(1, 16, 10, 5, norm="group", bias=False).bfloat16()
    audio = (torch.randn(2, 1, 4000) + 30.0).bfloat16()
    found = block(audio, None)
    assert found.dtype == torch.bfloat16
    expected = block.float()(audio.float(), None)
    assert (found - expected).norm() < 0.01 * expected.norm()


def test_many_utterances_in_bf16_are_added_up_in_float32() -> None:
    torch.manual_seed(0)
    convolution = StridedConv1d(8, 8, 2, 2).bfloat16()
    x = (torch.randn(1, 8, 20) + 1.0).bfloat16().expand(64, -1, -1)
    (found,) = torch.autograd.grad(convolution(x).sum(), convolution.weight)
    (one,) = torch.autograd.grad(convolution(x[:1]).sum(), convolution.weight)
    assert torch.equal(found, 64 * one)  # 64 numbers alike in bf16 would not add up to 64 times one of them


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_a_recorded_graph_holds_is_a_convolution() -> None:
    convolution = StridedConv1d(6, 5, 3, 2)
    traced = torch.jit.trace(convolution, torch.randn(1, 6, 20))
    x = torch.randn(2, 6, 31)
    assert torch.allclose(traced(x), convolution(x), atol=1e-5)
    assert "conv" in str(traced.inlined_graph)


def test_types_that_pytorch_refuses_are_refused() -> None:
    with pytest.raises(RuntimeError, match="type"):
        StridedConv1d(6, 5, 3, 2)(torch.zeros(1, 6, 20, dtype=torch.long))
    with pytest.raises(RuntimeError, match="type"):
        StridedConv1d(6, 5, 3, 2).bfloat16()(torch.zeros(1, 6, 20))


def test_the_first_layers_gradients_in_bf16_are_near() -> None:
    torch.manual_seed(0)
    block = ConvBlock(1, 16, 10, 5, norm="group", bias=False)
    audio = torch.randn(2, 1, 4000) + 3.0  # an offset that rounded weights would not take away
    inputs = list(block.parameters())
    exact = block(audio, None)
    expected = [exact, *gradients(exact, inputs)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = block(audio, None)
    assert y.dtype == torch.bfloat16
    for ours, value in zip([y, *gradients(y, inputs)], expected, strict=True):
        assert (ours - value).norm() < 0.01 * value.norm()
