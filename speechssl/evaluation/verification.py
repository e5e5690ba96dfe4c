"""Speaker verification: trials of two utterances, of one speaker or of two."""

from typing import NamedTuple

import numpy as np


class Trials(NamedTuple):
    """Pairs of utterances and how alike each is."""

    scores: np.ndarray
    """Higher for what is more alike, (N,)."""
    is_target: np.ndarray
    """Whether both are of one speaker, bool (N,)."""


def equal_error_rate(trials: Trials) -> float:
    """The rate at which as large a share of the targets is rejected as of the others is accepted.

    Between two thresholds both rates change linearly, as on a ROC curve drawn with straight lines.

    Raises:
        ValueError: there are no targets, or nothing else.
    """
    from sklearn.metrics import roc_curve  # takes a second

    if trials.is_target.all() or not trials.is_target.any():
        raise ValueError(f"{int(trials.is_target.sum())} of {len(trials.is_target)} trials are targets, expected some")
    accepted, hits, _ = roc_curve(trials.is_target, trials.scores, drop_intermediate=False)
    gaps = accepted - (1 - hits)  # false acceptances over false rejections, rising from -1 to 1
    after = int(np.argmax(gaps >= 0))
    share = -gaps[after - 1] / (gaps[after] - gaps[after - 1])
    return float(accepted[after - 1] + share * (accepted[after] - accepted[after - 1]))


def cosine_trials(embeddings: np.ndarray, speakers: np.ndarray) -> Trials:
    """All pairs of utterances, scored by their cosine.

    Args:
        embeddings: (N, D).
        speakers: a number for each, (N,).
    """
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    units = embeddings / np.maximum(norms, np.finfo(embeddings.dtype).tiny)
    one, other = np.triu_indices(len(units), k=1)
    return Trials((units @ units.T)[one, other], speakers[one] == speakers[other])
