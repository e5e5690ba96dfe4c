"""A squeezed context: means of an utterance's own frames, spread out over them again."""

import torch

from speechssl.config import ContextConfig, DropoutConfig
from speechssl.model.context import ContextNetwork
from speechssl.model.squeeze import Squeeze

QUIET = DropoutConfig(hidden=0.0, attention=0.0, layer_drop=0.0)
SHAPE = {"num_layers": 3, "dim": 16, "ffn_dim": 32, "num_heads": 2, "pos_conv_kernel": 4, "pos_conv_groups": 2}


def network(**options: int) -> ContextNetwork:
    torch.manual_seed(0)
    return ContextNetwork(ContextConfig(**SHAPE, **options), QUIET).double()  # type: ignore[arg-type]


def test_squeezed_frames_are_means_of_those_inside_the_utterance() -> None:
    squeeze = Squeeze(4, 3).double()
    lengths = [8, 7, 3, 1]
    x = torch.randn(4, 8, 4, dtype=torch.float64)
    valid = torch.arange(8) < torch.tensor(lengths)[:, None]
    found = squeeze(x.masked_fill(~valid[:, :, None], 0.0), valid)
    assert squeeze.squeezed_lengths(torch.tensor(lengths)).tolist() == [3, 3, 1, 1]
    for row, length in enumerate(lengths):
        for i, start in enumerate(range(0, length, 3)):
            torch.testing.assert_close(found[row, i], x[row, start : min(start + 3, length)].mean(0))
    torch.testing.assert_close(squeeze(x[:1], None), found[:1])


def test_each_squeezed_frame_is_added_to_the_frames_it_was_made_of() -> None:
    torch.manual_seed(0)
    squeeze = Squeeze(4, 3).double()
    x, squeezed = (torch.randn(1, frames, 4, dtype=torch.float64) for frames in (8, 3))
    found = squeeze.spread(squeezed, x)
    for i in range(8):
        own = squeeze.expand(squeezed[0, i // 3])[4 * (i % 3) : 4 * (i % 3) + 4]
        torch.testing.assert_close(found[0, i], squeeze.norm(x[0, i] + own))
    assert squeeze.repeat(squeezed, 8).shape == x.shape


def test_a_squeezed_network_has_as_many_vectors_and_layers_as_frames() -> None:
    output = network(squeeze=2)(torch.randn(2, 7, 16, dtype=torch.float64), torch.tensor([7, 4]), keep_layers=True)
    assert output.x.shape == (2, 7, 16)
    assert [tuple(layer.shape) for layer in output.layers] == [(2, 7, 16)] * 3
    for layer in output.layers:
        assert torch.equal(layer[:, 0::2][:, :3], layer[:, 1::2])
