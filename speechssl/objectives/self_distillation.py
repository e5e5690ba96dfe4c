"""Self-distillation: say of masked frames what a slow teacher says who hears them.

Regression of the mean of the teacher's top layers (data2vec, Baevski et al. 2022), or cross-entropy on the entries of
codebooks that follow these layers (DinoSR, Liu et al. 2023; SpidR, Poli et al. 2025). Masked prediction may anchor it.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.config import DropoutConfig, HealthConfig, ModelConfig, SelfDistillationConfig
from speechssl.model.encoder import Encoder, EncoderOutput
from speechssl.model.masking import equalize_mask, masked_positions, sample_channel_mask, sample_time_mask
from speechssl.objectives.contrastive import gather_frames
from speechssl.objectives.masked_prediction import cross_entropies, nothing_masked, predict_units
from speechssl.objectives.objective import (
    PretextOutput,
    Symptom,
    at_chance,
    collapsed_codebooks,
    refuse_others,
    trivial_targets,
)
from speechssl.objectives.online_codebooks import OnlineCodebooks
from speechssl.objectives.teacher import Teacher
from speechssl.objectives.units import Units

LEAST_TARGET_DEVIATION = 0.1
LEAST_PREDICTION_DEVIATION = 0.01
"""Standard deviations over masked frames, as means over channels, at which the published code of data2vec stops."""
LEAST_EXPLAINED = 0.02
"""Share of the targets' variance that a student which learns explains soon."""
LEAST_MOVEMENT = 1e-9
"""Of the teacher in an update, as a share of its size; float32 cannot say much less."""

COLLAPSE_ADVICE = """\
The teacher has come to say the same of every frame, and the student to repeat it: this is no success, the encoder
learns nothing.
Usual causes: targets that are not normalised; a teacher that follows too fast; a learning rate too high or a warm-up
too short; masks too sparse.
Remedies: --objective.normalize_targets true; bring --objective.teacher.decay_start and decay_end nearer 1; lower
--optimizer.learning_rate, lengthen --schedule.warmup; anchor it with --objective.anchor.weight 1. Start again, since a
collapsed teacher does not recover."""

CODEBOOK_ADVICE = """\
Usual causes: a teacher whose frames have become alike; more entries than the frames of an update can fill; entries that
began so far out that no frame reaches them.
Remedies: lower --objective.codebook.num_entries or --objective.codebook.initial_scale; more audio per update
(--data.max_batch_seconds, --data.num_streams); bring --objective.teacher.decay_start and decay_end nearer 1; anchor it
with --objective.anchor.weight 1."""

AT_CHANCE_ADVICE = """\
Usual causes: a learning rate too low, or so high that the first updates threw the model off; too little audio per
update; masks so long or so dense that nothing can be guessed; a teacher that changes faster than the student learns.
Remedies: try --optimizer.learning_rate three times lower and higher; more audio per update (--data.max_batch_seconds,
--data.num_streams); a smaller --objective.masking.time_prob or time_length; bring --objective.teacher.decay_start and
decay_end nearer 1. A run in its warm-up may only need patience: raise --health.patience_updates."""

STILL_ADVICE = """\
A teacher that stays what it was teaches its random weights and no more.
Usual causes: --objective.teacher.decay_start and decay_end of 1, or within rounding of it; a learning rate of 0.
Remedies: 0.999 to 0.9999 as published, and less where updates are few."""


class SelfDistillationDraw(NamedTuple):
    """The random choices of one micro-batch."""

    time_mask: Tensor
    """Masked frames, boolean (B, T), M in each row."""
    positions: Tensor
    """Indices of the masked frames, (B, M)."""
    channel_mask: Tensor | None
    """Channels set to zero, boolean (B, D); None if the masking configuration has none."""


