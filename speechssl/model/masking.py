"""Span masks and negatives: what the pretext task hides, and what it is told apart from.

Everything is drawn from a generator that the caller seeds by (seed, update, stream), so it does not depend on how many
processes run.
"""

import torch
from torch import Tensor

from speechssl.config import MaskingConfig


def sample_span_mask(
    lengths: Tensor, size: int, *, prob: float, span_length: int, min_spans: int, rng: torch.Generator
) -> Tensor:
    """Draw spans per row: (B,) lengths to a boolean (B, size) mask (wav2vec 2.0, section 3.1 and appendix A).

    A row of n positions gets ``floor(prob * n / span_length + u)`` spans (u uniform, the same for every row), at least
    ``min_spans``, at starts drawn without replacement; spans may overlap. A row shorter than a span gets none.
    """
    batch = lengths.shape[0]
    lengths = lengths.cpu()
    rounding = torch.rand((), generator=rng)
    starts_available = (lengths - span_length + 1).clamp(min=0)  # (B,)
    num_spans = (prob * lengths / span_length + rounding).long().clamp(min=min_spans)
    num_spans = torch.minimum(num_spans, starts_available)
    most = int(num_spans.max()) if batch else 0
    mask = torch.zeros(batch, size, dtype=torch.bool)
    if most == 0 or prob == 0:
        return mask
    scores = torch.rand(batch, size, generator=rng)
    scores.masked_fill_(torch.arange(size) >= starts_available[:, None], -1.0)
    starts = scores.topk(most, dim=1).indices  # (B, spans)
    used = torch.arange(most) < num_spans[:, None]
    positions = starts[:, :, None] + torch.arange(span_length)  # (B, spans, length)
    rows = torch.arange(batch)[:, None, None].expand_as(positions)
    keep = used[:, :, None].expand_as(positions)
    mask[rows[keep], positions[keep]] = True
    return mask


def sample_time_mask(lengths: Tensor, num_frames: int, masking: MaskingConfig, rng: torch.Generator) -> Tensor:
    """Time spans of a masking configuration over each utterance's frames: (B,) lengths to a boolean (B, T) mask."""
    return sample_span_mask(
        lengths,
        num_frames,
        prob=masking.time_prob,
        span_length=masking.time_length,
        min_spans=masking.min_time_spans,
        rng=rng,
    )


def sample_channel_mask(batch: int, dim: int, masking: MaskingConfig, rng: torch.Generator) -> Tensor | None:
    """Channel spans of a masking configuration, boolean (B, D); None without them."""
    if masking.channel_prob == 0:
        return None
    return sample_span_mask(
        torch.full((batch,), dim),
        dim,
        prob=masking.channel_prob,
        span_length=masking.channel_length,
        min_spans=0,
        rng=rng,
    )


def equalize_mask(mask: Tensor, rng: torch.Generator) -> Tensor:
    """Unmask random frames until every row has as many as the row with the fewest, as the reference does."""
    fewest = int(mask.sum(1).min())
    scores = torch.rand(mask.shape, generator=rng).masked_fill_(~mask, -1.0)
    kept = scores.topk(fewest, dim=1).indices if fewest else scores[:, :0].long()
    return torch.zeros_like(mask).scatter_(1, kept, value=True)


def masked_positions(mask: Tensor) -> Tensor:
    """Indices of the masked frames, (B, T) boolean to (B, M); every row must have M of them."""
    return mask.nonzero()[:, 1].view(mask.shape[0], -1)


def sample_negatives(batch: int, num_masked: int, num_negatives: int, rng: torch.Generator) -> Tensor:
    """Draw distractors among the other masked frames of the same utterance, with replacement.

    Returns:
        Indices into the M masked frames, (B, M, N); entry [b, m] never holds m.
    """
    if num_masked < 2:
        raise ValueError(f"negatives need at least 2 masked frames per utterance, found {num_masked}")
    draws = torch.randint(num_masked - 1, (batch, num_masked, num_negatives), generator=rng)
    return draws + (draws >= torch.arange(num_masked)[:, None])
