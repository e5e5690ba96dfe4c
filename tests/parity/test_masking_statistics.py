"""Masks and negatives distributed as the references draw them: Hugging Face, and fairseq as torchaudio has it.

Where the references disagree, the tests say so and which of them ours follows:

- Starts: Hugging Face draws from all places where a span fits, and so do ours; fairseq leaves the last one out, so
  that an utterance's last frame is never masked.
- Equal rows: fairseq unmasks random frames until every row of a batch has as many as the poorest, and so do ours, since
  the loss gathers them into one tensor; Hugging Face leaves rows as they are.
- Rounding: the number of spans is rounded at random, once per batch without padding in all three.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchaudio.models.wav2vec2 import components

from speechssl.model.masking import equalize_mask, masked_positions, sample_negatives, sample_span_mask

BATCH, FRAMES, DRAWS = 4, 150, 300
# Share of frames that spans would cover without overlap, frames per span, fewest spans: as published, and denser.
SETTINGS = pytest.mark.parametrize(("prob", "length", "fewest"), [(0.65, 10, 2), (0.8, 5, 0)])


def many(draw: Callable[[int], Tensor]) -> Tensor:
    """Masks of many batches, (DRAWS, BATCH, FRAMES)."""
    return torch.stack([draw(seed) for seed in range(DRAWS)])


def ours(prob: float, length: int, fewest: int, *, equal: bool) -> Tensor:
    def draw(seed: int) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        lengths = torch.full((BATCH,), FRAMES)
        mask = sample_span_mask(lengths, FRAMES, prob=prob, span_length=length, min_spans=fewest, rng=rng)
        return equalize_mask(mask, rng) if equal else mask

    return many(draw)


def huggingface(prob: float, length: int, fewest: int) -> Tensor:
    from transformers.models.wav2vec2 import modeling_wav2vec2

    def draw(seed: int) -> Tensor:
        np.random.seed(seed)  # noqa: NPY002, theirs draws from it
        found = modeling_wav2vec2._compute_mask_indices((BATCH, FRAMES), prob, length, min_masks=fewest)
        return torch.from_numpy(np.asarray(found))

    return many(draw)


def fairseq(prob: float, length: int, fewest: int) -> Tensor:
    def draw(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return components._compute_mask_indices((BATCH, FRAMES), None, prob, length, min_masks=fewest)

    return many(draw)


def shares(masks: Tensor) -> np.ndarray:
    """Share of masked frames of each draw, (DRAWS,)."""
    return masks.float().mean((1, 2)).numpy()


def run_lengths(masks: Tensor) -> np.ndarray:
    """Distribution of the lengths of masked stretches, (FRAMES + 1,)."""
    counts: Counter[int] = Counter()
    for row in masks.flatten(0, 1).tolist():
        counts.update(map(len, "".join("x" if masked else " " for masked in row).split()))
    return np.array([counts[n] for n in range(FRAMES + 1)]) / counts.total()


def coverage(masks: Tensor) -> np.ndarray:
    """How often each frame is masked, (FRAMES,)."""
    return masks.float().mean((0, 1)).numpy()


def check_same_mean(a: np.ndarray, b: np.ndarray) -> None:
    error = np.sqrt(a.var() / len(a) + b.var() / len(b))
    assert abs(a.mean() - b.mean()) < 4 * error, (a.mean(), b.mean(), error)


@SETTINGS
def test_masks_are_those_of_hugging_face(transformers: Any, prob: float, length: int, fewest: int) -> None:
    own, theirs = ours(prob, length, fewest, equal=False), huggingface(prob, length, fewest)
    check_same_mean(shares(own), shares(theirs))
    assert np.abs(run_lengths(own) - run_lengths(theirs)).sum() / 2 < 0.05, "total variation"
    assert np.abs(coverage(own) - coverage(theirs)).max() < 0.08
    assert coverage(own)[-1] > 0
    rows = theirs.sum(2)
    assert (rows != rows[:, :1]).any(), "theirs have rows of different numbers"


@SETTINGS
def test_equal_rows_are_those_of_fairseq(prob: float, length: int, fewest: int) -> None:
    own, theirs = ours(prob, length, fewest, equal=True), fairseq(prob, length, fewest)
    for masks in (own, theirs):
        rows = masks.sum(2)
        assert (rows == rows[:, :1]).all()
    check_same_mean(shares(own), shares(theirs))
    assert np.abs(run_lengths(own) - run_lengths(theirs)).sum() / 2 < 0.05, "total variation"
    assert coverage(theirs)[-1] == 0, "theirs never masks the last frame"
    assert np.abs(coverage(own) - coverage(theirs))[:-length].max() < 0.08


def test_negatives_are_uniform_over_the_other_masked_frames_in_both(transformers: Any) -> None:
    from transformers.models.wav2vec2 import modeling_wav2vec2

    mask = ours(0.65, 10, 2, equal=True)[0]
    positions = masked_positions(mask)
    count, num_negatives = positions.shape[1], 2000
    np.random.seed(0)  # noqa: NPY002, theirs draws from it
    theirs = modeling_wav2vec2._sample_negative_indices((BATCH, FRAMES), num_negatives, mask.numpy())
    own = sample_negatives(BATCH, count, num_negatives, torch.Generator().manual_seed(0))
    expected = num_negatives / (count - 1)
    for row in range(BATCH):
        place = {int(position): m for m, position in enumerate(positions[row])}
        of_theirs = np.vectorize(place.__getitem__)(theirs[row, mask[row].numpy()] - row * FRAMES)
        for drawn in (own[row].numpy(), of_theirs):
            table = np.stack([np.bincount(drawn[m], minlength=count) for m in range(count)])
            assert (np.diag(table) == 0).all(), "never the target itself"
            off = table[~np.eye(count, dtype=bool)]
            # Chi-square over all cells: mean 1 per degree of freedom, deviation sqrt(2 / n).
            statistic = ((off - expected) ** 2 / expected).sum() / (count * (count - 2))
            assert abs(statistic - 1) < 5 * np.sqrt(2 / (count * (count - 2)))
