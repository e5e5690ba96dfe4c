"""Contrastive task: tell the quantized target of a masked frame from distractors (wav2vec 2.0, section 3.2)."""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.config import ContrastiveConfig, DropoutConfig, HealthConfig, ModelConfig, QuantizerConfig
from speechssl.model.encoder import Encoder
from speechssl.model.kernels.dropout import Dropout
from speechssl.model.masking import (
    equalize_mask,
    masked_positions,
    sample_channel_mask,
    sample_negatives,
    sample_time_mask,
)
from speechssl.model.quantizer import GumbelQuantizer, temperature_at
from speechssl.objectives.objective import PretextOutput, Symptom, at_chance, collapsed_codebooks, trivial_targets

AT_CHANCE_ADVICE = """\
Usual causes: a learning rate too low, or so high that the first updates threw the model off; too little audio per
update; masks so long or so dense that nothing can be guessed; silent or wrongly decoded audio (listen to a shard);
a codebook that has collapsed (see the perplexity above).
Remedies: try --optimizer.learning_rate three times lower and higher; more audio per update (--data.max_batch_seconds,
--data.num_streams); a smaller --objective.masking.time_prob or --objective.masking.time_length. A run in its warm-up
may only need patience: raise --health.patience_updates."""

CODEBOOK_ADVICE = """\
Usual causes: the diversity penalty is too weak for this batch size; the Gumbel temperature falls too fast; the
learning rate is too high; more entries than so little audio can fill.
Remedies: raise --objective.diversity_weight; bring --objective.quantizer.temperature_decay nearer 1; lower
--optimizer.learning_rate; use a smaller --objective.quantizer.num_entries."""

COLLAPSE_ADVICE = """\
The targets have become all but one code, which makes the task trivial: this is no success, the encoder learns nothing.
Usual causes: the diversity penalty is off or too weak; the features have shrunk to a constant (feature penalty or
learning rate too high).
Remedies: raise --objective.diversity_weight; lower --optimizer.learning_rate or --objective.feature_penalty; start
again, since a collapsed encoder rarely recovers."""


class ContrastiveDraw(NamedTuple):
    """The random choices of one micro-batch."""

    time_mask: Tensor
    """Masked frames, boolean (B, T), M in each row."""
    positions: Tensor
    """Indices of the masked frames, (B, M)."""
    negatives: Tensor
    """Distractors as indices into the masked frames, (B, M, N)."""
    channel_mask: Tensor | None
    """Channels set to zero, boolean (B, D); None if the masking configuration has none."""
    temperature: float
    """Of the Gumbel softmax."""
    noise: Tensor | None = None
    """Gumbel noise (B, M, G, V) instead of a fresh draw."""


class ContrastiveModel(nn.Module):
    """Encoder, quantizer and the two projections in whose space contexts and targets meet."""

    views: Literal["heard", "heard and clean"] = "heard and clean"

    def __init__(self, config: ModelConfig, objective: ContrastiveConfig, dropout: DropoutConfig) -> None:
        super().__init__()
        self.objective = objective
        self.encoder = Encoder(config, dropout)
        self.encoder.feature_grad_scale = objective.feature_grad_scale
        self.quantizer_dropout = Dropout(dropout.quantizer_input)
        self.quantizer = GumbelQuantizer(objective.quantizer, self.encoder.feature_encoder.out_channels)
        self.project_targets = nn.Linear(objective.quantizer.dim, objective.final_dim)
        self.project_context = nn.Linear(config.context.dim, objective.final_dim)

    def draw(self, batch: int, num_frames: int, rng: torch.Generator, *, update: int) -> ContrastiveDraw:
        """Draw masks and negatives for utterances of ``num_frames`` frames each."""
        masking = self.objective.masking
        lengths = torch.full((batch,), num_frames)
        mask = equalize_mask(sample_time_mask(lengths, num_frames, masking, rng), rng)
        positions = masked_positions(mask)
        negatives = sample_negatives(batch, positions.shape[1], self.objective.num_negatives, rng)
        channel_mask = sample_channel_mask(batch, self.encoder.config.context.dim, masking, rng)
        return ContrastiveDraw(mask, positions, negatives, channel_mask, self.quantizer.temperature(update))

    def forward(self, audio: Tensor, draw: ContrastiveDraw, *, clean: Tensor | None = None) -> PretextOutput:
        """Loss of one micro-batch of equally long crops; arguments as of :class:`Objective`."""
        encoded = self.encoder(audio, time_mask=draw.time_mask, channel_mask=draw.channel_mask)
        target_features = encoded.features if clean is None else self.encoder.normalized_features(clean)
        features = gather_frames(self.quantizer_dropout(target_features), draw.positions)  # (B, M, C)
        quantized = self.quantizer(features, temperature=draw.temperature, noise=draw.noise)
        targets = self.project_targets(quantized.vectors)  # (B, M, final)
        contexts = self.project_context(gather_frames(encoded.context, draw.positions))
        codes = code_ids(quantized.codes, self.objective.quantizer.num_entries)
        logits = contrastive_logits(contexts, targets, codes, draw.negatives, self.objective.temperature)
        contrastive_loss = -logits.log_softmax(-1)[..., 0].sum()
        num_targets = draw.positions.numel()
        penalties = (
            self.objective.diversity_weight * quantized.diversity_loss
            + self.objective.feature_penalty * encoded.feature_energy
        )
        figures = {
            "loss": contrastive_loss.detach(),
            "accuracy": (logits[..., 0] > logits[..., 1:].amax(-1)).sum(),
            "chance": chance_accuracy(codes, draw.negatives).sum(),
            "diversity_loss": quantized.diversity_loss.detach() * num_targets,
            "feature_energy": encoded.feature_energy.detach() * num_targets,
        }
        for group, value in enumerate(quantized.perplexity):
            figures[f"perplexity_{group}"] = value * num_targets
        return PretextOutput(contrastive_loss + penalties * num_targets, num_targets, figures, encoded.context.detach())

    def after_update(self, update: int) -> None:
        """Nothing: all that this task learns with is the optimiser's."""

    def symptoms(self, figures: Mapping[str, float], limits: HealthConfig) -> list[Symptom]:
        """Chance, collapsed codebooks, and targets that are all one code."""
        quantizer, targets = self.objective.quantizer, self.objective.num_negatives + 1
        entries = self.objective.codebooks
        text = []
        if "loss" in figures:
            text.append(
                f"Loss {figures['loss']:.3f} nats per target; chance is ln({targets}) = {math.log(targets):.3f}."
            )
        uses = [figures[name] for name in map("perplexity_{}".format, range(len(entries))) if name in figures]
        if uses:
            listed = ", ".join(f"{use:.1f}" for use in uses)
            text.append(f"Code perplexity {listed} of {quantizer.num_entries} entries.")
        measured = {"chance": 1 / targets} | dict(figures)
        return [
            *trivial_targets(figures, len(entries), advice=COLLAPSE_ADVICE),
            *collapsed_codebooks(figures, limits, entries, advice=CODEBOOK_ADVICE),
            *at_chance(measured, limits, text=" ".join(text), advice=AT_CHANCE_ADVICE),
        ]


