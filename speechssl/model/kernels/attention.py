"""Scaled dot-product attention, written out where PyTorch's own is slow."""

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.model.kernels.dropout import dropout


def attention(query: Tensor, key: Tensor, value: Tensor, *, attn_mask: Tensor | None, dropout_p: float) -> Tensor:
    """Scaled dot-product attention; arguments as of :func:`explicit_attention`.

    PyTorch's trains slowly on CPUs: in bf16 it takes two to four times as long as the products it amounts to, and with
    dropout it is not the fused one.
    """
    slow = query.requires_grad and (query.dtype == torch.bfloat16 or dropout_p > 0)
    attend = explicit_attention if slow and query.device.type == "cpu" else F.scaled_dot_product_attention
    return attend(query, key, value, attn_mask=attn_mask, dropout_p=dropout_p)


def explicit_attention(
    query: Tensor, key: Tensor, value: Tensor, *, attn_mask: Tensor | None, dropout_p: float
) -> Tensor:
    """Scaled dot-product attention as written in Vaswani et al. 2017, section 3.2.1.

    PyTorch computes the softmax of numbers in bf16 in float32, and rounds what comes out.

    Args:
        query: (B, heads, T, D / heads); key and value likewise.
        attn_mask: True where a key may be attended to, or numbers to add to the scores, broadcast to (B, heads, T, T);
            None if all may.
        dropout_p: share of the attention weights set to zero.
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # (B, heads, T, T)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, lowest_score(scores))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return dropout(scores.softmax(-1), dropout_p) @ value


def lowest_score(scores: Tensor) -> float:
    """A score for keys that are not attended to: as good as minus infinity, but a row of nothing else has a softmax."""
    return torch.finfo(scores.dtype).min
