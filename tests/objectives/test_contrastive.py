"""The contrastive loss against a loop-only oracle, and what its targets and penalties are of."""

import pytest
import reference
import small_objectives
import torch
from changing import with_values
from small_objectives import AUDIO, OBJECTIVES, draw_for

from speechssl.model.masking import sample_negatives
from speechssl.objectives.contrastive import (
    ContrastiveDraw,
    ContrastiveModel,
    chance_accuracy,
    code_ids,
    contrastive_logits,
)


def test_loss_and_gradients_agree_with_the_oracle() -> None:
    torch.manual_seed(0)
    contexts = torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True)
    codes = torch.randint(3, (2, 9, 2))
    entries = torch.randn(9, 4, dtype=torch.float64)
    targets = entries[code_ids(codes, 3)].requires_grad_()
    negatives = sample_negatives(2, 9, 20, torch.Generator().manual_seed(0))
    logits = contrastive_logits(contexts, targets, code_ids(codes, 3), negatives, 0.1)
    ours = -logits.log_softmax(-1)[..., 0].sum()
    expected = reference.contrastive_loss(contexts, targets, codes, negatives, 0.1)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    for a, b in zip(
        torch.autograd.grad(ours, (contexts, targets)), torch.autograd.grad(expected, (contexts, targets)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_distractors_with_the_targets_codes_do_not_count() -> None:
    contexts = torch.randn(1, 3, 4)
    targets = torch.randn(1, 3, 4)
    codes = torch.tensor([[7, 7, 5]])
    negatives = torch.tensor([[[1, 2], [0, 2], [0, 1]]])
    logits = contrastive_logits(contexts, targets, codes, negatives, 0.1)
    assert logits[0, 0, 1] == logits[0, 1, 1] == float("-inf")
    assert logits[0, 0, 2].isfinite()


def test_chance_is_what_random_scores_reach() -> None:
    torch.manual_seed(0)
    batch, masked, entries = 400, 12, 9
    codes = torch.randint(entries, (batch, masked))
    negatives = sample_negatives(batch, masked, 50, torch.Generator().manual_seed(0))
    vectors = torch.randn(batch, entries, 8)
    targets = vectors.gather(1, codes[:, :, None].expand(-1, -1, 8))
    logits = contrastive_logits(torch.randn(batch, masked, 8), targets, codes, negatives, 0.1)
    accuracy = (logits[..., 0] > logits[..., 1:].amax(-1)).float().mean()
    chance = chance_accuracy(codes, negatives).mean()
    assert chance > 3 / 51
    assert float(accuracy) == pytest.approx(float(chance), rel=0.1)


def test_chance_counts_different_distractors() -> None:
    codes = torch.tensor([[7, 7, 5, 3]])
    negatives = torch.tensor([[[1, 2, 2, 3], [0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 2, 2]]])
    assert chance_accuracy(codes, negatives).tolist() == [pytest.approx([1 / 3, 1, 1 / 2, 1 / 3])]


def test_untrained_model_is_at_chance() -> None:
    torch.manual_seed(0)
    contexts, targets = torch.randn(8, 200, 64), torch.randn(8, 200, 64)
    negatives = sample_negatives(8, 200, 100, torch.Generator().manual_seed(0))
    codes = torch.arange(200).expand(8, -1)
    logits = contrastive_logits(contexts, targets, codes, negatives, 10.0)
    assert float(-logits.log_softmax(-1)[..., 0].mean()) == pytest.approx(4.615, abs=0.01)


def make(**options: float) -> tuple[ContrastiveModel, torch.Tensor, ContrastiveDraw]:
    model = small_objectives.make(with_values(OBJECTIVES["contrastive"], options)).double()
    audio = AUDIO.double()
    draw = draw_for(model, audio)
    noise = -torch.empty(*draw.positions.shape, 2, 6, dtype=torch.float64).exponential_().log()
    return model, audio, draw._replace(temperature=1.0, noise=noise)


def gradients(model: ContrastiveModel) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def test_penalties_are_multiplied_by_the_masked_frames() -> None:
    model, audio, draw = make(diversity_weight=0.3, feature_penalty=7.0)
    output = model(audio, draw)
    assert output.num_targets == draw.positions.numel()
    expected = output.figures["loss"] + 0.3 * output.figures["diversity_loss"] + 7.0 * output.figures["feature_energy"]
    torch.testing.assert_close(output.loss.detach(), expected)
    features, _ = model.encoder.feature_encoder(audio)
    energy = output.figures["feature_energy"] / output.num_targets
    torch.testing.assert_close(energy, features.square().mean().detach())


def test_feature_gradient_is_scaled() -> None:
    found = []
    for scale in (1.0, 0.1):
        model, audio, draw = make(feature_grad_scale=scale)
        model(audio, draw).loss.backward()
        found.append(gradients(model))
    name = "encoder.feature_encoder.blocks.1.conv.weight"
    torch.testing.assert_close(found[1][name], 0.1 * found[0][name])
    name = "encoder.projection.weight"
    torch.testing.assert_close(found[1][name], found[0][name])


def test_accuracy_counts_targets_above_all_distractors() -> None:
    model, audio, draw = make()
    output = model(audio, draw)
    assert 0 <= int(output.figures["accuracy"]) <= draw.positions.numel()


def test_masked_frames_do_not_leak_into_the_context() -> None:
    """What hides behind the mask must not reach the context network: only the targets may see it."""
    model, audio, *_ = make()
    model.eval()
    time_mask = torch.zeros(1, 49, dtype=torch.bool)
    time_mask[:, 10:20] = True
    changed = audio[:1].clone()
    changed[:, 12 * 320 : 18 * 320] += torch.randn(1, 6 * 320, dtype=torch.float64)
    with torch.no_grad():
        features = [model.encoder.feature_encoder.blocks[0].conv(x.unsqueeze(1)) for x in (audio[:1], changed)]
        assert not torch.equal(*features)
        model.encoder.feature_encoder.blocks[0].norm = torch.nn.Identity()  # statistics see the whole utterance
        model.encoder.feature_encoder.blocks[0].forward = (  # type: ignore[method-assign]
            lambda x, lengths: torch.nn.functional.gelu(model.encoder.feature_encoder.blocks[0].conv(x))
        )
        one, other = (model.encoder(x, time_mask=time_mask).context for x in (audio[:1], changed))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_targets_come_from_the_clean_audio() -> None:
    model, audio, draw = make()
    noisy = audio + 0.3 * torch.randn_like(audio)
    plain, denoising, deaf = (
        model(heard, draw, clean=clean) for heard, clean in ((audio, None), (noisy, audio), (noisy, None))
    )
    torch.testing.assert_close(denoising.figures["diversity_loss"], plain.figures["diversity_loss"])
    assert not torch.equal(deaf.figures["diversity_loss"], plain.figures["diversity_loss"])
    assert not torch.equal(denoising.context, plain.context)
    torch.testing.assert_close(denoising.context, deaf.context)
