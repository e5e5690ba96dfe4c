"""Two views against a loop-only oracle, in one micro-batch and over an update, and what a failure of it looks like."""

import math
from typing import Any

import pytest
import reference
import small_objectives
import torch
from changing import with_values
from small_objectives import OBJECTIVES, draw_for, per_target, symptoms
from torch import Tensor

from speechssl.config import MaskingConfig, TwoViewConfig
from speechssl.errors import ConfigError
from speechssl.objectives.two_view import TwoViewModel, UpdateViews, continue_two_view, pool

RECORDINGS = [7, 3, 7, 9]
AUDIO = 0.1 * torch.randn(2, len(RECORDINGS), 8_000, generator=torch.Generator().manual_seed(1))


def make(**options: Any) -> TwoViewModel:
    model: TwoViewModel = small_objectives.make(with_values(OBJECTIVES["two views"], options))
    return model


def run(model: TwoViewModel, pairs: slice = slice(None), audio: Tensor = AUDIO, **options: Any) -> Any:
    chosen = audio[:, pairs].flatten(0, 1).to(model.encoder.mask_embedding.dtype)
    recordings = torch.tensor(RECORDINGS[pairs])
    return model(chosen, draw_for(model, chosen), recordings=recordings, **options)


def gradients(model: TwoViewModel, loss: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return [torch.zeros(()) if gradient is None else gradient for gradient in found]


def names(model: TwoViewModel, figures: dict[str, float]) -> set[str]:
    return set(symptoms(model, figures))


def test_loss_and_gradients_agree_with_the_oracle() -> None:
    model = make(temperature=0.3).double()
    output = run(model)
    rows = AUDIO.double().flatten(0, 1)
    context = model.encoder(rows, time_mask=draw_for(model, rows).time_mask).context
    views = model.projection(pool(context)).unflatten(0, (2, -1))
    expected = reference.two_view_loss(views, RECORDINGS, 0.3)
    torch.testing.assert_close(output.loss, expected, rtol=1e-10, atol=0)
    for ours, theirs in zip(gradients(model, output.loss), gradients(model, expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def test_micro_batches_of_an_update_add_up_to_it() -> None:
    model = make(temperature=0.3).double()
    whole = run(model)
    parts = [slice(0, 1), slice(1, 4)]
    with torch.no_grad():
        views = torch.cat([run(model, part, only_embed=True) for part in parts], dim=1)
    found = [run(model, part, of_update=UpdateViews(views, torch.tensor(RECORDINGS), part.start)) for part in parts]
    torch.testing.assert_close(sum(output.loss for output in found), whole.loss, rtol=1e-10, atol=0)
    for name, value in whole.figures.items():
        torch.testing.assert_close(sum(output.figures[name] for output in found), value, rtol=1e-10, atol=0)
    summed = [sum(each) for each in zip(*(gradients(model, output.loss) for output in found), strict=True)]
    for ours, theirs in zip(summed, gradients(model, whole.loss), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def test_views_of_one_recording_are_not_told_from_each_other() -> None:
    model = make()
    # Two of the four pairs are of one recording: six views less two for them, and less one for the others.
    chances = 2 * (1 / 5 + 1 / 7 + 1 / 5 + 1 / 7)
    assert float(run(model).figures["chance"]) == pytest.approx(chances)


def test_pooled_frames_are_their_mean_and_deviation() -> None:
    context = torch.randn(2, 9, 3, dtype=torch.float64)
    expected = torch.cat([context.mean(1), context.std(1, correction=0)], dim=-1)
    torch.testing.assert_close(pool(context), expected, rtol=1e-4, atol=0)


def test_masks_hide_frames_of_either_view() -> None:
    assert not draw_for(make(), AUDIO.flatten(0, 1)).time_mask.any()
    mask = draw_for(make(masking=MaskingConfig(time_prob=0.5, time_length=3)), AUDIO.flatten(0, 1)).time_mask
    assert mask.any(1).all()
    assert not torch.equal(mask[:4], mask[4:])


def trained(model: TwoViewModel, audio: Tensor, updates: int = 30) -> set[str]:
    """What is named after some updates on the same audio."""
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(updates):
        output = run(model, audio=audio)
        optimizer.zero_grad()
        (output.loss / output.num_targets).backward()
        optimizer.step()
    return names(model, per_target(run(model, audio=audio)))


def test_views_without_augmentation_are_named_trivial() -> None:
    same = AUDIO[:1].expand(2, -1, -1)
    levels = torch.tensor([0.1, 1.0, 0.1, 10.0])[:, None]
    assert trained(make(), same * levels) == {"trivial views"}


def test_a_temperature_at_which_all_look_alike_is_named() -> None:
    assert "at chance" in trained(make(temperature=1000.0), AUDIO)


def test_views_that_are_all_alike_are_named() -> None:
    model = make()
    for parameter in model.projection[-1].parameters():
        torch.nn.init.zeros_(parameter)
    model.projection[-1].bias.data[0] = 1.0
    found = per_target(run(model))
    assert found["spread"] == pytest.approx(0, abs=1e-3)
    assert names(model, found) >= {"collapse", "at chance"}


def test_a_single_recording_has_nothing_to_be_told_from() -> None:
    model = make()
    output = run(model, slice(0, 1))
    assert float(output.loss.detach()) == 0
    assert "nothing to tell apart" in names(model, per_target(output))


def test_a_healthy_task_has_no_symptoms() -> None:
    figures = {"loss": 1.2, "accuracy": 0.6, "chance": 0.02, "spread": 0.9, "similarity": 0.7}
    assert names(make(), figures) == set()
    assert names(make(), figures | {"loss": -math.log(0.02) * 0.99}) == {"at chance"}
    assert names(make(), {}) == set()


def test_another_projection_than_that_of_init_is_refused() -> None:
    earlier = TwoViewConfig(hidden_dim=12, final_dim=6)
    assert continue_two_view(TwoViewConfig(temperature=0.2), earlier) == TwoViewConfig(
        temperature=0.2, hidden_dim=12, final_dim=6
    )
    with pytest.raises(ConfigError, match=r"objective\.final_dim is 9, and 6 in the run of --init"):
        continue_two_view(TwoViewConfig(final_dim=9), earlier)
