"""The same numbers as Hugging Face's wav2vec 2.0, on small models with random weights of both norm variants."""

from typing import Any, Literal
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hf_weights import ctc_pairs, encoder_pairs, pretraining_pairs, to_ours
from torch import Tensor

from speechssl.config import (
    ContextConfig,
    ContrastiveConfig,
    DropoutConfig,
    FeatureEncoderConfig,
    HeadConfig,
    ModelConfig,
    QuantizerConfig,
)
from speechssl.model.ctc import CtcModel
from speechssl.model.encoder import Encoder
from speechssl.objectives.contrastive import ContrastiveDraw, ContrastiveModel
from speechssl.objectives.objective import PretextOutput
from speechssl.tasks.ctc import ctc_loss

transformers = pytest.importorskip("transformers", reason="needs the transformers package (speechssl[interop])")

QUANTIZER = QuantizerConfig(num_groups=2, num_entries=7, dim=12)
# Theirs has no feature penalty, and scales no gradient.
AS_THEIRS: dict[str, Any] = {"feature_penalty": 0.0, "feature_grad_scale": 1.0}
QUIET = DropoutConfig(hidden=0, attention=0, layer_drop=0)
Variant = Literal["base", "large"]
VARIANTS: list[Variant] = ["base", "large"]
LAYERS = [(16, 10, 5), (16, 3, 2), (24, 3, 2), (24, 3, 2), (24, 3, 2), (24, 2, 2), (24, 2, 2)]


def reference_config(variant: Variant) -> Any:
    large = variant == "large"
    none = dict.fromkeys(
        ["hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "feat_quantizer_dropout",
         "final_dropout", "layerdrop", "mask_feature_prob"], 0.0,
    )  # fmt: skip
    return transformers.Wav2Vec2Config(
        vocab_size=11, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        conv_dim=[c for c, _, _ in LAYERS], conv_kernel=[k for _, k, _ in LAYERS],
        conv_stride=[s for _, _, s in LAYERS],
        feat_extract_norm="layer" if large else "group", conv_bias=large, do_stable_layer_norm=large,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
        num_codevectors_per_group=7, num_codevector_groups=2, codevector_dim=12, proj_codevector_dim=10,
        num_negatives=6, diversity_loss_weight=0.1, contrastive_logits_temperature=0.1,
        pad_token_id=0, ctc_loss_reduction="sum", **none,
    )  # fmt: skip


def our_config(variant: Variant) -> ModelConfig:
    large = variant == "large"
    return ModelConfig(
        feature_encoder=FeatureEncoderConfig(conv_layers=LAYERS, norm="layer" if large else "group", bias=large),
        context=ContextConfig(
            num_layers=3, dim=32, ffn_dim=48, num_heads=4, norm_first=large, pos_conv_kernel=16, pos_conv_groups=4
        ),
    )


def audio() -> Tensor:
    torch.manual_seed(1)
    return 0.2 * torch.randn(2, 12_000)


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_and_every_layer(variant: Variant) -> None:
    torch.manual_seed(0)
    theirs = transformers.Wav2Vec2Model(reference_config(variant)).eval()
    ours = Encoder(our_config(variant), QUIET).eval()
    ours.load_state_dict(to_ours(encoder_pairs(our_config(variant)), theirs.state_dict(), ours.state_dict()))
    with torch.no_grad():
        expected = theirs(audio(), output_hidden_states=True)
        found = ours(audio(), keep_layers=True)
    close(found.features, expected.extract_features)
    close(found.context, expected.last_hidden_state)
    # Theirs lists the input of the first block too, and for pre-norm models normalises the last one.
    last = 3 if variant == "base" else 2
    for layer in range(last):
        close(found.layers[layer], expected.hidden_states[layer + 1])


def pretraining_pair(config: Any, model: ModelConfig, objective: ContrastiveConfig) -> tuple[Any, ContrastiveModel]:
    """Theirs and ours with the same random weights, in training mode."""
    torch.manual_seed(0)
    theirs = transformers.Wav2Vec2ForPreTraining(config).train()
    ours = ContrastiveModel(model, objective, QUIET).train()
    pairs = pretraining_pairs(model, objective.quantizer)
    ours.load_state_dict(to_ours(pairs, theirs.state_dict(), ours.state_dict()))
    return theirs, ours


def small_pair(variant: Variant) -> tuple[Any, ContrastiveModel]:
    objective = ContrastiveConfig(quantizer=QUANTIZER, final_dim=10, num_negatives=6, **AS_THEIRS)
    return pretraining_pair(reference_config(variant), our_config(variant), objective)


def draw_for(model: ContrastiveModel, frames: int, seed: int = 3) -> ContrastiveDraw:
    return model.draw(2, frames, torch.Generator().manual_seed(seed), update=0)


def their_negatives(draw: ContrastiveDraw, frames: int) -> Tensor:
    """Our indices into the masked frames as theirs: indices into all frames of the batch, (B, T, N)."""
    negatives = torch.zeros(2, frames, draw.negatives.shape[2], dtype=torch.long)
    for b in range(2):
        negatives[b, draw.positions[b]] = draw.positions[b][draw.negatives[b]] + b * frames
    return negatives


def fixed_gumbel(noise: Tensor) -> Any:
    """Stands for F.gumbel_softmax: the same noise on masked frames, (B T G, V) in their order."""

    def gumbel_softmax(logits: Tensor, tau: float, hard: bool) -> Tensor:
        assert hard
        soft = ((logits + noise) / tau).softmax(-1)
        choice = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft)
        return choice - soft.detach() + soft

    return gumbel_softmax


