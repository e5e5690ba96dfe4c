"""What the vectors of a layer fill, and how much two layers have in common; no labels are needed."""

import torch
from torch import Tensor


def effective_rank(vectors: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values (Roy and Vetterli 2007), about the mean.

    Args:
        vectors: (N, D).

    Returns:
        1 to D: as many directions as would fill the space alike. NaN if a value is not finite.
    """
    vectors = vectors - vectors.mean(0)
    if not bool(vectors.isfinite().all()):
        return float("nan")
    values = torch.linalg.eigvalsh(vectors.T @ vectors).clamp(min=0).sqrt()
    shares = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(shares * torch.log(shares + 1e-12)).sum()))


def linear_cka(one: Tensor, other: Tensor) -> float:
    """Linear centred kernel alignment of two layers on the same frames (Kornblith et al. 2019, equation 5).

    Rotating or scaling either layer as a whole changes nothing.

    Args:
        one: vectors of one layer, (N, D).
        other: those of the other, a row for each of the same frames, (N, E).

    Returns:
        0, nothing in common, to 1, the same but for rotation and scale. NaN if a layer is constant.
    """
    x, y = (vectors.double() - vectors.double().mean(0) for vectors in (one, other))
    common = (y.T @ x).square().sum()
    scale = torch.linalg.matrix_norm(x.T @ x) * torch.linalg.matrix_norm(y.T @ y)
    return float(common / scale)
