"""The same numbers as Hugging Face's encoders, on small models with random weights of every family and norm variant."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple
from unittest import mock

import pytest
import torch
from hf_weights import encoder_pairs, to_ours
from small_encoders import LAYERS, QUIET, VARIANTS, reference_config
from torch import Tensor, nn

from speechssl.config import DropoutConfig
from speechssl.frames import num_frames
from speechssl.interop.huggingface_config import family_problems
from speechssl.interop.imported import Family
from speechssl.interop.tensors import to_theirs
from speechssl.model.encoder import Encoder, EncoderOutput
from speechssl.model.kernels.attention import explicit_attention
from speechssl.model.relative_position import RelativePositionBias

transformers = pytest.importorskip("transformers", reason="needs the transformers package (speechssl[interop])")

# A different factor for each place, so that two places in exchange would show.
MARKED = DropoutConfig(hidden=0.1, attention=0.2, activation=0.3, features=0.4, layer_drop=0)
# Relative to the largest value: outputs, gradients.
TOLERANCES = {torch.float32: (1e-5, 1e-4), torch.float64: (1e-9, 1e-9)}


CASES = pytest.mark.parametrize("name", VARIANTS)
PRECISIONS = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)


def randomize(model: nn.Module) -> None:
    """Weights large enough for attention, gates and biases to matter to the output."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 or "gru_rel_pos_const" in name:
            parameter.add_(0.3 * torch.randn_like(parameter))
        elif "rel_attn_embed" in name:
            nn.init.normal_(parameter)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)


@lru_cache
def models(name: str, dtype: torch.dtype, marked: bool = False) -> tuple[Any, Encoder]:
    """Theirs and ours with the same weights, in training mode."""
    variant, dropout = VARIANTS[name], MARKED if marked else QUIET
    torch.manual_seed(0)
    theirs = transformers.AutoModel.from_config(reference_config(transformers, variant, dropout)).train()
    with torch.no_grad():
        randomize(theirs)
    ours = Encoder(variant.config, dropout).train()
    ours.load_state_dict(to_ours(encoder_pairs(variant.config), theirs.state_dict(), ours.state_dict()))
    return theirs.to(dtype), ours.to(dtype)


def audio(dtype: torch.dtype = torch.float32) -> Tensor:
    return (0.2 * torch.randn(2, 12_000, generator=torch.Generator().manual_seed(1))).to(dtype)


def time_mask() -> Tensor:
    mask = torch.zeros(2, 37, dtype=torch.bool)
    mask[0, 3:9] = mask[1, 20:30] = True
    return mask


class Stages(NamedTuple):
    """What an encoder computes on the way."""

    features: Tensor
    layers: list[Tensor]
    output: Tensor


def their_stages(model: Any, given: Tensor, *, mask: Tensor | None = None, valid: Tensor | None = None) -> Stages:
    """Run theirs on audio (B, S) with a time mask (B, T) and valid samples (B, S).

    Hooks, because what it returns of its stages differs by family and norm.
    """
    if mask is None:  # or it would draw one
        mask = torch.zeros(given.shape[0], num_frames(given.shape[1], LAYERS), dtype=torch.bool)
    features: list[Tensor] = []
    layers: list[Tensor] = []

    def keep(kept: list[Tensor]) -> Callable[..., None]:
        return lambda module, inputs, output: kept.append(output[0] if isinstance(output, tuple) else output)

    watched = [(model.feature_projection.layer_norm, features), *((layer, layers) for layer in model.encoder.layers)]
    handles = [module.register_forward_hook(keep(kept)) for module, kept in watched]
    output = model(given, mask_time_indices=mask, attention_mask=valid).last_hidden_state
    for handle in handles:
        handle.remove()
    return Stages(features[0], layers, output)


def our_stages(output: EncoderOutput) -> Stages:
    return Stages(output.features, output.layers, output.context)


