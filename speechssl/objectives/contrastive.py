"""Contrastive task: tell the quantized target of a masked frame from distractors (wav2vec 2.0, section 3.2)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.config import ContrastiveConfig, DropoutConfig, ModelConfig
from speechssl.model.encoder import Encoder
from speechssl.model.kernels.dropout import Dropout
from speechssl.model.masking import (
    equalize_mask,
    masked_positions,
    sample_channel_mask,
    sample_negatives,
    sample_time_mask,
)
from speechssl.model.quantizer import GumbelQuantizer


class PretextDraw(NamedTuple):
    """The random choices of one micro-batch."""

    time_mask: Tensor
    """Masked frames, boolean (B, T), M in each row."""
    positions: Tensor
    """Indices of the masked frames, (B, M)."""
    negatives: Tensor
    """Distractors as indices into the masked frames, (B, M, N)."""
    channel_mask: Tensor | None
    """Channels set to zero, boolean (B, D); None if the masking configuration has none."""


class ContrastiveOutput(NamedTuple):
    """Sums over the masked frames of a micro-batch; divide by the update's number of targets."""

    loss: Tensor
    """Total loss: contrastive plus weighted diversity and feature penalties, times the masked frames."""
    contrastive_loss: Tensor
    """Contrastive part in nats; chance is ln(N + 1) per target."""
    diversity_loss: Tensor
    """Diversity penalty, in 0..1, before its weight."""
    feature_energy: Tensor
    """Mean squared feature-encoder output, before its weight."""
    num_correct: Tensor
    """Targets scored above all their distractors."""
    num_correct_by_chance: Tensor
    """What guessing would get right, given the distractors that were really drawn."""
    perplexity: Tensor
    """Perplexity of the chosen codes, per group, (G,)."""
    context: Tensor
    """Context vectors, (B, T, D)."""


class ContrastiveModel(nn.Module):
    """Encoder, quantizer and the two projections in whose space contexts and targets meet."""

    def __init__(self, config: ModelConfig, objective: ContrastiveConfig, dropout: DropoutConfig) -> None:
        super().__init__()
        self.objective = objective
        self.encoder = Encoder(config, dropout)
        self.encoder.feature_grad_scale = objective.feature_grad_scale
        self.quantizer_dropout = Dropout(dropout.quantizer_input)
        self.quantizer = GumbelQuantizer(objective.quantizer, self.encoder.feature_encoder.out_channels)
        self.project_targets = nn.Linear(objective.quantizer.dim, objective.final_dim)
        self.project_context = nn.Linear(config.context.dim, objective.final_dim)

    def draw(self, batch: int, num_frames: int, generator: torch.Generator) -> PretextDraw:
        """Draw masks and negatives for utterances of ``num_frames`` frames each."""
        masking = self.objective.masking
        lengths = torch.full((batch,), num_frames)
        mask = equalize_mask(sample_time_mask(lengths, num_frames, masking, generator), generator)
        positions = masked_positions(mask)
        negatives = sample_negatives(batch, positions.shape[1], self.objective.num_negatives, generator)
        channel_mask = sample_channel_mask(batch, self.encoder.config.context.dim, masking, generator)
        return PretextDraw(mask, positions, negatives, channel_mask)

    def forward(
        self,
        audio: Tensor,
        draw: PretextDraw,
        *,
        temperature: float,
        noise: Tensor | None = None,
        clean: Tensor | None = None,
    ) -> ContrastiveOutput:
        """Loss of one micro-batch of equally long crops.

        Args:
            audio: waveforms, (B, S).
            draw: masks and negatives on the audio's device.
            temperature: Gumbel temperature.
            noise: Gumbel noise (B, M, G, V) instead of a fresh draw.
            clean: waveforms for the targets, (B, S), if the audio was augmented.
        """
        encoded = self.encoder(audio, time_mask=draw.time_mask, channel_mask=draw.channel_mask)
        target_features = encoded.features if clean is None else self.encoder.normalized_features(clean)
        features = gather_frames(self.quantizer_dropout(target_features), draw.positions)  # (B, M, C)
        quantized = self.quantizer(features, temperature=temperature, noise=noise)
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
        return ContrastiveOutput(
            loss=contrastive_loss + penalties * num_targets,
            contrastive_loss=contrastive_loss.detach(),
            diversity_loss=quantized.diversity_loss.detach(),
            feature_energy=encoded.feature_energy.detach(),
            num_correct=(logits[..., 0] > logits[..., 1:].amax(-1)).sum(),
            num_correct_by_chance=chance_accuracy(codes, draw.negatives).sum(),
            perplexity=quantized.perplexity,
            context=encoded.context.detach(),
        )


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
