"""What the context network knows of positions: WavLM's gated bias, data2vec's convolutions, wav2vec 2.0 as ever."""

from typing import Any
from unittest import mock

import pytest
import reference
import torch
from torch import Tensor

from speechssl.config import ContextConfig, DropoutConfig, FeatureEncoderConfig, ModelConfig
from speechssl.config.limits import problems_of
from speechssl.model.context import ContextNetwork, PositionalConvolution, PositionalStack, SelfAttention
from speechssl.model.encoder import Encoder
from speechssl.model.relative_position import PositionGate, RelativePositionBias

QUIET = DropoutConfig(hidden=0, attention=0, layer_drop=0)


def small(**context: int | bool) -> ContextConfig:
    shape = {"num_layers": 2, "dim": 16, "ffn_dim": 24, "num_heads": 2, "pos_conv_kernel": 8, "pos_conv_groups": 2}
    return ContextConfig(**{**shape, **context})  # type: ignore[arg-type]


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(320, 800), (32, 128), (16, 64), (8, 20), (12, 81), (4, 2)])
def test_buckets_are_those_of_the_formula(num_buckets: int, max_distance: int) -> None:
    """Powers of 2 and 3 among them, where distances lie on the edges of buckets."""
    bias = RelativePositionBias(1, num_buckets=num_buckets, max_distance=max_distance)
    offsets = range(-max_distance - 9, max_distance + 10)
    expected = [reference.relative_bucket(offset, num_buckets, max_distance) for offset in offsets]
    assert bias.bucket_of(torch.tensor(offsets)).tolist() == expected
    assert set(expected) <= set(range(num_buckets))


@pytest.mark.parametrize("num_frames", [1, 2, 30])
def test_the_bias_is_that_of_the_offset_from_query_to_key(num_frames: int) -> None:
    bias = RelativePositionBias(3, num_buckets=8, max_distance=20)
    found = bias(num_frames)
    assert found.shape == (3, num_frames, num_frames)
    for i in range(num_frames):
        for j in range(num_frames):
            assert torch.equal(found[:, i, j], bias.embedding.weight[reference.relative_bucket(j - i, 8, 20)])
    found.sum().backward()
    assert bias.embedding.weight.grad is not None
    assert float(bias.embedding.weight.grad.sum()) == found.numel()


def gated_attention(num_heads: int = 2, dim: int = 8) -> SelfAttention:
    attention = SelfAttention(dim, num_heads, dropout=0.0, position_gate=True)
    assert attention.gate is not None
    for parameter in attention.gate.parameters():
        torch.nn.init.normal_(parameter)
    return attention.double()


def test_the_gate_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    gate = PositionGate(8, 2).double()
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter)
    x, bias = torch.randn(1, 5, 8, dtype=torch.float64), torch.randn(2, 5, 5, dtype=torch.float64)
    expected = reference.gated_bias(x[0], gate.linear.weight, gate.linear.bias, gate.scale, bias)
    torch.testing.assert_close((gate(x) * bias)[0], expected)


def test_a_new_gate_is_the_same_for_all_frames() -> None:
    gate = PositionGate(8, 2)
    torch.nn.init.zeros_(gate.linear.weight)
    torch.testing.assert_close(gate(torch.randn(2, 5, 8)), torch.full((2, 2, 5, 1), 1.75))


@pytest.mark.parametrize("masked", [False, True])
def test_attention_adds_the_gated_bias_to_its_scores(masked: bool) -> None:
    torch.manual_seed(0)
    attention = gated_attention()
    x, bias = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 5, 5, dtype=torch.float64)
    lengths = [5, 3] if masked else [5, 5]
    mask = (torch.arange(5) < torch.tensor(lengths)[:, None])[:, None, None] if masked else None
    found = attention(x, mask, bias)
    assert attention.gate is not None
    for row, length in enumerate(lengths):
        query, key, value = attention.qkv(x[row]).view(5, 3, 2, 4).permute(1, 2, 0, 3)  # each (heads, T, 4)
        added = reference.gated_bias(
            x[row], attention.gate.linear.weight, attention.gate.linear.bias, attention.gate.scale, bias
        )
        scores = (query @ key.transpose(1, 2) / 2 + added)[:, :, :length]
        expected = (scores.softmax(-1) @ value[:, :length]).transpose(0, 1).reshape(5, 8)
        torch.testing.assert_close(found[row], attention.out(expected))


