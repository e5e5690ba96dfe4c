"""Small heads on frozen frames: linear, or one bidirectional LSTM layer before that (SUPERB, Yang et al. 2021).

Two, because which layer is best depends on the head (Zaiem et al. 2023, "Speech self-supervised representation
benchmarking: are we doing it right?").
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechssl.config import HeadTrainingConfig
from speechssl.frames import valid_frames
from speechssl.model.ctc import BidirectionalLstm
from speechssl.model.kernels.dropout import Dropout
from speechssl.seeding import Purpose, derive_seed, torch_generator

HeadKind = Literal["linear", "recurrent"]
HEADS: tuple[HeadKind, ...] = ("linear", "recurrent")
LENGTH_JITTER = 0.3
"""Samples of a batch are of like lengths, but not the same ones each time: lengths are stretched by up to this."""


class Examples(NamedTuple):
    """Samples with what a head should say of them."""

    frames: Sequence[Tensor]
    """(T, D) each."""
    targets: Sequence[Tensor]
    """Of each, int64: labels (L,) for CTC, a class () for classes."""


class Head(nn.Module):
    """Scores of classes for every frame, or for each sample.

    Args:
        dim: of the frames.
        num_classes: what is told apart.
        kind: with an LSTM layer or without.
        config: its size.
        pooled: average over the frames before the linear layer.
    """

    def __init__(
        self, dim: int, num_classes: int, kind: HeadKind, config: HeadTrainingConfig, *, pooled: bool = False
    ) -> None:
        super().__init__()
        self.recurrent = BidirectionalLstm(dim, config.lstm_dim) if kind == "recurrent" else None
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(dim if self.recurrent is None else 2 * config.lstm_dim, num_classes)
        self.pooled = pooled

    def embed(self, x: Tensor, lengths: Tensor) -> Tensor:
        """What the linear layer sees of frames (B, T, D): (B, T, H), or (B, H) of pooled ones."""
        x = self.dropout(x)
        if self.recurrent is not None:
            x = self.dropout(self.recurrent(x, lengths))
        if not self.pooled:
            return x
        inside = valid_frames(lengths, x.shape[1])[:, :, None]
        return (x * inside).sum(1) / lengths[:, None]

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Frames (B, T, D) of some lengths, (B,), to scores (B, T, classes), or (B, classes) of pooled ones."""
        scores: Tensor = self.output(self.embed(x, lengths))
        return scores


Loss = Callable[[Tensor, Tensor, Sequence[Tensor]], Tensor]
"""Of scores, lengths and targets of a batch: a sum over its samples."""


def ctc_loss(scores: Tensor, lengths: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """CTC of label sequences, blank 0, in nats."""
    log_probs = scores.log_softmax(-1).transpose(0, 1)
    sizes = torch.tensor([len(labels) for labels in targets])
    return F.ctc_loss(log_probs, torch.cat(list(targets)), lengths.cpu(), sizes, reduction="sum", zero_infinity=True)


def class_loss(scores: Tensor, lengths: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """Cross-entropy of classes, in nats."""
    return F.cross_entropy(scores, torch.stack(list(targets)).to(scores.device), reduction="sum")


def train_head(
    head: Head, examples: Examples, loss: Loss, config: HeadTrainingConfig, seed: int, *, few: bool = False
) -> Head:
    """Train with Adam and a learning rate that rises for a tenth of the updates and falls linearly to zero.

    Args:
        head: made anew; its weights are drawn here.
        examples: what it learns from.
        loss: of a batch.
        config: how.
        seed: of weights, order and dropout.
        few: there are few samples. The last layer then begins at zero, and batches mix short and long ones; else CTC
            of a minute or two ends in another place with every seed (docs/decisions.md).

    Returns:
        The head, in evaluation mode.
    """
    device = head.output.weight.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(seed, Purpose.PROBE_HEADS))
        for module in head.modules():
            if isinstance(module, (nn.Linear, nn.LSTM)):
                module.reset_parameters()
        if few:
            for parameter in head.output.parameters():
                nn.init.zeros_(parameter)
        optimizer = torch.optim.Adam(head.parameters(), lr=config.learning_rate)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: learning_rate_scale(done, config.updates))
        head.train()
        for chosen in batches_for(config.updates, lengths_of(examples.frames), config, seed, mixed=few):
            frames = pad_sequence([examples.frames[i] for i in chosen], batch_first=True).to(device)
            lengths = torch.tensor([len(examples.frames[i]) for i in chosen], device=device)
            total = loss(head(frames, lengths), lengths, [examples.targets[i] for i in chosen])
            optimizer.zero_grad()
            (total / len(chosen)).backward()
            nn.utils.clip_grad_norm_(head.parameters(), config.max_grad_norm)
            optimizer.step()
            scheduler.step()
    return head.eval()


def learning_rate_scale(done: int, updates: int) -> float:
    """Share of the peak learning rate after some of all updates."""
    rise = max(1, updates // 10)
    return min((done + 1) / rise, (updates - done) / max(1, updates - rise), 1.0)


def lengths_of(frames: Sequence[Tensor]) -> np.ndarray:
    """Frames of each sample, (N,)."""
    return np.array([len(x) for x in frames])


def batches_for(
    updates: int, lengths: np.ndarray, config: HeadTrainingConfig, seed: int, *, mixed: bool = False
) -> Iterator[list[int]]:
    """Positions of the samples of each update: passes over all samples, each in another order.

    Samples of a batch are of like lengths, unless they are ``mixed``.
    """
    for epoch in range(updates):
        rng = torch_generator(seed, Purpose.PROBE_ORDER, epoch)
        draws = torch.rand(len(lengths), generator=rng).double().numpy()
        order = np.argsort(draws if mixed else lengths * (1 + LENGTH_JITTER * draws), kind="stable")
        batches = cut(order, lengths, config.max_batch_frames)
        for number in torch.randperm(len(batches), generator=rng).tolist():
            if updates == 0:
                return
            updates -= 1
            yield batches[number]


def cut(order: np.ndarray, lengths: np.ndarray, max_frames: int) -> list[list[int]]:
    """Batches of neighbours in an order, within a limit on number times longest; a longer sample is one by itself."""
    batches: list[list[int]] = []
    longest = 0
    for i in order.tolist():
        longest = max(longest, int(lengths[i]))
        if batches and longest * (len(batches[-1]) + 1) <= max_frames:
            batches[-1].append(i)
        else:
            batches.append([i])
            longest = int(lengths[i])
    return batches


@torch.no_grad()
def apply_head(
    head: Head, frames: Sequence[Tensor], config: HeadTrainingConfig, *, embed: bool = False
) -> list[Tensor]:
    """Scores of every sample, or what their linear layer sees: (T, classes), or (classes,) of pooled ones."""
    device = head.output.weight.device
    lengths = lengths_of(frames)
    results: list[Tensor] = [torch.empty(0)] * len(frames)
    for chosen in cut(np.argsort(lengths, kind="stable"), lengths, config.max_batch_frames):
        padded = pad_sequence([frames[i] for i in chosen], batch_first=True).to(device)
        sizes = torch.tensor(lengths[chosen], device=device)
        output = (head.embed if embed else head)(padded, sizes).cpu()
        for i, row in zip(chosen, output, strict=True):
            results[i] = row if head.pooled else row[: lengths[i]]
    return results
