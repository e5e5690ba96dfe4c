"""Self-distillation against loop-only oracles, and what its failures look like."""

from typing import Any

import pytest
import reference
import small_objectives
import torch
from changing import with_values
from small_objectives import DISTILLATION, QUIET, draw_for, per_target, symptoms
from torch import Tensor

from speechssl.config import (
    AnchorConfig,
    ContextConfig,
    DropoutConfig,
    MaskingConfig,
    ModelConfig,
    OnlineCodebookConfig,
    PretrainConfig,
    SelfDistillationConfig,
    TeacherConfig,
    UnitsConfig,
)
from speechssl.config.limits import problems_of
from speechssl.objectives.online_codebooks import OnlineCodebooks
from speechssl.objectives.self_distillation import SelfDistillationModel
from speechssl.objectives.teacher import decay_at

AUDIO = small_objectives.AUDIO[:2]
MODEL = with_values(small_objectives.MODEL, {"context.num_layers": 3})  # one more than there are targets


def make(model: ModelConfig = MODEL, dropout: DropoutConfig = QUIET, **options: Any) -> SelfDistillationModel:
    made: SelfDistillationModel = small_objectives.make(with_values(DISTILLATION, options), model, dropout)
    return made


def said_by_teacher(model: SelfDistillationModel, audio: Tensor) -> list[Tensor]:
    """What leaves the last linear layer of the teacher's top blocks, for audio that is whole."""
    found: list[Tensor] = []
    blocks = list(model.teacher.context.blocks)[-2:]
    hooks = [block.ffn_out.register_forward_hook(lambda _m, _i, output: found.append(output)) for block in blocks]
    with torch.no_grad():
        x = model.encoder.projection(model.encoder.normalized_features(audio))
        model.teacher.context(x)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_regression_agrees_with_the_oracle(beta: float, norm_first: bool) -> None:
    context = ContextConfig(3, 16, 32, 2, norm_first, pos_conv_kernel=8, pos_conv_groups=2)
    model = make(ModelConfig(feature_encoder=MODEL.feature_encoder, context=context), smooth_l1_beta=beta).double()
    audio, draw = AUDIO.double(), draw_for(model, AUDIO)
    for _ in range(3):
        model.after_update(0)
    output = model(audio, draw)
    predictions = model.heads[0](model.encoder(audio, time_mask=draw.time_mask).context)
    targets = reference.data2vec_target(said_by_teacher(model, audio))
    expected = reference.data2vec_loss(predictions.detach(), targets, draw.time_mask, beta)
    assert float(output.loss.detach()) == pytest.approx(expected, rel=1e-9)
    assert output.num_targets == int(draw.time_mask.sum())
    masked, said = predictions.detach()[draw.time_mask], targets[draw.time_mask]
    explained = 1 - (masked - said).square().sum() / (said - said.mean(0)).square().sum()
    assert float(output.figures["explained"]) / output.num_targets == pytest.approx(float(explained))
    assert float(output.figures["target_deviation"]) / output.num_targets == pytest.approx(
        float(said.std(0, correction=0).mean())
    )


def test_the_teacher_moves_as_the_oracle_says_and_shares_positions() -> None:
    model = make().double()
    expected = {name: value.clone() for name, value in model.teacher.context.named_parameters()}
    own = dict(model.encoder.context.named_parameters())
    for update in (0, 1, 9, 10, 25):
        for parameter in own.values():
            parameter.data += 0.1 * torch.randn_like(parameter)
        model.after_update(update)
        decay = reference.annealed(update, 0.8, 0.9, 10)
        for name, value in expected.items():
            # As published, the positional convolutions are the student's.
            share = 0.0 if name.startswith("position.") else decay
            for before, after in zip(value.view(-1), own[name].detach().view(-1), strict=True):
                before.copy_(share * before + (1 - share) * after)
    for name, value in model.teacher.context.named_parameters():
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=1e-12)
    assert float(model.teacher.movement) > 0
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())


