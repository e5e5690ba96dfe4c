"""When each label of a known transcript was said: the best path of CTC through it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Alignment(NamedTuple):
    """Which label of a transcript each frame belongs to."""

    positions: Tensor
    """Of the label in the transcript; -1 where there is none, int64 (T,)."""
    labels: Tensor
    """The label itself; -1 where there is none, int64 (T,)."""


def align_labels(log_probs: Tensor, labels: Sequence[int], *, blank: int, max_reach: int) -> Alignment:
    """Give every frame to a label of a transcript.

    CTC says a label in one frame or a few and blank in between. So a blank frame goes to the nearest label, the earlier
    one of two, unless it is further than ``max_reach`` from both.

    Args:
        log_probs: emissions in nats, float32 (T, labels), on the CPU.
        labels: of the transcript, at least one; they need to fit into the frames.
        blank: number of the blank.
        max_reach: in frames.
    """
    from torchaudio.functional import forced_align  # takes a second

    path, _ = forced_align(log_probs[None], torch.tensor([list(labels)], dtype=torch.int32), blank=blank)
    path = path[0].long()
    said = path != blank
    begins = said.clone()
    begins[1:] &= path[1:] != path[:-1]
    places = said.nonzero()[:, 0]  # frames in which a label is said
    numbers = (begins.cumsum(0) - 1)[places]
    distances = (torch.arange(len(path))[:, None] - places).abs()  # (T, said)
    nearest = distances.amin(1)
    earlier = (distances == nearest[:, None]).int().argmax(1)  # argmin does not promise the first
    is_near = nearest <= max_reach
    positions = torch.where(is_near, numbers[earlier], -1)
    return Alignment(positions, torch.where(is_near, torch.tensor(list(labels))[positions.clamp(min=0)], -1))