def error(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


def check_stages(found: Stages, expected: Stages, tolerance: float) -> None:
    assert error(found.features, expected.features) < tolerance
    assert len(found.layers) == len(expected.layers) == 3
    for number, (ours, theirs) in enumerate(zip(found.layers, expected.layers, strict=True)):
        assert error(ours, theirs) < tolerance, f"layer {number}"
    assert error(found.output, expected.output) < tolerance


@CASES
@PRECISIONS
def test_features_every_layer_and_output(name: str, dtype: torch.dtype) -> None:
    theirs, ours = models(name, dtype)
    with torch.no_grad():
        expected = their_stages(theirs, audio(dtype), mask=time_mask())
        found = our_stages(ours(audio(dtype), time_mask=time_mask(), keep_layers=True))
    check_stages(found, expected, TOLERANCES[dtype][0])


@CASES
@PRECISIONS
def test_gradients_of_every_parameter(name: str, dtype: torch.dtype) -> None:
    theirs, ours = models(name, dtype)
    weights = torch.randn(2, 37, 32, generator=torch.Generator().manual_seed(2)).to(dtype)
    for model in (theirs, ours):
        model.zero_grad()
    (theirs(audio(dtype), mask_time_indices=time_mask()).last_hidden_state * weights).sum().backward()
    (ours(audio(dtype), time_mask=time_mask()).context * weights).sum().backward()
    parameters = dict(ours.named_parameters())
    pairs = encoder_pairs(VARIANTS[name].config)
    expected = to_ours(pairs, {n: p.grad for n, p in theirs.named_parameters()}, parameters)
    assert expected.keys() == parameters.keys()
    for parameter, gradient in expected.items():
        found = parameters[parameter].grad
        assert found is not None, parameter
        assert gradient.abs().max() > 0, parameter
        assert error(found, gradient) < TOLERANCES[dtype][1], parameter


@CASES
def test_every_tensor_has_a_name_on_both_sides_and_returns_unchanged(name: str) -> None:
    theirs, ours = (model.state_dict() for model in models(name, torch.float32))
    pairs = encoder_pairs(VARIANTS[name].config)
    assert [pair.ours for pair in pairs if pair.ours not in ours] == []
    assert sorted(pair.ours for pair in pairs) == sorted(ours)
    assert sorted(part for pair in pairs for part in pair.theirs) == sorted(theirs)
    returned = to_theirs(pairs, to_ours(pairs, theirs, ours))
    assert all(torch.equal(returned[part], weight) for part, weight in theirs.items())


@pytest.mark.parametrize(
    ("family", "name", "message"),
    [
        ("wav2vec2", "WavLM base", "model.context.relative_bias is True, wav2vec2 has False"),
        ("wavlm", "HuBERT large", "model.context.relative_bias is False, wavlm has True"),
        ("hubert", "data2vec", "model.context.pos_conv_depth above 1 is True, hubert has False"),
        ("data2vec-audio", "wav2vec 2.0 base", "pos_conv_depth above 1 is False, data2vec-audio has True"),
    ],
)
def test_a_family_has_its_own_architectures_only(family: Family, name: str, message: str) -> None:
    assert message in "; ".join(family_problems(VARIANTS[name].config, family))
    assert family_problems(VARIANTS[name].config, VARIANTS[name].family) == []


@CASES
def test_an_utterance_in_a_padded_batch_is_theirs_alone(name: str) -> None:
    """Alone, because with group norm or several positional convolutions theirs depends on the padding."""
    theirs, ours = models(name, torch.float32)
    lengths = [12_000, 7_000]
    with torch.no_grad():
        # What lies in the padding must not matter, so it is left as noise.
        found = ours(audio(), torch.tensor(lengths), keep_layers=True)
        for row, length in enumerate(lengths):
            given = audio()[row : row + 1, :length]
            alone = our_stages(ours(given, keep_layers=True))
            batched = cut(our_stages(found), row, alone.output.shape[1])
            check_stages(batched, alone, 1e-5)
            check_stages(batched, their_stages(theirs, given), 1e-5)


@pytest.mark.parametrize("name", ["wav2vec 2.0 large", "HuBERT large", "WavLM large"])
def test_padded_batches_where_theirs_does_not_depend_on_padding(name: str) -> None:
    theirs, ours = models(name, torch.float32)
    lengths = torch.tensor([12_000, 7_000])
    valid = (torch.arange(12_000) < lengths[:, None]).long()
    with torch.no_grad():
        expected = their_stages(theirs, audio() * valid, valid=valid)
        output = ours(audio() * valid, lengths, keep_layers=True)
    assert output.lengths is not None
    for row, frames in enumerate(output.lengths.tolist()):
        check_stages(cut(our_stages(output), row, frames), cut(expected, row, frames), 1e-5)


def cut(stages: Stages, row: int, frames: int) -> Stages:
    """The valid frames of one utterance, as a batch of its own."""
    features, *layers, output = (x[row : row + 1, :frames] for x in (stages.features, *stages.layers, stages.output))
    return Stages(features, layers, output)


@contextmanager
def dropout_as_a_factor() -> Iterator[None]:
    """Dropout multiplies by 1 + its share instead of drawing: the same on both sides if it is in the same places."""

    def scale(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return x * (1 + p) if training else x

    def keep_all(shape: torch.Size, p: float, dtype: torch.dtype) -> tuple[Tensor, float]:
        return torch.ones(shape, dtype=dtype), 1 + p

    with (
        mock.patch("torch.nn.functional.dropout", scale),
        mock.patch("speechssl.model.kernels.dropout.draw_kept", keep_all),
        mock.patch("torch.nn.functional.scaled_dot_product_attention", explicit_attention),
    ):
        yield


@CASES
def test_dropout_is_where_theirs_is(name: str) -> None:
    theirs, ours = models(name, torch.float64, marked=True)
    with torch.no_grad(), dropout_as_a_factor():
        expected = their_stages(theirs, audio(torch.float64))
        found = our_stages(ours(audio(torch.float64), keep_layers=True))
        check_stages(found, expected, 1e-9)
        quiet = models(name, torch.float64)[1](audio(torch.float64))
    assert error(found.output, quiet.context) > 1e-3  # the factors did reach the output


def test_published_buckets_of_every_offset() -> None:
    theirs = transformers.models.wavlm.modeling_wavlm.WavLMAttention(32, 4, num_buckets=320, max_distance=800)
    ours = RelativePositionBias(4, num_buckets=320, max_distance=800)
    offsets = torch.arange(-1000, 1001)
    assert torch.equal(ours.bucket_of(offsets), theirs._relative_positions_bucket(offsets))