@pytest.mark.parametrize("norm_first", [False, True])
def test_bf16_trains_the_bias_of_all_blocks_as_float32_does(norm_first: bool) -> None:
    torch.manual_seed(0)
    config = small(norm_first=norm_first, relative_bias=True, num_buckets=16, max_distance=30)
    network = ContextNetwork(config, QUIET).train()
    assert network.position_bias is not None
    with torch.no_grad():
        network.position_bias.embedding.weight.normal_()
        block: Any
        for block in network.blocks:
            block.attention.qkv.weight.normal_(std=0.25)
            block.attention.out.weight.normal_(std=0.25)
    x, weights = torch.randn(2, 40, 16), torch.randn(40, 16)
    # autograd refuses a parameter that the output does not depend on.
    watched = [p for name, p in network.named_parameters() if "gate.linear" in name or "position_bias" in name]
    assert len(watched) == 5
    found = []
    for low in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            y = network(x, torch.tensor([40, 25])).x
        found.append((y.detach(), *torch.autograd.grad((y.float()[0] * weights).sum(), watched)))
    for exact, rough in zip(*found, strict=True):
        assert (rough.float() - exact).norm() < 0.1 * exact.norm()


def test_blocks_keep_the_bias_when_the_first_is_skipped() -> None:
    torch.manual_seed(0)
    config = small(relative_bias=True, num_buckets=16, max_distance=30)
    network = ContextNetwork(config, DropoutConfig(hidden=0, attention=0, layer_drop=0.5)).train()
    x = torch.randn(1, 20, 16)
    with mock.patch("torch.rand", side_effect=[torch.tensor(0.1), torch.tensor(0.9)]):
        found = network(x).x
    found.square().sum().backward()
    assert network.position_bias is not None
    assert network.position_bias.embedding.weight.grad is not None
    network.blocks = network.blocks[1:]
    torch.testing.assert_close(found, network.eval()(x).x, rtol=0, atol=0)


@pytest.mark.parametrize("kernel", [5, 6])
def test_stacked_convolutions_are_data2vecs(kernel: int) -> None:
    torch.manual_seed(0)
    stack = PositionalStack(small(pos_conv_depth=3, pos_conv_kernel=kernel))
    x = torch.randn(2, 9, 16)
    expected = x
    layer: Any
    for layer in stack.layers:
        y = layer.conv(expected.transpose(1, 2)).transpose(1, 2)[:, :9]  # (B, T, D)
        scale = (y.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        expected = torch.nn.functional.gelu((y - y.mean(-1, keepdim=True)) / scale)
    torch.testing.assert_close(stack(x), expected)


def test_stacked_convolutions_see_no_frame_past_the_end() -> None:
    torch.manual_seed(0)
    stack = PositionalStack(small(pos_conv_depth=3, pos_conv_kernel=5))
    x = torch.randn(1, 12, 16)
    padded = torch.cat([x, torch.zeros(1, 6, 16)], 1)
    valid = torch.arange(18)[None] < 12
    torch.testing.assert_close(stack(padded, valid)[:, :12], stack(x))
    assert not torch.allclose(stack(padded)[:, :12], stack(x), atol=1e-2)


def test_one_convolution_is_not_a_stack() -> None:
    assert isinstance(ContextNetwork(small(), QUIET).position, PositionalConvolution)
    assert isinstance(ContextNetwork(small(pos_conv_depth=2), QUIET).position, PositionalStack)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"pos_conv_depth": 0}, "context.pos_conv_depth is 0, expected 1 or more"),
        ({"relative_bias": True, "num_buckets": 10}, "num_buckets is 10, expected a multiple of 4"),
        ({"relative_bias": True, "num_buckets": 0}, "num_buckets is 0, expected 1 or more"),
        (
            {"relative_bias": True, "max_distance": 80},
            "max_distance is 80 frames, expected more than a quarter of num_buckets (80",
        ),
    ],
)
def test_positions_that_cannot_be_are_told(context: dict[str, int], message: str) -> None:
    problems = problems_of(ModelConfig(context=ContextConfig(**context)))  # type: ignore[arg-type]
    assert len(problems) == 1
    assert message in problems[0]


def test_buckets_do_not_matter_without_a_bias() -> None:
    assert problems_of(ModelConfig(context=ContextConfig(num_buckets=3, max_distance=1))) == []


