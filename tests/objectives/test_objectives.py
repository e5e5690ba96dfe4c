"""What every pretext task promises to those who train and watch it, of whatever it is made."""

from typing import Any

import pytest
import torch
from changing import with_values
from small_objectives import AUDIO, OBJECTIVES, PAIRS, draw_for, make, per_target, symptoms
from torch import Tensor, nn

EACH = pytest.mark.parametrize("name", OBJECTIVES)
# Those whose targets are of an utterance alone; views are told from those of other recordings.
OF_UTTERANCES = pytest.mark.parametrize("name", [name for name, task in OBJECTIVES.items() if task.name != "two_view"])


def heard(model: Any, audio: Tensor = AUDIO, draw: Any = None) -> Any:
    """Output for a micro-batch, with what Gumbel's noise draws the same every time."""
    torch.manual_seed(0)
    pairs = {"recordings": PAIRS} if model.views == "two" else {}
    return model(audio.to(model.encoder.mask_embedding.dtype), draw or draw_for(model, audio), **pairs)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def part_of(draw: Any, rows: slice) -> Any:
    return type(draw)(*(x[rows] if isinstance(x, Tensor) else x for x in draw))


@EACH
def test_a_draw_follows_from_its_generator(name: str) -> None:
    model = make(OBJECTIVES[name])
    first, again, other = (draw_for(model, AUDIO, seed) for seed in (0, 0, 1))
    assert [torch.equal(a, b) for a, b in zip(first, again, strict=True) if isinstance(a, Tensor)].count(False) == 0
    has_choices = model.objective.masking.time_prob > 0
    assert torch.equal(first.time_mask, other.time_mask) != has_choices


@OF_UTTERANCES
def test_micro_batches_are_one_large_one(name: str) -> None:
    """Without what is no sum over frames: the diversity penalty and its noise are of a micro-batch."""
    task = OBJECTIVES[name]
    task = with_values(task, {"diversity_weight": 0.0}) if name == "contrastive" else task
    whole, parts = (make(task).double() for _ in range(2))
    draw = draw_for(whole, AUDIO)
    if name == "contrastive":
        noise = torch.empty(*draw.positions.shape, 2, 6, dtype=torch.float64)
        draw = draw._replace(noise=-noise.exponential_(generator=torch.Generator().manual_seed(0)).log())
    expected = heard(whole, draw=draw)
    expected.loss.backward()
    rows = [slice(0, 1), slice(1, 4)]
    found = [heard(parts, AUDIO[part], part_of(draw, part)) for part in rows]
    for output in found:
        output.loss.backward()
    torch.testing.assert_close(
        sum(output.loss.detach() for output in found), expected.loss.detach(), rtol=1e-10, atol=0
    )
    assert sum(output.num_targets for output in found) == expected.num_targets == int(draw.time_mask.sum())
    learned = {key for key, parameter in whole.named_parameters() if parameter.requires_grad}
    assert gradients(parts).keys() == gradients(whole).keys() == learned
    for key, value in gradients(whole).items():
        torch.testing.assert_close(gradients(parts)[key], value, rtol=1e-8, atol=1e-12, msg=key)
    for model in (whole, parts):
        model.after_update(0)
    for (key, a), b in zip(whole.named_buffers(), parts.buffers(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12, msg=key)


@EACH
def test_all_that_it_goes_on_with_is_in_its_weights(name: str) -> None:
    model = make(OBJECTIVES[name])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    heard(model).loss.backward()
    optimizer.step()
    model.after_update(0)
    other = make(OBJECTIVES[name])
    other.load_state_dict(model.state_dict())
    for again in range(2):
        assert torch.equal(heard(other).loss, heard(model).loss), again
        for each in (model, other):
            each.after_update(1)


@EACH
def test_its_figures_are_sums_without_a_graph(name: str) -> None:
    output = heard(make(OBJECTIVES[name]))
    assert output.loss.requires_grad
    assert output.loss.dim() == 0
    assert "loss" in output.figures
    for key, value in {**output.figures, "context": output.context}.items():
        assert not value.requires_grad, key


@EACH
def test_a_model_that_says_the_same_of_everything_is_named(name: str) -> None:
    model = make(OBJECTIVES[name])
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    found = symptoms(model, per_target(heard(model)))
    assert found
    assert all(text for text in found.values())


@EACH
def test_nothing_is_said_of_figures_that_are_missing(name: str) -> None:
    assert symptoms(make(OBJECTIVES[name]), {}) == {}


@pytest.mark.slow
@EACH
def test_the_forward_pass_is_one_graph(name: str) -> None:
    model = make(OBJECTIVES[name])
    pairs = {"recordings": PAIRS} if model.views == "two" else {}
    torch._dynamo.reset()
    with torch.autocast("cpu", torch.bfloat16):
        found = torch._dynamo.explain(model)(AUDIO, draw_for(model, AUDIO), **pairs)
    assert (found.graph_count, found.graph_break_count) == (1, 0), [reason.reason for reason in found.break_reasons]
    assert getattr(model, "codebooks", None) is None or model.codebooks.seen is not None