def both(theirs: Any, ours: ContrastiveModel, samples: Tensor, seed: int = 3) -> tuple[Any, PretextOutput]:
    """What both make of audio (2, S) with the same masks, negatives and Gumbel noise."""
    with torch.no_grad():
        frames = ours.encoder.encode_features(samples[:1], None)[0].shape[1]
    draw = draw_for(ours, frames, seed)
    groups, entries = ours.objective.quantizer.num_groups, ours.objective.quantizer.num_entries
    noise = -torch.empty(2, frames, groups, entries, dtype=samples.dtype).exponential_().log()
    with mock.patch("torch.nn.functional.gumbel_softmax", fixed_gumbel(noise.view(-1, entries))):
        expected = theirs(
            samples, mask_time_indices=draw.time_mask, sampled_negative_indices=their_negatives(draw, frames)
        )
    masked_noise = noise[draw.time_mask].view(*draw.positions.shape, groups, entries)
    found = ours(samples, draw._replace(temperature=2.0, noise=masked_noise))
    close(found.figures["loss"], expected.contrastive_loss.detach())
    close(found.figures["diversity_loss"], expected.diversity_loss.detach())
    close(found.loss.detach(), expected.loss.detach())
    return expected, found


def check_same_gradients(theirs: Any, ours: ContrastiveModel) -> None:
    """Of every parameter, as a share of its largest."""
    known = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in theirs.named_parameters()}
    pairs = pretraining_pairs(ours.encoder.config, ours.objective.quantizer)
    reference = to_ours(pairs, known, ours.state_dict())
    compared = 0
    for name, parameter in ours.named_parameters():
        if parameter.grad is not None:
            scale = float(reference[name].abs().max()) + 1e-6
            assert float((parameter.grad - reference[name]).abs().max()) < 1e-4 * max(scale, 1e-2), name
            compared += 1
    assert compared >= len(list(ours.parameters())) - 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_pretraining_loss_and_gradients(variant: Variant) -> None:
    theirs, ours = small_pair(variant)
    expected, found = both(theirs, ours, audio())
    found.loss.backward()
    expected.loss.backward()
    check_same_gradients(theirs, ours)


@pytest.mark.parametrize("variant", VARIANTS)
def test_three_updates_stay_together(variant: Variant) -> None:
    theirs, ours = small_pair(variant)
    start = {name: value.clone() for name, value in ours.state_dict().items()}
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-3) for model in (theirs, ours)]
    for update in range(3):
        outputs = both(theirs, ours, audio(), seed=update)  # which compares the losses
        for output, optimizer in zip(outputs, optimizers, strict=True):
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()
    reference = to_ours(pretraining_pairs(our_config(variant), QUANTIZER), theirs.state_dict(), ours.state_dict())
    for name, value in ours.state_dict().items():
        moved, apart = (value - start[name]).norm(), (value - reference[name]).norm()
        # The bias of keys shifts all scores alike: its gradient is rounding alone, of which Adam makes whole steps.
        assert apart <= (1.0 if name.endswith("qkv.bias") else 0.01) * moved, name


def test_the_published_base_of_full_size() -> None:
    quiet = reference_config("base").to_dict()
    names = ["hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"]
    names += ["feat_quantizer_dropout", "final_dropout", "layerdrop", "mask_feature_prob"]
    config = transformers.Wav2Vec2Config(**{name: quiet[name] for name in names})
    theirs, ours = pretraining_pair(config, ModelConfig(), ContrastiveConfig(**AS_THEIRS))
    expected, found = both(theirs, ours, audio()[:, :10_000])
    found.loss.backward()
    expected.loss.backward()
    check_same_gradients(theirs, ours)


@pytest.mark.parametrize("variant", VARIANTS)
def test_ctc_logits_and_loss(variant: Variant) -> None:
    torch.manual_seed(0)
    theirs = transformers.Wav2Vec2ForCTC(reference_config(variant)).eval()
    ours = CtcModel(our_config(variant), QUIET, 11, HeadConfig()).eval()
    ours.load_state_dict(to_ours(ctc_pairs(our_config(variant), "wav2vec2"), theirs.state_dict(), ours.state_dict()))
    labels = torch.tensor([[3, 4, 4, 5], [6, 7, -100, -100]])
    with torch.no_grad():
        expected = theirs(audio(), labels=labels)
        found = ours(audio()).logits
    close(found, expected.logits)
    loss = ctc_loss(found, torch.full((2,), 37), [[3, 4, 4, 5], [6, 7]])
    close(loss, expected.loss)


def test_padded_batches_of_the_variant_without_group_norm() -> None:
    """Theirs masks attention as ours does; group norm over padding is where references disagree with themselves."""
    torch.manual_seed(0)
    theirs = transformers.Wav2Vec2ForCTC(reference_config("large")).eval()
    ours = CtcModel(our_config("large"), QUIET, 11, HeadConfig()).eval()
    ours.load_state_dict(to_ours(ctc_pairs(our_config("large"), "wav2vec2"), theirs.state_dict(), ours.state_dict()))
    lengths = torch.tensor([12_000, 7_000])
    padded = audio()
    padded[1, 7_000:] = 0
    mask = (torch.arange(12_000) < lengths[:, None]).long()
    with torch.no_grad():
        expected = theirs(padded, attention_mask=mask).logits
        found = ours(padded, lengths)
    assert found.lengths is not None
    for row, frames in enumerate(found.lengths.tolist()):
        close(found.logits[row, :frames], expected[row, :frames])
