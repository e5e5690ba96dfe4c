"""The views of a whole update, from the micro-batches of all streams and processes."""

import re
from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor

from speechssl.data.batches import Batch
from speechssl.objectives.two_view import UpdateViews
from speechssl.shards.table import key_hash

_PIECE = re.compile(r"-\d{5}$")  # that ``speechssl shard`` numbers when it cuts a recording


def recordings_of(batch: Batch) -> Tensor:
    """A number for the recording that each sample is, or is a piece of, int64 (B,)."""
    return torch.tensor([recording_number(key) for key in batch.keys], dtype=torch.int64)


def recording_number(key: str) -> int:
    """The same for all pieces of a recording."""
    return key_hash(_PIECE.sub("", key)) >> 1  # of 64 bits, without a sign


def gather_views(batches: Sequence[Batch], own: Sequence[Tensor], fabric: Fabric) -> dict[int, UpdateViews]:
    """All views of the update in the order of its streams, for each of this rank's streams.

    Args:
        batches: of this rank.
        own: their views, (2, B, P) each.
        fabric: all ranks, who own neighbouring streams, and must all call this.
    """
    embeddings = torch.cat(list(own), dim=1)  # (2, n, P)
    recordings = torch.cat([recordings_of(batch) for batch in batches]).to(embeddings.device)
    start = 0
    if fabric.world_size > 1:
        counts = gather(fabric, torch.tensor([len(recordings)], device=embeddings.device)).flatten().tolist()
        start = sum(counts[: fabric.global_rank])
        embeddings = gather_rows(fabric, embeddings.transpose(0, 1), counts).transpose(0, 1)
        recordings = gather_rows(fabric, recordings, counts)
    found = {}
    for batch in batches:
        found[batch.stream] = UpdateViews(embeddings, recordings, start)
        start += len(batch.keys)
    return found


def gather_rows(fabric: Fabric, rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Rows (n, ...) of all ranks one after the other, of which each has its own number."""
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    return torch.cat([part[:count] for part, count in zip(gather(fabric, padded), counts, strict=True)])


def gather(fabric: Fabric, x: Tensor) -> Tensor:
    """A tensor of equal shape from every rank, (W, ...)."""
    gathered = fabric.all_gather(x)
    assert isinstance(gathered, Tensor)
    return gathered
