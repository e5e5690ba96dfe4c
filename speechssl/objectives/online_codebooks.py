"""Codebooks that follow what they cluster, an update at a time (DinoSR, Liu et al. 2023, section 3.2)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.config import OnlineCodebookConfig


class Seen(NamedTuple):
    """What the micro-batches of an update have given to the entries so far, on this rank."""

    sums: Tensor
    """Of the vectors that each entry was nearest to, (K, V, D)."""
    counts: Tensor
    """Their numbers, (K, V)."""


class OnlineCodebooks(nn.Module):
    """K codebooks whose entries are moving averages of the vectors that they are nearest to.

    An update moves them once, by what all its micro-batches on all ranks have given; so neither accumulation nor the
    number of processes changes them. An entry that was nearest to nothing stays where it is.

    Args:
        num_codebooks: K.
        dim: of the vectors, D.
        config: entries of each, how fast they move, where they begin.
    """

    sums: Tensor
    counts: Tensor

    def __init__(self, num_codebooks: int, dim: int, config: OnlineCodebookConfig) -> None:
        super().__init__()
        self.config = config
        entries = torch.randn(num_codebooks, dim, config.num_entries)
        if config.num_entries > 1:
            entries = F.instance_norm(entries)  # as published: each dimension of unit variance over the entries
        self.register_buffer("sums", config.initial_scale * entries.transpose(1, 2).contiguous())
        self.register_buffer("counts", torch.ones(num_codebooks, config.num_entries))
        # Of an unfinished update, which no checkpoint holds.
        self.seen: Seen | None = None

    @property
    def entries(self) -> Tensor:
        """(K, V, D)."""
        return self.sums / self.counts[..., None]

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Numbers of the nearest entries of vectors (K, N, D), in Euclidean distance: (K, N).

        In training they are noted for the next move.
        """
        with torch.autocast(x.device.type, enabled=False):
            x, entries = x.to(self.sums.dtype), self.entries
            scores = 2 * x @ entries.transpose(1, 2) - entries.square().sum(-1)[:, None]  # (K, N, V)
            nearest = scores.argmax(-1)
            if self.training:
                chosen = F.one_hot(nearest, self.config.num_entries).to(x.dtype)  # (K, N, V)
                self._note(Seen(chosen.transpose(1, 2) @ x, chosen.sum(1)))
        return nearest

    def _note(self, seen: Seen) -> None:
        """Add what a micro-batch gives."""
        before = self.seen
        self.seen = seen if before is None else Seen(before.sums + seen.sums, before.counts + seen.counts)

    @torch.no_grad()
    def move(self) -> None:
        """Move the entries once an update is done; every rank must call it."""
        if self.seen is None:
            return
        (sums, counts), self.seen = self.seen, None
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
            torch.distributed.all_reduce(counts)
        kept = torch.ones_like(counts).masked_fill_(counts > 0, self.config.decay)  # (K, V)
        self.counts.mul_(kept).add_((1 - kept) * counts)
        self.sums.mul_(kept[..., None]).add_((1 - kept)[..., None] * sums)
