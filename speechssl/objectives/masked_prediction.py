"""Masked prediction: name the unit of a masked frame (HuBERT, Hsu et al. 2021, section II.B).

Units, head and weights make the difference between HuBERT (k-means, cosine head), MelHuBERT (Lin et al. 2022: log-mel
units, linear head) and BEST-RQ (Chiu et al. 2022: random projection).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.config import DropoutConfig, HealthConfig, MaskedPredictionConfig, ModelConfig
from speechssl.model.encoder import Encoder
from speechssl.model.masking import equalize_mask, masked_positions, sample_channel_mask, sample_time_mask
from speechssl.objectives.contrastive import gather_frames
from speechssl.objectives.objective import (
    PretextOutput,
    Symptom,
    at_chance,
    collapsed_codebooks,
    refuse_others,
    trivial_targets,
)
from speechssl.objectives.units import Units

LEAST_MASKED = 0.01
LEAST_GAIN = 0.02
"""Share of the units' entropy by which the loss of a model that learns is smaller."""

AT_CHANCE_ADVICE = """\
Usual causes: a learning rate too low, or so high that the first updates threw the model off; too little audio per
update; masks so long or so dense that nothing can be guessed; silent or wrongly decoded audio (listen to a shard).
Remedies: try --optimizer.learning_rate three times lower and higher; more audio per update (--data.max_batch_seconds,
--data.num_streams); a smaller --objective.masking.time_prob or --objective.masking.time_length. A run in its warm-up
may only need patience: raise --health.patience_updates."""

CODEBOOK_ADVICE = """\
Usual causes: the units were fitted to audio unlike this, or to too little of it; audio that is silent or all alike.
Remedies: listen to a shard; raise --objective.units.fit_seconds; lower --objective.units.num_entries."""

TRIVIAL_ADVICE = """\
Every frame has the same unit, which makes the task trivial: this is no success, the encoder learns nothing.
Usual causes: --objective.units.num_entries of 1; silent audio; units of a layer that has collapsed.
Remedies: more entries; another --objective.units.checkpoint or --objective.units.layer; listen to a shard."""

UNMASKED_ADVICE = """\
Where nothing is hidden, nothing has to be guessed: the encoder learns to copy.
Usual cause: a --objective.masking.time_prob near 0.
Remedy: 0.65 or more, with --objective.masking.time_length 5 to 10."""


class MaskedPredictionDraw(NamedTuple):
    """The random choices of one micro-batch."""

    time_mask: Tensor
    """Masked frames, boolean (B, T), M in each row."""
    positions: Tensor
    """Indices of the masked frames, (B, M)."""
    others: Tensor
    """Indices of all other frames, (B, T - M)."""
    channel_mask: Tensor | None
    """Channels set to zero, boolean (B, D); None if the masking configuration has none."""


class MaskedPredictionModel(nn.Module):
    """Encoder, units, and a head for each of their codebooks."""

    views: Literal["heard", "heard and clean"] = "heard and clean"

    def __init__(
        self, config: ModelConfig, objective: MaskedPredictionConfig, dropout: DropoutConfig, units: Units
    ) -> None:
        super().__init__()
        self.objective = objective
        self.encoder = Encoder(config, dropout)
        self.encoder.feature_grad_scale = objective.feature_grad_scale
        self.units = units
        dim = config.context.dim
        self.heads = nn.ModuleList(
            CosineHead(dim, objective.cosine_dim, num, objective.temperature)
            if objective.cosine_dim
            else nn.Linear(dim, num)
            for num in objective.codebooks
        )

    def draw(self, batch: int, num_frames: int, rng: torch.Generator, *, update: int) -> MaskedPredictionDraw:
        """Draw masks for utterances of ``num_frames`` frames each."""
        masking = self.objective.masking
        lengths = torch.full((batch,), num_frames)
        mask = equalize_mask(sample_time_mask(lengths, num_frames, masking, rng), rng)
        channel_mask = sample_channel_mask(batch, self.encoder.config.context.dim, masking, rng)
        return MaskedPredictionDraw(mask, masked_positions(mask), masked_positions(~mask), channel_mask)

    def forward(self, audio: Tensor, draw: MaskedPredictionDraw, *, clean: Tensor | None = None) -> PretextOutput:
        """Loss of one micro-batch of equally long crops; arguments as of :class:`Objective`."""
        units = self.units(audio if clean is None else clean)  # (B, T, codebooks)
        encoded = self.encoder(audio, time_mask=draw.time_mask, channel_mask=draw.channel_mask)
        num_targets = draw.positions.numel()
        predicted, figures = predict_units(self.heads, encoded.context, units, draw.positions)
        figures["feature_energy"] = encoded.feature_energy.detach() * num_targets
        figures["masked_share"] = torch.full_like(predicted.detach(), num_targets**2 / draw.time_mask.numel())
        loss = predicted + self.objective.feature_penalty * encoded.feature_energy * num_targets
        if self.objective.unmasked_weight > 0:
            others = predict_units(self.heads, encoded.context, units, draw.others)[0]
            loss = loss + self.objective.unmasked_weight * others
        return PretextOutput(loss, num_targets, figures, encoded.context.detach())

    def after_update(self, update: int) -> None:
        """Nothing: all that this task learns with is the optimiser's."""

    def symptoms(self, figures: Mapping[str, float], limits: HealthConfig) -> list[Symptom]:
        """Nothing masked, chance, units that are not in use, and units that are all one."""
        entries = self.objective.codebooks
        text = ""
        if "loss" in figures:
            chance = sum(math.log(num) for num in entries)
            text = f"Loss {figures['loss']:.3f} nats per target; equal guesses give {chance:.3f}."
        found = [
            *nothing_masked(figures),
            *trivial_targets(figures, len(entries), advice=TRIVIAL_ADVICE),
            *collapsed_codebooks(figures, limits, entries, advice=CODEBOOK_ADVICE),
        ]
        if not tells_units_apart(figures, len(entries)):
            found += at_chance(figures, limits, text=text, advice=AT_CHANCE_ADVICE)
        return found


