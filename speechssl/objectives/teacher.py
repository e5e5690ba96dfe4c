"""A teacher: a context network that follows the student's slowly (data2vec, Baevski et al. 2022, section 3.1)."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from speechssl.config import TeacherConfig
from speechssl.model.context import ContextNetwork


class Teacher(nn.Module):
    """An exponential moving average of the student's context network, without gradients and dropout.

    As published, it hears the student's own features before the mask and has its positional convolution; only the
    transformer is averaged. All that it is lies in the weights of a checkpoint.

    Args:
        student: whose weights it begins with.
        config: how fast it follows, and which of its blocks it speaks of.
        normalize: whether each channel of what it says has zero mean and unit variance over the utterance.
    """

    movement: Tensor

    def __init__(self, student: ContextNetwork, config: TeacherConfig, *, normalize: bool) -> None:
        super().__init__()
        self.config = config
        self.normalize = normalize
        self.context = copy.deepcopy(student).eval().requires_grad_(requires_grad=False)
        self.register_buffer("movement", torch.zeros(()))

    def train(self, mode: bool = True) -> "Teacher":
        """It is never in training."""
        return super().train(mode=False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """What the top K blocks' feed-forward parts add to frames (B, T, D) of which none is masked: (K, B, T, D)."""
        kept = self.context(x, keep_feed_forward=True).feed_forward[-self.config.top_layers :]
        layers = torch.stack(kept).to(torch.promote_types(x.dtype, torch.float32))
        return instance_norm(layers) if self.normalize else layers

    @torch.no_grad()
    def follow(self, student: ContextNetwork, update: int) -> None:
        """Move towards the student after so many updates; positional convolutions become equal.

        Where weights lie in shards, each rank moves its own: teacher and student are cut alike.
        """
        decay = decay_at(self.config, update)
        sums = self.movement.new_zeros(2)
        for (name, own), theirs in zip(self.context.named_parameters(), student.parameters(), strict=True):
            weights, aim = local_part(own), local_part(theirs)
            if name.startswith("position."):
                weights.copy_(aim)
            else:
                sums += torch.stack([torch.linalg.vector_norm(x) for x in (aim - weights, weights)]).square()
                weights.lerp_(aim, 1 - decay)
        if isinstance(next(student.parameters()), DTensor):
            torch.distributed.all_reduce(sums)
        self.movement.copy_((1 - decay) * (sums[0] / sums[1]).sqrt())


def decay_at(config: TeacherConfig, update: int) -> float:
    """Share of itself that a teacher keeps after so many updates: a straight line, then constant (section 3.1)."""
    if update >= config.ramp_updates:
        return config.decay_end
    return config.decay_end + (config.decay_start - config.decay_end) * (1 - update / config.ramp_updates)


def instance_norm(x: Tensor) -> Tensor:
    """Zero mean and unit variance of each channel over an utterance's frames, (K, B, T, D) to the same."""
    frames, dim = x.shape[2:]
    if frames < 2:
        return torch.zeros_like(x)
    return F.instance_norm(x.reshape(-1, frames, dim).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


def local_part(parameter: Tensor) -> Tensor:
    """This rank's shard of a parameter, or all of it where there are no shards."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
