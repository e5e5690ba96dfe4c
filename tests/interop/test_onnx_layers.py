"""Layers as exporters can follow them: the numbers of ours, in padded batches too."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from speechssl.interop.onnx_layers import gates, long_sum, normalize, onnx_layer
from speechssl.model.ctc import BidirectionalLstm
from speechssl.model.encoder import normalize_audio
from speechssl.model.feature_encoder import ChannelNorm, LogMelBlock
from speechssl.model.relative_position import RelativePositionBias

LENGTHS = torch.tensor([700, 431, 90])


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def randomized(layer: nn.Module) -> nn.Module:
    """A layer whose weights are not those it starts from."""
    torch.manual_seed(1)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def close(found: Tensor, expected: Tensor, lengths: Tensor, tolerance: float) -> None:
    """Compare (B, ..., T) where it is valid."""
    assert found.shape == expected.shape
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(
            found[row, ..., :length], expected[row, ..., :length], rtol=tolerance, atol=tolerance
        )


@torch.no_grad()
def test_channel_norm() -> None:
    norm = randomized(ChannelNorm(5))
    x = 3 + noise(3, 5, 700)
    close(onnx_layer(norm)(x, LENGTHS), norm(x, LENGTHS), LENGTHS, 1e-5)


def test_normalized_audio() -> None:
    audio = 0.3 + noise(3, 700)
    close(normalize(audio, LENGTHS), normalize_audio(audio, LENGTHS), LENGTHS, 1e-5)


@pytest.mark.parametrize("size", [1, 511, 512, 513, 5000])
def test_long_sums(size: int) -> None:
    x = noise(2, 3, size)
    torch.testing.assert_close(long_sum(x), x.sum(-1, keepdim=True), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("window", "hop"), [(400, 160), (100, 100), (64, 50)])
@torch.no_grad()
def test_log_mel(window: int, hop: int) -> None:
    block = LogMelBlock(12, window, hop, sample_rate=8000, norm="group")
    audio = 0.1 * noise(2, 1, 8123)
    frames = (torch.tensor([8123, 5000]) - window) // hop + 1
    expected = block(audio, frames)
    close(onnx_layer(block)(audio, frames), expected, frames, 1e-4)


@pytest.mark.parametrize("frames", [1, 2, 7, 40])
@torch.no_grad()
def test_position_bias(frames: int) -> None:
    bias = randomized(RelativePositionBias(3, num_buckets=16, max_distance=20))
    assert torch.equal(onnx_layer(bias)(frames), bias(frames))


@torch.no_grad()
def test_weight_norm_is_worked_out_and_the_model_keeps_it() -> None:
    conv = weight_norm(nn.Conv1d(6, 6, 4, padding=2, groups=2), dim=2)
    kept = copy.deepcopy(conv)
    x = noise(2, 6, 30)
    plain = onnx_layer(copy.deepcopy(conv))
    assert set(plain.state_dict()) == {"weight", "bias"}
    torch.testing.assert_close(plain(x), conv(x))
    assert torch.equal(conv(x), kept(x))


@torch.no_grad()
def test_lstm_weights_follow_onnx() -> None:
    """The operator of ONNX's specification, step by step, from the exported weights."""
    torch.manual_seed(0)
    lstm = BidirectionalLstm(3, 4)
    layer: Any = onnx_layer(lstm)
    x, lengths = noise(2, 9, 3), torch.tensor([9, 6])
    expected = lstm(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        onward = [onnx_lstm(x[row, :length], *weights_of(layer, 0))]
        backward = [onnx_lstm(x[row, :length].flip(0), *weights_of(layer, 1)).flip(0)]
        torch.testing.assert_close(torch.cat([*onward, *backward], dim=1), expected[row, :length])


def weights_of(layer: Any, direction: int) -> tuple[Tensor, Tensor, Tensor]:
    return layer.weight[direction], layer.recurrence[direction], layer.bias[direction]


def onnx_lstm(x: Tensor, weight: Tensor, recurrence: Tensor, bias: Tensor) -> Tensor:
    """Equations of the operator LSTM: gates in the order input, output, forget, cell; W's biases, then R's."""
    hidden, cell = torch.zeros(2, recurrence.shape[1])
    outputs = []
    for step in x:
        both = weight @ step + recurrence @ hidden + bias.view(2, -1).sum(0)
        i, o, f, c = both.chunk(4)
        cell = f.sigmoid() * cell + i.sigmoid() * c.tanh()
        hidden = o.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs)


def test_gates_are_reordered() -> None:
    assert gates(torch.arange(8)).tolist() == [0, 1, 6, 7, 2, 3, 4, 5]