class SelfDistillationModel(nn.Module):
    """Encoder, the teacher that follows it, and the heads that predict what it says.

    Args:
        config: of the encoder.
        objective: the task.
        dropout: noise inside the student.
        units: what the anchor predicts; None if there is none.
    """

    views: Literal["heard", "heard and clean"] = "heard and clean"

    def __init__(
        self, config: ModelConfig, objective: SelfDistillationConfig, dropout: DropoutConfig, units: Units | None
    ) -> None:
        super().__init__()
        self.objective = objective
        self.encoder = Encoder(config, dropout)  # before the teacher: what searches for a context network finds it
        self.encoder.feature_grad_scale = objective.feature_grad_scale
        self.teacher = Teacher(self.encoder.context, objective.teacher, normalize=objective.normalize_targets)
        dim, entries = config.context.dim, objective.codebooks
        self.codebooks = OnlineCodebooks(len(entries), dim, objective.codebook) if entries else None
        self.heads = nn.ModuleList(nn.Linear(dim, num) for num in entries or [dim])
        self.units = units
        self.anchor_heads = nn.ModuleList(nn.Linear(dim, num) for num in units.config.num_entries) if units else None

    def draw(self, batch: int, num_frames: int, rng: torch.Generator, *, update: int) -> SelfDistillationDraw:
        """Draw masks for utterances of ``num_frames`` frames each."""
        masking = self.objective.masking
        lengths = torch.full((batch,), num_frames)
        mask = equalize_mask(sample_time_mask(lengths, num_frames, masking, rng), rng)
        channel_mask = sample_channel_mask(batch, self.encoder.config.context.dim, masking, rng)
        return SelfDistillationDraw(mask, masked_positions(mask), channel_mask)

    def forward(self, audio: Tensor, draw: SelfDistillationDraw, *, clean: Tensor | None = None) -> PretextOutput:
        """Loss of one micro-batch of equally long crops; arguments as of :class:`Objective`."""
        encoded = self.encoder(
            audio,
            time_mask=draw.time_mask,
            channel_mask=draw.channel_mask,
            keep_layers=self.objective.predict_from == "same",
        )
        targets = self.targets(encoded, clean, draw.positions)  # (K, B, M, D)
        predict = self.regress if self.codebooks is None else self.classify
        loss, figures = predict(encoded, targets, draw.positions)
        num_targets = draw.positions.numel()
        figures["target_deviation"] = mean_deviation(targets) * num_targets
        figures["teacher_movement"] = self.teacher.movement * num_targets
        figures["masked_share"] = torch.full_like(loss.detach(), num_targets**2 / draw.time_mask.numel())
        if self.units is not None and self.anchor_heads is not None:
            units = self.units(audio if clean is None else clean)
            anchor, of_units = predict_units(self.anchor_heads, encoded.context, units, draw.positions)
            loss = loss + self.objective.anchor.weight * anchor
            figures |= {f"anchor_{name}": of_units[name] for name in ("loss", "accuracy", "chance")}
        return PretextOutput(loss, num_targets, figures, encoded.context.detach())

    @torch.no_grad()
    def targets(self, encoded: EncoderOutput, clean: Tensor | None, positions: Tensor) -> Tensor:
        """What the teacher says of the masked frames: (K, B, M, D), or (1, B, M, D) of layers that are averaged."""
        features = encoded.features if clean is None else self.encoder.normalized_features(clean)
        layers = self.teacher(self.encoder.projection(features))
        if self.codebooks is None:
            layers = layers.mean(0, keepdim=True)
        return torch.stack([gather_frames(layer, positions) for layer in layers])

    def regress(self, encoded: EncoderOutput, targets: Tensor, positions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared or smooth L1 error over the root of the dimension, summed over frames (data2vec, section 3.4)."""
        x = self.heads[0](gather_frames(encoded.context, positions)).to(targets.dtype)  # (B, M, D)
        y, beta, num_targets = targets[0], self.objective.smooth_l1_beta, positions.numel()
        errors = F.mse_loss(x, y, reduction="sum") if beta == 0 else F.smooth_l1_loss(x, y, reduction="sum", beta=beta)
        loss = errors / math.sqrt(x.shape[-1])
        variance = (y - y.mean((0, 1))).square().sum()
        explained = 1 - (x.detach() - y).square().sum() / variance.clamp(min=1e-9)
        figures = {
            "loss": loss.detach(),
            "explained": explained * num_targets,
            "prediction_deviation": mean_deviation(x.detach()[None]) * num_targets,
        }
        return loss, figures

    def classify(self, encoded: EncoderOutput, targets: Tensor, positions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the nearest entries, the mean over codebooks, summed over frames (DinoSR, section 3.3)."""
        assert self.codebooks is not None
        codes = self.codebooks(targets.flatten(1, 2)).view(targets.shape[:-1])  # (K, B, M)
        logits = [
            head(gather_frames(context, positions))
            for head, context in zip(self.heads, self.predicted_from(encoded), strict=True)
        ]
        total, figures = cross_entropies(logits, codes.unbind())
        figures["loss"] = figures["loss"] / len(logits)
        return total / len(logits), figures

    def predicted_from(self, encoded: EncoderOutput) -> list[Tensor]:
        """Vectors (B, T, D) from which each codebook is predicted."""
        num_codebooks = len(self.heads)
        if self.objective.predict_from == "last":
            return [encoded.context] * num_codebooks
        # The last block's with the final norm, which else would not learn.
        return [*encoded.layers[len(encoded.layers) - num_codebooks : -1], encoded.context]

    def after_update(self, update: int) -> None:
        """Move the codebooks by what the teacher has said, then the teacher towards the student."""
        if self.codebooks is not None:
            self.codebooks.move()
        self.teacher.follow(self.encoder.context, update)

    def symptoms(self, figures: Mapping[str, float], limits: HealthConfig) -> list[Symptom]:
        """Nothing masked, a teacher that stands still, targets or predictions that are all alike, chance."""
        entries = self.objective.codebooks
        return [
            *nothing_masked(figures),
            *standing_still(figures),
            *all_alike(figures),
            *explains_nothing(figures),
            *trivial_targets(figures, len(entries), advice=COLLAPSE_ADVICE),
            *collapsed_codebooks(figures, limits, entries, advice=CODEBOOK_ADVICE),
            *at_chance(figures, limits, text="", advice=AT_CHANCE_ADVICE),
        ]


def mean_deviation(x: Tensor) -> Tensor:
    """Standard deviation of each channel of (K, B, M, D) over frames, the mean over channels and layers."""
    frames = x.flatten(1, 2)
    if frames.shape[1] == 0:
        return x.new_zeros(())
    return frames.var(1, correction=0).sqrt().mean()


def standing_still(figures: Mapping[str, float]) -> list[Symptom]:
    """A teacher that does not follow."""
    if "teacher_movement" not in figures:
        return []
    moved = figures["teacher_movement"]
    text = (
        f"the teacher moves by {moved:.1e} of its size in an update; {LEAST_MOVEMENT:.0e} is the least that is moving"
    )
    return [Symptom("still", "the teacher stands still", not moved >= LEAST_MOVEMENT, text, STILL_ADVICE)]


def all_alike(figures: Mapping[str, float]) -> list[Symptom]:
    """Targets or predictions that hardly vary from frame to frame."""
    judged = {"target": LEAST_TARGET_DEVIATION, "prediction": LEAST_PREDICTION_DEVIATION}
    return [
        Symptom(
            f"alike {name}s",
            "collapse",
            not figures[f"{name}_deviation"] >= least,
            f"the {name}s' standard deviation over frames is {figures[f'{name}_deviation']:.4f}, below {least:g} they "
            "are all alike",
            COLLAPSE_ADVICE,
        )
        for name, least in judged.items()
        if f"{name}_deviation" in figures
    ]


def explains_nothing(figures: Mapping[str, float]) -> list[Symptom]:
    """A student that does no better than the mean of the targets."""
    if "explained" not in figures:
        return []
    share = figures["explained"]
    text = (
        f"the student explains {share:.1%} of the targets' variance, {LEAST_EXPLAINED:.0%} are the least that is "
        "learning; their mean explains none"
    )
    return [Symptom("explains nothing", "at chance", not share >= LEAST_EXPLAINED, text, AT_CHANCE_ADVICE)]


def continue_self_distillation(
    config: SelfDistillationConfig, earlier: SelfDistillationConfig
) -> SelfDistillationConfig:
    """The task that goes on with the teacher, codebooks and heads of an earlier one, which are in its weights.

    Raises:
        ConfigError: others were asked for.
    """
    refuse_others(*map(in_the_weights, (config, earlier, SelfDistillationConfig())))
    weight = config.anchor.weight if config.anchor.weight and earlier.anchor.weight else earlier.anchor.weight
    return replace(
        config,
        targets=earlier.targets,
        predict_from=earlier.predict_from,
        teacher=replace(config.teacher, top_layers=earlier.teacher.top_layers),
        codebook=replace(config.codebook, num_entries=earlier.codebook.num_entries),
        anchor=replace(earlier.anchor, weight=weight),
    )


def in_the_weights(config: SelfDistillationConfig) -> dict[str, object]:
    """What decides which weights a task has, or what they mean."""
    return {
        "targets": config.targets,
        "predict_from": config.predict_from,
        "teacher.top_layers": config.teacher.top_layers,
        "codebook.num_entries": config.codebook.num_entries,
        "anchor.units": config.anchor.units,
    }