def tells_units_apart(figures: Mapping[str, float], num_codebooks: int) -> bool:
    """Whether the loss is below what the best fixed guess gives, the entropy of a micro-batch's units.

    What most frames are is learned first: accuracy may stay near chance for long while the loss falls below it.
    """
    perplexities = [figures.get(f"perplexity_{number}", 0.0) for number in range(num_codebooks)]
    if "loss" not in figures or min(perplexities) <= 0:
        return False
    return figures["loss"] < (1 - LEAST_GAIN) * sum(math.log(value) for value in perplexities)


def predict_units(
    heads: nn.ModuleList, context: Tensor, units: Tensor, positions: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of units (B, T, codebooks) at positions (B, M) of the context vectors (B, T, D), and its figures.

    A head for each codebook; the rest as of :func:`cross_entropies`.
    """
    contexts = gather_frames(context, positions)
    targets = gather_frames(units, positions).unbind(-1)  # one (B, M) for each codebook
    return cross_entropies([head(contexts) for head in heads], targets)


def cross_entropies(logits: Sequence[Tensor], targets: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of codes (B, M) given logits (B, M, V) for each codebook, added up over frames and codebooks.

    Also the figures of the log: ``loss``, ``accuracy``, ``chance`` and the perplexity of each codebook.
    """
    losses, correct, chances, figures = [], [], [], {}
    for number, (scores, target) in enumerate(zip(logits, targets, strict=True)):
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        losses.append(F.cross_entropy(scores.flatten(0, 1), target.flatten(), reduction="sum"))
        correct.append((scores.argmax(-1) == target).sum())
        counts = target.new_zeros(scores.shape[-1])  # (V,)
        counts.scatter_add_(0, target.flatten(), torch.ones_like(target).flatten())
        shares = counts / max(1, target.numel())
        chances.append(counts.amax())
        entropy = -(shares * (shares + 1e-9).log()).sum()
        figures[f"perplexity_{number}"] = entropy.exp() * target.numel()
    loss = torch.stack(losses).sum()
    figures["loss"] = loss.detach()
    figures["accuracy"] = torch.stack(correct).float().mean()
    figures["chance"] = torch.stack(chances).float().mean()
    return loss, figures


def nothing_masked(figures: Mapping[str, float]) -> list[Symptom]:
    """Masks that hide nothing, whatever is predicted of what they hide."""
    if "masked_share" not in figures:
        return []
    share = figures["masked_share"]
    text = f"{share:.1%} of the frames are masked, {LEAST_MASKED:.0%} are the least that can teach anything"
    return [Symptom("unmasked", "nothing is masked", not share >= LEAST_MASKED, text, UNMASKED_ADVICE)]


class CosineHead(nn.Module):
    """Cosine similarity over temperature between projected contexts and learned embeddings of the units, as published.

    Args:
        dim: of contexts, D.
        final_dim: in which they are compared.
        num_entries: units V.
        temperature: divisor of the similarities.
    """

    def __init__(self, dim: int, final_dim: int, num_entries: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.projection = nn.Linear(dim, final_dim)
        self.embeddings = nn.Parameter(torch.empty(num_entries, final_dim).uniform_())

    def forward(self, contexts: Tensor) -> Tensor:
        """Contexts (B, M, D) to logits (B, M, V)."""
        with torch.autocast(contexts.device.type, enabled=False):
            x = self.projection(contexts.to(self.embeddings.dtype))
            similarities = F.normalize(x, dim=-1, eps=1e-8) @ F.normalize(self.embeddings, dim=-1, eps=1e-8).T
        return similarities / self.temperature


def continue_masked_prediction(
    config: MaskedPredictionConfig, earlier: MaskedPredictionConfig
) -> MaskedPredictionConfig:
    """The task that goes on with the units and heads of an earlier one, which are in its weights.

    Raises:
        ConfigError: others were asked for.
    """
    refuse_others(*map(in_the_weights, (config, earlier, MaskedPredictionConfig())))
    # Where the encoder of a layer lies now, if it was moved.
    units = replace(earlier.units, checkpoint=config.units.checkpoint or earlier.units.checkpoint)
    is_open = config.temperature == MaskedPredictionConfig.temperature
    temperature = earlier.temperature if is_open else config.temperature
    return replace(config, units=units, cosine_dim=earlier.cosine_dim, temperature=temperature)


def in_the_weights(config: MaskedPredictionConfig) -> dict[str, object]:
    """What decides which weights a task has, or what they mean."""
    names = ("features", "layer", "clustering", "num_entries", "dim")
    return {f"units.{name}": getattr(config.units, name) for name in names} | {"cosine_dim": config.cosine_dim}