def test_the_rate_is_a_pure_function_of_the_update() -> None:
    published = TeacherConfig()
    assert [decay_at(published, update) for update in (0, 15_000, 30_000, 400_000)] == pytest.approx(
        [0.999, 0.99945, 0.9999, 0.9999], abs=1e-12
    )
    assert decay_at(TeacherConfig(decay_start=0.5, decay_end=0.9, ramp_updates=0), 0) == 0.9


def test_codebooks_move_as_the_oracle_says() -> None:
    torch.manual_seed(0)
    books = OnlineCodebooks(2, 3, OnlineCodebookConfig(num_entries=5, decay=0.7)).double().train()
    sums, counts = books.sums.tolist(), books.counts.tolist()
    for _update in range(4):
        micro_batches = [torch.randn(2, 4, 3, dtype=torch.float64) for _ in range(2)]
        for frames in micro_batches:
            entries = books.entries
            codes = books(frames)
            assert [codes[k].tolist() for k in range(2)] == [reference.nearest(frames[k], entries[k]) for k in range(2)]
        books.move()
        for k in range(2):
            given = [frame for frames in micro_batches for frame in frames[k].tolist()]
            sums[k], counts[k] = reference.moved_codebook(sums[k], counts[k], given, 0.7)
        torch.testing.assert_close(books.sums, torch.tensor(sums, dtype=torch.float64), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(books.counts, torch.tensor(counts, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    assert (books.counts == 1).any(), "an entry that was nearest to nothing stays"


def test_codebooks_stay_while_held_out_audio_is_scored() -> None:
    books = OnlineCodebooks(1, 3, DISTILLATION.codebook)
    before = books.entries
    books.eval()(torch.randn(1, 9, 3))
    books.move()
    assert torch.equal(books.entries, before)
    books.train()(torch.randn(1, 9, 3))
    books.move()
    assert not torch.equal(books.entries, before)


@pytest.mark.parametrize("predict_from", ["last", "same"])
def test_codebook_loss_agrees_with_the_oracle(predict_from: str) -> None:
    model = make(targets="codebook", predict_from=predict_from).double()
    audio, draw = AUDIO.double(), draw_for(model, AUDIO)
    model(audio, draw)
    model.after_update(0)
    said = [reference.data2vec_target([layer]) for layer in said_by_teacher(model, audio)]
    assert model.codebooks is not None
    entries = model.codebooks.entries
    units = torch.stack(
        [
            torch.tensor([reference.nearest(utterance, book) for utterance in layer])
            for layer, book in zip(said, entries, strict=True)
        ],
        dim=-1,
    )
    encoded = model.encoder(audio, time_mask=draw.time_mask, keep_layers=True)
    contexts = [encoded.context] * 2 if predict_from == "last" else encoded.layers[-2:]
    logits = [head(context) for head, context in zip(model.heads, contexts, strict=True)]
    expected = reference.masked_prediction_loss(logits, units, draw.time_mask) / 2
    output = model(audio, draw)
    torch.testing.assert_close(output.loss, expected, rtol=1e-10, atol=0)
    learned = [p for p in model.parameters() if p.requires_grad]
    found, wanted = (torch.autograd.grad(loss, learned) for loss in (output.loss, expected))
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def test_the_teacher_hears_clean_audio_without_masks_and_noise() -> None:
    noisy = AUDIO + 0.3 * torch.randn(AUDIO.shape)
    model = make(dropout=DropoutConfig(hidden=0.5, attention=0.5, layer_drop=0.5))
    draw = draw_for(model, AUDIO)
    plain, denoising, deaf = (
        model(heard, draw, clean=clean).figures["target_deviation"]
        for heard, clean in ((AUDIO, None), (noisy, AUDIO), (noisy, None))
    )
    torch.testing.assert_close(denoising, plain)
    assert not torch.allclose(deaf, plain)
    encoded = model.encoder(AUDIO, time_mask=draw.time_mask)
    everything = torch.arange(draw.time_mask.shape[1]).expand(2, -1)
    targets = model.targets(encoded, None, everything)[0]
    torch.testing.assert_close(targets, reference.data2vec_target(said_by_teacher(model, AUDIO)), rtol=1e-3, atol=1e-3)


def test_an_anchor_adds_masked_prediction_over_the_same_pass() -> None:
    anchor = AnchorConfig(weight=0.5, units=UnitsConfig(num_entries=[3, 5], dim=4))
    model = make(anchor=anchor, targets="codebook").double()
    audio, draw = AUDIO.double(), draw_for(model, AUDIO)
    passes: list[int] = []
    hook = model.encoder.register_forward_hook(lambda *_: passes.append(1))
    output = model(audio, draw)
    hook.remove()
    assert len(passes) == 1
    assert model.units is not None
    assert model.anchor_heads is not None
    context = model.encoder(audio, time_mask=draw.time_mask).context
    expected = reference.masked_prediction_loss(
        [head(context) for head in model.anchor_heads], model.units(audio), draw.time_mask
    )
    torch.testing.assert_close(output.loss, output.figures["loss"] + 0.5 * expected, rtol=1e-10, atol=0)
    assert output.figures["anchor_loss"] == pytest.approx(float(expected.detach()))


def judged(model: SelfDistillationModel) -> set[str]:
    found = per_target(model(AUDIO, draw_for(model, AUDIO)))
    return set(symptoms(model, found, min_accuracy_over_chance=1.3))


def learn(model: SelfDistillationModel, updates: int, rate: float = 3e-3) -> SelfDistillationModel:
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate, betas=(0.9, 0.98))
    for update in range(updates):
        output = model(AUDIO, draw_for(model, AUDIO, seed=update))
        optimizer.zero_grad()
        (output.loss / output.num_targets).backward()
        optimizer.step()
        model.after_update(update)
    return model


SLOW = TeacherConfig(decay_start=0.99, decay_end=0.99, top_layers=2)


@pytest.mark.parametrize("targets", ["regression", "codebook"])
def test_a_slow_teacher_teaches(targets: str) -> None:
    codebook = OnlineCodebookConfig(num_entries=4, initial_scale=0.1)
    model = make(targets=targets, teacher=SLOW, codebook=codebook)
    assert judged(model) >= {"the teacher stands still", "at chance"}
    assert judged(learn(model, 60)) == set()


def test_a_teacher_that_need_not_vary_collapses_and_is_named() -> None:
    found = {}
    for normalize in (True, False):
        model = make(teacher=TeacherConfig(0.0, 0.0, top_layers=2), normalize_targets=normalize)
        found[normalize] = judged(learn(model, 80))
    assert "collapse" in found[False]
    assert "collapse" not in found[True]


def test_a_teacher_that_does_not_follow_is_named() -> None:
    still = TeacherConfig(decay_start=1.0, decay_end=1.0, top_layers=2)
    assert judged(learn(make(teacher=still), 5, rate=1e-3)) & {"the teacher stands still"}


def test_entries_that_no_frame_reaches_are_named() -> None:
    far = OnlineCodebookConfig(num_entries=60, initial_scale=30.0)
    found = judged(learn(make(targets="codebook", teacher=SLOW, codebook=far), 20))
    assert found & {"collapsed codebook", "collapse"}


def test_masks_that_hide_nothing_are_named() -> None:
    model = make(masking=MaskingConfig(time_prob=0.0))
    assert "nothing is masked" in judged(model)
    assert model(AUDIO, draw_for(model, AUDIO)).loss == 0


def test_what_cannot_work_is_named() -> None:
    config = SelfDistillationConfig(
        targets="codebook", normalize_targets=False, anchor=AnchorConfig(1.0, UnitsConfig(num_entries=[]))
    )
    text = "\n".join(problems_of(PretrainConfig(model=MODEL, objective=config)))
    assert "objective.teacher.top_layers is 8, expected at most the model's 3 layers" in text
    assert "objective.normalize_targets is false" in text
    assert "objective.anchor.units.num_entries is empty" in text