# Names in order, and the sum of the squares of what seed 0 draws.
BASE = {
    "mask_embedding": 5.78029,
    "feature_encoder.blocks.0.conv.weight": 13.2382,
    "feature_encoder.blocks.0.norm.weight": 8,
    "feature_encoder.blocks.0.norm.bias": 0,
    "feature_encoder.blocks.1.conv.weight": 19.6372,
    "feature_norm.weight": 8,
    "feature_norm.bias": 0,
    "projection.weight": 6.14706,
    "projection.bias": 0.506212,
    "context.position.conv.bias": 0,
    "context.position.conv.parametrizations.weight.original0": 29.8191,
    "context.position.conv.parametrizations.weight.original1": 29.8191,
    "context.blocks.0.attention.qkv.weight": 0.282301,
    "context.blocks.0.attention.qkv.bias": 0,
    "context.blocks.0.attention.out.weight": 0.104887,
    "context.blocks.0.attention.out.bias": 0,
    "context.blocks.0.attention_norm.weight": 16,
    "context.blocks.0.attention_norm.bias": 0,
    "context.blocks.0.ffn_in.weight": 0.149407,
    "context.blocks.0.ffn_in.bias": 0,
    "context.blocks.0.ffn_out.weight": 0.152753,
    "context.blocks.0.ffn_out.bias": 0,
    "context.blocks.0.ffn_norm.weight": 16,
    "context.blocks.0.ffn_norm.bias": 0,
    "context.norm.weight": 16,
    "context.norm.bias": 0,
}
LARGE = {
    "mask_embedding": 5.77616,
    "feature_encoder.blocks.0.conv.weight": 14.3854,
    "feature_encoder.blocks.0.conv.bias": 0.35312,
    "feature_encoder.blocks.0.norm.weight": 8,
    "feature_encoder.blocks.0.norm.bias": 0,
    "feature_encoder.blocks.1.conv.weight": 20.0626,
    "feature_encoder.blocks.1.conv.bias": 0.221312,
    "feature_encoder.blocks.1.norm.weight": 8,
    "feature_encoder.blocks.1.norm.bias": 0,
    "feature_norm.weight": 8,
    "feature_norm.bias": 0,
    "projection.weight": 5.90475,
    "projection.bias": 0.672107,
    "context.position.conv.bias": 0,
    "context.position.conv.parametrizations.weight.original0": 29.9363,
    "context.position.conv.parametrizations.weight.original1": 29.9363,
    "context.blocks.0.attention.qkv.weight": 0.284271,
    "context.blocks.0.attention.qkv.bias": 0,
    "context.blocks.0.attention.out.weight": 0.10945,
    "context.blocks.0.attention.out.bias": 0,
    "context.blocks.0.attention_norm.weight": 16,
    "context.blocks.0.attention_norm.bias": 0,
    "context.blocks.0.ffn_in.weight": 0.14428,
    "context.blocks.0.ffn_in.bias": 0,
    "context.blocks.0.ffn_out.weight": 0.158863,
    "context.blocks.0.ffn_out.bias": 0,
    "context.blocks.0.ffn_norm.weight": 16,
    "context.blocks.0.ffn_norm.bias": 0,
    "context.norm.weight": 16,
    "context.norm.bias": 0,
}


def state(*, large: bool, **context: int | bool) -> dict[str, Tensor]:
    features = FeatureEncoderConfig([(8, 10, 5), (8, 3, 2)], norm="layer" if large else "group", bias=large)
    torch.manual_seed(0)
    model = ModelConfig(feature_encoder=features, context=small(num_layers=1, norm_first=large, **context))
    return dict(Encoder(model, DropoutConfig()).state_dict())


@pytest.mark.parametrize(("large", "expected"), [(False, BASE), (True, LARGE)], ids=["base", "large"])
def test_wav2vec2_has_the_weights_it_always_had(large: bool, expected: dict[str, float]) -> None:
    """Checkpoints hold the names; runs from scratch repeat only if a seed draws the same values."""
    found = state(large=large)
    assert list(found) == list(expected)
    for name, squares in expected.items():
        assert float(found[name].double().square().sum()) == pytest.approx(squares, rel=1e-5), name


def test_names_of_what_wavlm_and_data2vec_have_beside() -> None:
    plain = set(state(large=False))
    assert set(state(large=False, relative_bias=True)) - plain == {
        "context.position_bias.embedding.weight",
        "context.blocks.0.attention.gate.linear.weight",
        "context.blocks.0.attention.gate.linear.bias",
        "context.blocks.0.attention.gate.scale",
    }
    assert set(state(large=False, pos_conv_depth=2)) - plain == {
        f"context.position.layers.{i}.conv.{kind}" for i in range(2) for kind in ("weight", "bias")
    }
