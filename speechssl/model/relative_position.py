"""Gated relative position bias in self-attention (WavLM, Chen et al. 2022, section III-B)."""

import math

import torch
from torch import Tensor, nn


def distance_buckets(num_buckets: int, max_distance: int) -> Tensor:
    """Bucket of each distance in frames whatever its direction, (max_distance + 1,).

    Of n buckets, distances d below n / 4 have one each. Those up to ``max_distance`` (m) share n / 4 more that widen
    logarithmically, ``n / 4 + floor(n / 4 * log(4 d / n) / log(4 m / n))``; the last, n / 2 - 1, takes all beyond.
    """
    exact = num_buckets // 4
    distances = torch.arange(max_distance + 1)
    # In float64: rounding must not decide on which side of a bucket's edge a distance falls.
    share = torch.log(distances.clamp(min=exact).double() / exact) / math.log(max_distance / exact)
    wide = (exact + (share * exact).long()).clamp(max=2 * exact - 1)
    return torch.where(distances < exact, distances, wide)


class RelativePositionBias(nn.Module):
    """One number per head for each bucket of the offset from query to key, shared by all blocks.

    Args:
        num_heads: attention heads.
        num_buckets: half of them for keys after the query, half for the others.
        max_distance: frames from which on all distances are one bucket.
    """

    buckets: Tensor

    def __init__(self, num_heads: int, *, num_buckets: int, max_distance: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_buckets, num_heads)
        nn.init.normal_(self.embedding.weight, std=0.02)
        # A table, so that the logarithms of all devices put a distance into the same bucket.
        self.register_buffer("buckets", distance_buckets(num_buckets, max_distance), persistent=False)

    def forward(self, num_frames: int) -> Tensor:
        """Bias between T frames, (heads, T, T): queries in the second dimension, keys in the third."""
        offsets = torch.arange(1 - num_frames, num_frames, device=self.buckets.device)  # (2 T - 1,)
        # Looked up once per offset, not per pair: the gradient adds up 2 T - 1 rows instead of T^2.
        values = self.embedding(self.bucket_of(offsets)).t()  # (heads, 2 T - 1)
        # Row i, of query i, is the window of T offsets that begins at -i.
        return values.unfold(1, num_frames, 1).flip(1)

    def bucket_of(self, offsets: Tensor) -> Tensor:
        """Bucket of each offset, key minus query in frames; any shape."""
        buckets = self.buckets[offsets.abs().clamp(max=self.buckets.shape[0] - 1)]
        return buckets + (offsets > 0) * (self.embedding.num_embeddings // 2)


class PositionGate(nn.Module):
    """How much of the bias each frame takes, per head, from what the frame holds: (B, T, D) to (B, heads, T, 1).

    ``2 + a (s b - 1)`` with two gates a and b in 0..1 and a learned scale s, which is the paper's 1 + update +
    (1 - update) s reset for a = 1 - update and b = reset. As in the published code, the gates see the head's part of
    the input of attention, not its query, and the score of each is the sum of four projections.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.linear = nn.Linear(dim // num_heads, 8)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)
        self.scale = nn.Parameter(torch.ones(num_heads))

    def forward(self, x: Tensor) -> Tensor:
        heads = x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, T, D / heads)
        a, b = self.linear(heads).unflatten(-1, (2, 4)).sum(-1).sigmoid().split(1, dim=-1)
        return 2.0 + a * (self.scale[:, None, None] * b - 1.0)
