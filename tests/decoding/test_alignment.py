"""Alignment against all paths of a small case, each of which is tried."""

import itertools

import pytest
import torch

from speechssl.decoding import alignment
from speechssl.decoding.alignment import _narrow_path, align_labels, best_positions


def oracle(log_probs: list[list[float]], labels: list[int], blank: int, max_reach: int) -> list[int]:
    """Position of the label of each frame, or -1: of the best path, then by the distance to where labels are said."""

    def said(path: tuple[int, ...]) -> list[tuple[int, int]]:
        """Frames in which labels are said, and which these are: a repeated label is one unless a blank is between."""
        found, position = [], -1
        for t, label in enumerate(path):
            if label != blank:
                position += t == 0 or path[t - 1] != label
                found.append((t, position))
        return found

    def spelt(path: tuple[int, ...]) -> list[int]:
        return [path[next(t for t, p in said(path) if p == i)] for i in sorted({p for _, p in said(path)})]

    paths = itertools.product(range(len(log_probs[0])), repeat=len(log_probs))
    possible = [path for path in paths if spelt(path) == labels]
    best = max(possible, key=lambda path: sum(row[label] for row, label in zip(log_probs, path, strict=True)))
    result = []
    for t in range(len(log_probs)):
        distance, _, position = min((abs(t - frame), frame, position) for frame, position in said(best))
        result.append(position if distance <= max_reach else -1)
    return result


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("labels", "blank"), [([1, 2, 2], 0), ([0, 1], 2), ([1], 0)])
def test_it_agrees_with_all_paths(seed: int, labels: list[int], blank: int) -> None:
    scores = 2 * torch.randn(7, 3, generator=torch.Generator().manual_seed(seed))
    scores[:, blank] += 2
    log_probs = scores.log_softmax(-1)
    found = align_labels(log_probs, labels, blank=blank, max_reach=2)
    assert found.positions.tolist() == oracle(log_probs.tolist(), labels, blank, 2)
    assert found.labels.tolist() == [labels[i] if i >= 0 else -1 for i in found.positions.tolist()]


def test_a_frame_between_two_labels_goes_to_the_earlier_one_and_far_ones_to_none() -> None:
    log_probs = torch.full((9, 3), -9.0)
    log_probs[:, 0] = 0
    log_probs[2], log_probs[4] = torch.tensor([-9.0, 0, -9]), torch.tensor([-9.0, -9, 0])
    assert align_labels(log_probs, [1, 2], blank=0, max_reach=2).positions.tolist() == [0, 0, 0, 0, 1, 1, 1, -1, -1]


def spoken(num_labels: int, seed: int) -> tuple[torch.Tensor, list[int], list[int]]:
    """Emissions in which labels are said in known frames, none clearly; the labels; the frames."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(1, 6, (num_labels,), generator=generator)
    frames = 2 * torch.randint(1, 4, (num_labels,), generator=generator).cumsum(0)
    scores = torch.randn(int(frames[-1]) + 5, 6, generator=generator)
    scores[:, 0] += 3
    scores[frames, labels] += 12
    return scores.log_softmax(-1), labels.tolist(), frames.tolist()


@pytest.mark.parametrize("max_states", [40, 64, 10_000])
def test_a_narrow_search_finds_the_path_of_the_whole_one(max_states: int) -> None:
    log_probs, labels, frames = spoken(150, seed=0)
    whole = best_positions(log_probs, labels, blank=0)
    assert [int((whole == i).nonzero()[0, 0]) for i in range(150)] == frames
    assert _narrow_path(log_probs, labels, 0, max_states).tolist() == whole.tolist()


def test_a_path_is_settled_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    log_probs, labels, _ = spoken(300, seed=1)
    monkeypatch.setattr(alignment, "_SETTLED_FRAMES", 100)
    assert _narrow_path(log_probs, labels, 0, 50).tolist() == best_positions(log_probs, labels, blank=0).tolist()


def test_a_narrow_search_comes_to_the_end_of_what_was_not_said() -> None:
    log_probs = torch.full((400, 3), -5.0)
    log_probs[:, 0] = -0.1
    path = _narrow_path(log_probs, [1, 2] * 90, 0, 30)
    assert torch.unique_consecutive(path[path >= 0]).tolist() == list(range(180))


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="3 labels do not fit into 3 frames"):
        best_positions(torch.zeros(3, 2), [1, 1, 1], blank=0)
    assert best_positions(torch.zeros(3, 2), [], blank=0).tolist() == [-1, -1, -1]
