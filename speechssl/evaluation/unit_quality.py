"""How well the units of frames, as k-means gives them, tell apart what is said (HuBERT, Hsu et al. 2021, IV.E)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class UnitQuality(NamedTuple):
    """Agreement of units z and labels y, each one per frame."""

    label_purity: float
    """Frames whose label is the most frequent one of their unit, as a share: what a unit says of the label. HuBERT's
    phone purity, if labels are phones."""
    unit_purity: float
    """Frames whose unit is the most frequent one of their label, as a share. HuBERT's cluster purity: it falls with
    more units, as label purity rises."""
    nmi: float
    """Mutual information of both over the mean of their entropies."""
    pnmi: float
    """Share of the labels' entropy that the units take away, I(y; z) / H(y)."""


def unit_quality(labels: ArrayLike, units: ArrayLike) -> UnitQuality:
    """Compare the units of frames with their labels.

    Args:
        labels: integers, (N,).
        units: integers, (N,).

    Raises:
        ValueError: there are no frames, or not as many of one as of the other.
    """
    from sklearn.metrics import mutual_info_score, normalized_mutual_info_score  # takes a second
    from sklearn.metrics.cluster import contingency_matrix

    if not np.size(labels):
        raise ValueError("no frames, expected at least one")
    counts = contingency_matrix(labels, units)  # (labels, units)
    shares = counts.sum(1) / counts.sum()
    entropy = float(-(shares * np.log(shares)).sum())
    return UnitQuality(
        label_purity=float(counts.max(0).sum() / counts.sum()),
        unit_purity=float(counts.max(1).sum() / counts.sum()),
        nmi=float(normalized_mutual_info_score(labels, units)),
        pnmi=float(mutual_info_score(None, None, contingency=counts) / entropy) if entropy else float("nan"),
    )
