"""Consistency of two views in CTC training (CR-CTC; Yao et al. 2024, arXiv:2410.05101, sections 3.2 and 3.3).

An utterance goes through the model twice, with masks and dropout of its own each time, and the label distributions of
the two passes are drawn together frame by frame: each learns from what the other sees, and the peaks of CTC spread out.
"""

import torch
from torch import Tensor

from speechssl.frames import valid_frames


def consistency_loss(logits: Tensor, lengths: Tensor) -> Tensor:
    """Divergence of two views of each utterance, in nats, summed over frames and utterances, in float32 or wider.

    Half of KL(second || first) and KL(first || second), where the one on the left gets no gradient.

    Args:
        logits: the first views, then the second in the same order, (2 B, T, labels).
        lengths: frames of each utterance, (B,), on the CPU.
    """
    log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    first, second = log_probs.chunk(2)
    padding = ~valid_frames(lengths, logits.shape[1]).to(logits.device)  # (B, T)
    divergence = kl_divergence(second.detach(), first) + kl_divergence(first.detach(), second)
    return divergence.masked_fill(padding, 0.0).sum() / 2


def kl_divergence(target: Tensor, log_probs: Tensor) -> Tensor:
    """KL(target || distribution) of log-probabilities, (B, T, labels) to (B, T)."""
    return (target.exp() * (target - log_probs)).sum(-1)
