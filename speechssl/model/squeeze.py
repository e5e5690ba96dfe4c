"""Fewer frames for the transformer: neighbours averaged before its blocks, spread out again after them.

After SEW (Wu et al. 2022), which squeezes wav2vec 2.0; the residual connection around the squeezed part is that of the
hourglass transformer (Nawrot et al. 2022). docs/decisions.md says how it differs from both.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Squeeze(nn.Module):
    """Averages every R frames into one, and makes R frames of one again.

    Args:
        dim: model dimension D.
        factor: R.
    """

    def __init__(self, dim: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(dim, factor * dim)
        self.norm = nn.LayerNorm(dim)

    def squeezed_lengths(self, lengths: Tensor) -> Tensor:
        """Squeezed frames of utterances, the last of which may be of fewer than R: (B,) to (B,)."""
        return (lengths + self.factor - 1) // self.factor

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Mean of every R frames that lie inside the utterance, (B, T, D) to (B, T / R, D), rounded up.

        Args:
            x: frames, zero outside their utterances.
            valid: which frames lie inside, (B, T); None if all do.
        """
        if valid is None:
            valid = torch.ones(1, x.shape[1], dtype=torch.bool, device=x.device)
        counts = self.grouped(valid[:, :, None].to(x.dtype)).sum(2).clamp(min=1)  # (B, T / R, 1)
        return self.grouped(x).sum(2) / counts

    def grouped(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T / R, R, D), rounded up, with zeros at the end."""
        groups = (x.shape[1] + self.factor - 1) // self.factor
        return F.pad(x, (0, 0, 0, self.factor - 1))[:, : groups * self.factor].unflatten(1, (groups, self.factor))

    def spread(self, squeezed: Tensor, x: Tensor) -> Tensor:
        """Squeezed frames (B, T / R, D) spread out and added to the frames (B, T, D) they were made of, then normed."""
        expanded = self.expand(squeezed).unflatten(2, (self.factor, -1)).flatten(1, 2)  # (B, at least T, D)
        return self.norm(x + expanded[:, : x.shape[1]])

    def repeat(self, squeezed: Tensor, num_frames: int) -> Tensor:
        """Every squeezed frame R times, (B, T / R, D) to (B, T, D)."""
        return squeezed.repeat_interleave(self.factor, dim=1)[:, :num_frames]
