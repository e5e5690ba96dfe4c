"""Masked prediction against loop-only oracles, and what it looks like when it cannot teach anything."""

import math
from typing import Any

import pytest
import reference
import small_objectives
import torch
import torch.nn.functional as F
from changing import with_values
from small_objectives import AUDIO, OBJECTIVES, draw_for, per_target, symptoms
from torchaudio.models.wav2vec2.components import LogitGenerator

from speechssl.objectives.masked_prediction import CosineHead, MaskedPredictionModel


def make(num_entries: list[int], **options: Any) -> MaskedPredictionModel:
    values = {"units.num_entries": num_entries, **options}
    model: MaskedPredictionModel = small_objectives.make(with_values(OBJECTIVES["masked prediction"], values))
    return model


@pytest.mark.parametrize("cosine_dim", [0, 6])
def test_loss_and_gradients_agree_with_the_oracle(cosine_dim: int) -> None:
    model = make([3, 5], cosine_dim=cosine_dim, feature_penalty=0.0).double()
    audio, draw = AUDIO.double(), draw_for(model, AUDIO)
    output = model(audio, draw)
    context = model.encoder(audio, time_mask=draw.time_mask).context
    logits = [head(context) for head in model.heads]
    units = model.units(audio)
    expected = reference.masked_prediction_loss(logits, units, draw.time_mask)
    torch.testing.assert_close(output.loss, expected, rtol=1e-10, atol=0)
    weights = [p for p in model.parameters() if p.requires_grad]
    found, wanted = (torch.autograd.grad(loss, weights) for loss in (output.loss, expected))
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)
    right = [(scores.argmax(-1) == units[..., c])[draw.time_mask].double().mean() for c, scores in enumerate(logits)]
    assert float(output.figures["accuracy"]) / output.num_targets == pytest.approx(float(sum(right)) / 2)


def test_frames_that_are_not_masked_count_by_their_weight() -> None:
    plain = make([3], feature_penalty=0.0).double()
    weighted = make([3], feature_penalty=0.0, unmasked_weight=0.5).double()
    weighted.load_state_dict(plain.state_dict())
    audio, draw = AUDIO.double(), draw_for(plain, AUDIO)
    logits = [plain.heads[0](plain.encoder(audio, time_mask=draw.time_mask).context)]
    others = reference.masked_prediction_loss(logits, plain.units(audio), ~draw.time_mask)
    torch.testing.assert_close(weighted(audio, draw).loss, plain(audio, draw).loss + 0.5 * others)


def test_targets_are_of_the_audio_before_augmentation() -> None:
    model = make([5], feature_penalty=0.0)
    draw, noisy = draw_for(model, AUDIO), AUDIO + torch.randn(AUDIO.shape)
    model.heads[0].weight.data.zero_()
    model.heads[0].bias.data = torch.tensor([3.0, 0.0, 0.0, 0.0, 0.0])
    in_first = (model.units(AUDIO)[..., 0] == 0)[draw.time_mask].sum()
    assert model(noisy, draw, clean=AUDIO).figures["accuracy"] == in_first


def test_the_cosine_head_measures_angles() -> None:
    head = CosineHead(4, 3, 5, 0.1).double()
    contexts = torch.randn(2, 3, 4, dtype=torch.float64)
    projected = head.projection(contexts)
    for b in range(2):
        for m in range(3):
            for v in range(5):
                expected = reference.cosine(projected[b, m], head.embeddings[v]) / 0.1
                torch.testing.assert_close(head(contexts)[b, m, v], expected)


@pytest.mark.parametrize("unmasked_weight", [0.0, 0.5])
def test_the_loss_of_hubert_is_that_of_torchaudio(unmasked_weight: float) -> None:
    """Its logits are those of fairseq: the right label at place 0, the others behind it, the right one among them at
    minus infinity."""
    model = make([5], cosine_dim=6, feature_penalty=10.0, unmasked_weight=unmasked_weight).double()
    theirs = LogitGenerator(16, 5, 6, skip_masked=False, skip_nomask=False).double()
    theirs.final_proj.load_state_dict(model.heads[0].projection.state_dict())
    theirs.label_embeddings.data = model.heads[0].embeddings.data
    audio, draw = AUDIO.double(), draw_for(model, AUDIO)
    encoded = model.encoder(audio, time_mask=draw.time_mask)
    # It labels every frame, masked or not, and gives logits of both kinds.
    both = theirs(encoded.context, model.units(audio)[..., 0], draw.time_mask, ~draw.time_mask)
    masked, others = (F.cross_entropy(x, torch.zeros(len(x), dtype=torch.long), reduction="sum") for x in both)
    expected = masked + unmasked_weight * others + 10.0 * encoded.feature_energy * len(both[0])
    torch.testing.assert_close(model(audio, draw).loss, expected, rtol=1e-6, atol=0)  # its similarities are float32


def test_units_are_in_the_weights_and_take_no_gradient() -> None:
    model = make([3, 5])
    model(AUDIO, draw_for(model, AUDIO)).loss.backward()
    assert {"units.mean", "units.projection", "units.codebook_0", "units.codebook_1"} <= model.state_dict().keys()
    assert not [name for name, _ in model.named_parameters() if name.startswith("units.")]
    assert all(p.grad is not None for p in model.parameters())


def judged(model: MaskedPredictionModel, **changes: float) -> dict[str, str]:
    return symptoms(model, per_target(model(AUDIO, draw_for(model, AUDIO))) | changes)


def test_a_model_that_has_learned_nothing_is_at_chance() -> None:
    found = judged(make([4]))
    assert list(found) == ["at chance"]
    assert f"equal guesses give {math.log(4):.3f}" in found["at chance"]
    assert judged(make([4]), accuracy=0.9) == {}


@pytest.mark.parametrize(("loss", "learns"), [(1.20, True), (1.24, False), (1.5, False)])
def test_a_loss_below_the_entropy_of_the_units_is_learning(loss: float, learns: bool) -> None:
    """With augmentation accuracy stays near chance for long: a sound run was stopped for that."""
    assert math.log(3.5) == pytest.approx(1.253, abs=1e-3)
    found = judged(make([4]), accuracy=0.45, chance=0.4, perplexity_0=3.5, loss=loss)
    assert list(found) == ([] if learns else ["at chance"])


def test_a_single_unit_is_named_though_its_accuracy_is_perfect() -> None:
    found = judged(make([1]))
    assert list(found) == ["collapse"]
    assert "accuracy is 1.000 with code perplexities 1.00" in found["collapse"]


def test_masks_that_hide_nothing_are_named() -> None:
    model = make([4])
    model.objective = with_values(model.objective, {"masking.time_prob": 0.0})
    assert "0.0% of the frames are masked" in judged(model)["nothing is masked"]
    assert model(AUDIO, draw_for(model, AUDIO)).loss == 0


def test_units_that_hardly_occur_are_named_by_their_codebook() -> None:
    found = judged(make([4, 50]), perplexity_1=2.4, accuracy=0.9)
    assert "codebook 1 is at perplexity 2.4 of 50 entries, below 2.5" in found["collapsed codebook"]