def gather_frames(x: Tensor, positions: Tensor) -> Tensor:
    """Pick frames: (B, T, C) and (B, M) to (B, M, C)."""
    return x.gather(1, positions[:, :, None].expand(-1, -1, x.shape[2]))


def code_ids(codes: Tensor, num_entries: int) -> Tensor:
    """One number per combination of entries: (..., G) to (...)."""
    ids = codes[..., 0]
    for group in range(1, codes.shape[-1]):
        ids = ids * num_entries + codes[..., group]
    return ids


def contrastive_logits(
    contexts: Tensor, targets: Tensor, codes: Tensor, negatives: Tensor, temperature: float
) -> Tensor:
    """Cosine similarities over temperature of each target and its distractors.

    All pairs of an utterance come from one matrix product, from which scalars are gathered: no (B, M, N, dim) tensor.
    Distractors quantized to the same codes as the target are set to minus infinity.

    Args:
        contexts: (B, M, final).
        targets: (B, M, final).
        codes: one id per target, (B, M).
        negatives: indices into M, (B, M, N).
        temperature: divisor.

    Returns:
        (B, M, 1 + N), the target first.
    """
    with torch.autocast(contexts.device.type, enabled=False):
        dtype = torch.promote_types(contexts.dtype, torch.float32)
        contexts = F.normalize(contexts.to(dtype), dim=-1, eps=1e-8)
        targets = F.normalize(targets.to(dtype), dim=-1, eps=1e-8)
        similarities = torch.bmm(contexts, targets.transpose(1, 2)) / temperature  # (B, M, M)
        same = codes[:, :, None] == codes[:, None, :]  # (B, M, M)
        positive = similarities.diagonal(dim1=1, dim2=2)[..., None]
        distractors = similarities.masked_fill(same, float("-inf")).gather(2, negatives)
    return torch.cat([positive, distractors], dim=-1)


def chance_accuracy(codes: Tensor, negatives: Tensor) -> Tensor:
    """Accuracy of guessing at each target: one over the number of different vectors to choose from.

    1 / (N + 1) only if all distractors differ: they are drawn with replacement, those with the target's codes are left
    out, and those with equal codes are one vector. Short utterances and small codebooks leave far fewer than N.

    Args:
        codes: one id per target, at least 0, (B, M).
        negatives: indices into M, (B, M, N).

    Returns:
        (B, M), in 1 / (N + 1) .. 1.
    """
    drawn = codes[:, None, :].expand(-1, codes.shape[1], -1).gather(2, negatives)  # (B, M, N)
    ordered = drawn.masked_fill(drawn == codes[:, :, None], -1).sort(-1).values
    distinct = (ordered[..., 0] >= 0).long() + (ordered[..., 1:] != ordered[..., :-1]).sum(-1)
    return 1.0 / (1.0 + distinct)


def continue_contrastive(config: ContrastiveConfig, earlier: ContrastiveConfig, update: int) -> ContrastiveConfig:
    """The task that goes on from the weights of an earlier one: what is left open becomes that of it.

    The Gumbel temperature goes on from where it was after an ``update``.
    """
    own, default = config.quantizer, QuantizerConfig()
    theirs = replace(earlier.quantizer, temperature_start=temperature_at(earlier.quantizer, update))
    names = [item.name for item in fields(QuantizerConfig)]
    left_open = {name: getattr(theirs, name) for name in names if getattr(own, name) == getattr(default, name)}
    final_dim = earlier.final_dim if config.final_dim == ContrastiveConfig.final_dim else config.final_dim
    return replace(config, quantizer=replace(own, **left_open), final_dim=final_dim)
