"""ABX error: how often a token is nearer to one of another category than to one of its own (Schatz et al. 2013).

X and A are tokens of one label, B is one of another; A and B are of one speaker, and X is of the same ("within") or of
another ("across"). No classifier is trained, so that what is measured is the representation's own distances. Contexts
may differ, as in the ZeroSpeech challenge's "any context".
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Tokens(NamedTuple):
    """Stretches of frames, each an instance of a label."""

    frames: Sequence[Tensor]
    """Of each token, (T, D), T at least 1."""
    labels: np.ndarray
    """Integers, (N,)."""
    speakers: np.ndarray
    """Integers, (N,)."""


class AbxErrors(NamedTuple):
    """Shares of triples in which B is nearer than A, ties being half an error; 0.5 is chance."""

    within: float
    """Means over the speakers, then over ordered pairs of labels; NaN if no two tokens of a speaker have one label."""
    across: float
    """Means over ordered pairs of speakers, then over ordered pairs of labels; NaN if no label has two speakers."""


def abx_errors(tokens: Tokens, *, max_others: int | None = None) -> AbxErrors:
    """Compare all tokens of each speaker, and those of each two.

    Args:
        tokens: what to tell apart; their number counts squared.
        max_others: of how many other speakers X is at most, the next ones in order; None for all.
    """
    names, places = np.unique(tokens.speakers, return_inverse=True)
    label_names, labels = np.unique(tokens.labels, return_inverse=True)
    padded = pad_sequence([F.normalize(frames.float(), dim=1) for frames in tokens.frames], batch_first=True)
    lengths = torch.tensor([len(frames) for frames in tokens.frames])
    members = [np.flatnonzero(places == i) for i in range(len(names))]
    reach = len(names) if max_others is None else min(max_others + 1, len(names))
    within: list[Tensor] = []
    across: list[Tensor] = []
    for i, own in enumerate(members):
        for step in range(reach):
            others = members[(i + step) % len(names)]
            distances = token_distances(padded[others], lengths[others], padded[own], lengths[own])
            errors = pair_errors(distances, labels[others], labels[own], len(label_names), same=step == 0)
            (across if step else within).append(errors)
    return AbxErrors(*(mean_over_pairs(errors) for errors in (within, across)))


def pair_errors(distances: Tensor, x_labels: np.ndarray, labels: np.ndarray, num_labels: int, *, same: bool) -> Tensor:
    """Error of each ordered pair of labels for tokens X of one speaker, A and B of one.

    Args:
        distances: of X and the others, (X, N).
        x_labels: of X, 0 to num_labels - 1, (X,).
        labels: of the others, (N,).
        num_labels: different labels there are in all.
        same: whether X are those others themselves: none is compared with itself.

    Returns:
        Rows by label of X and A, columns by that of B, float64; NaN where there are no triples.
    """
    result = torch.full((num_labels, num_labels), float("nan"), dtype=torch.float64)
    columns = torch.from_numpy(labels)
    present = torch.zeros(num_labels, dtype=torch.float64).index_add_(0, columns, torch.ones(len(labels)).double())
    for label in np.intersect1d(x_labels, labels):
        chosen = distances[np.flatnonzero(x_labels == label)]  # (x, N)
        to_own = chosen[:, np.flatnonzero(labels == label)]  # (x, A)
        signs = (to_own[:, :, None] - chosen[:, None, :]).sign().double()  # (x, A, N)
        if same:
            signs[torch.eye(len(chosen), dtype=torch.bool)] = 0
        num_pairs = to_own.numel() - len(chosen) * same
        if num_pairs == 0:
            continue
        errors = 0.5 + 0.5 * signs.sum((0, 1)) / num_pairs  # (N,)
        result[label] = torch.zeros(num_labels, dtype=torch.float64).index_add_(0, columns, errors) / present
        result[label, label] = float("nan")
    return result


def mean_over_pairs(errors: Sequence[Tensor]) -> float:
    """Mean over what was compared for each pair of labels, (labels, labels) each, then over the pairs."""
    if not errors:
        return float("nan")
    return float(torch.stack(list(errors)).nanmean(0).nanmean())


def token_distances(one: Tensor, one_lengths: Tensor, other: Tensor, other_lengths: Tensor) -> Tensor:
    """Distance of each token of one set to each of another.

    Args:
        one: frames of length 1, (N, T, D).
        one_lengths: frames of each, (N,).
        other: likewise, (M, U, D).
        other_lengths: (M,).

    Returns:
        (N, M).
    """
    one, other = one[:, : int(one_lengths.max())], other[:, : int(other_lengths.max())]
    cosines = torch.einsum("ntd,mud->nmtu", one, other).clamp(-1, 1)
    angles = cosines.acos() / math.pi
    rows = one_lengths[:, None].expand(len(one), len(other)).reshape(-1)
    columns = other_lengths[None].expand(len(one), len(other)).reshape(-1)
    return warped_distance(angles.flatten(0, 1), rows, columns).view(len(one), len(other))


def warped_distance(distances: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Mean distance along the cheapest path of dynamic time warping, which goes on in one sequence or in both.

    Of paths that cost the same, the one that takes both at once, from the end.

    Args:
        distances: of the frames of pairs of sequences, (P, N, M).
        rows: frames of the first sequence of each pair, (P,).
        columns: of the second, (P,).

    Returns:
        (P,).
    """
    num_pairs, num_rows, num_columns = distances.shape
    cells = distances.permute(1, 2, 0).contiguous()  # (N, M, P)
    costs = cells.new_full((num_rows + 1, num_columns + 1, num_pairs), float("inf"))
    steps = torch.zeros_like(costs)
    costs[0, 0] = 0
    for i in range(num_rows):
        for j in range(num_columns):
            cost, count = costs[i, j], steps[i, j]
            for before in ((i, j + 1), (i + 1, j)):
                cheaper = costs[before] < cost
                cost, count = torch.where(cheaper, costs[before], cost), torch.where(cheaper, steps[before], count)
            costs[i + 1, j + 1] = cells[i, j] + cost
            steps[i + 1, j + 1] = count + 1
    pairs = torch.arange(num_pairs)
    return costs[rows, columns, pairs] / steps[rows, columns, pairs]
