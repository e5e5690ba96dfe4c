"""When each label of a known transcript was said: the best path of CTC through it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechssl.data.transcribed import frames_needed

MAX_STATES = 4096
"""Of a long transcript those near the best path so far are followed alone: some two minutes of speech before it and
as much behind it. Up to 2,047 labels nothing is left out."""
_SETTLED_FRAMES = 4096
"""The best path is settled so far behind the newest frame; what leads there is then forgotten."""
_MAX_CELLS = 1 << 26
_NEVER = np.float32(-1e30)


class Alignment(NamedTuple):
    """Which label of a transcript each frame belongs to."""

    positions: Tensor
    """Of the label in the transcript; -1 where there is none, int64 (T,)."""
    labels: Tensor
    """The label itself; -1 where there is none, int64 (T,)."""


def best_positions(log_probs: Tensor, labels: Sequence[int], *, blank: int, max_states: int = MAX_STATES) -> Tensor:
    """The most probable path of CTC that spells a transcript.

    torchaudio's ``forced_align`` finds it where its memory, of frames times labels, is little. Else memory grows with
    ``max_states`` and, by 4 bytes a frame, with the audio.

    Args:
        log_probs: emissions in nats, float32 (T, labels), on the CPU.
        labels: of the transcript; there may be none.
        blank: number of the blank.
        max_states: most that are followed at a time, two per label; more labels make the search a narrow one.

    Returns:
        Position in the transcript of the label of each frame; -1 where it is the blank, int64 (T,).

    Raises:
        ValueError: the labels do not fit into the frames; of more than half of ``max_states``, barely.
    """
    if frames_needed(labels) > len(log_probs):
        raise ValueError(f"{len(labels)} labels do not fit into {len(log_probs)} frames")
    if not labels:
        return torch.full((len(log_probs),), -1)
    num_states = 2 * len(labels) + 1
    if num_states <= max_states and num_states * len(log_probs) <= _MAX_CELLS:
        from torchaudio.functional import forced_align  # takes a second

        path = forced_align(log_probs[None], torch.tensor([list(labels)], dtype=torch.int32), blank=blank)[0][0]
        is_begin = path != blank
        is_begin[1:] &= path[1:] != path[:-1]
        return torch.where(path != blank, is_begin.cumsum(0) - 1, -1)
    return _narrow_path(log_probs, labels, blank, max_states)


def _narrow_path(log_probs: Tensor, labels: Sequence[int], blank: int, max_states: int) -> Tensor:
    """The same by Viterbi's search over blank, label, blank, label, ... blank, along the best path so far."""
    frames = log_probs.numpy()
    states = np.full(2 * len(labels) + 1, blank)
    states[1::2] = labels
    may_skip = np.zeros(len(states), bool)  # the blank between two labels that differ
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    width = min(len(states), max_states)
    scores = np.full(width, _NEVER)
    scores[:2] = frames[0, states[:2]][:width]
    path = np.zeros(len(frames), np.int32)  # states
    starts, steps = [0], [np.zeros(width, np.uint8)]  # of the band of each frame, and how each state was reached
    start = settled = 0
    for t in range(1, len(frames)):
        new_start = _band_start(start, scores, t, len(frames), len(states))
        scores, taken = _advance(_moved(scores, new_start - start), may_skip[new_start : new_start + width])
        scores += frames[t, states[new_start : new_start + width]]
        start = new_start
        starts.append(start)
        steps.append(taken)
        if len(steps) == 2 * _SETTLED_FRAMES and width < len(states):
            _trace(path[settled : t + 1], start + int(scores.argmax()), starts, steps)
            del starts[:_SETTLED_FRAMES], steps[:_SETTLED_FRAMES]
            settled += _SETTLED_FRAMES
    last = len(states) - 1
    if last > 0 and scores[last - 1 - start] > scores[last - start]:
        last -= 1
    if scores[last - start] < _NEVER / 2:
        raise ValueError(f"{len(labels)} labels do not fit into {len(frames)} frames")
    _trace(path[settled:], last, starts, steps)
    return torch.from_numpy(np.where(path % 2 == 1, path // 2, -1).astype(np.int64))


def _band_start(start: int, scores: np.ndarray, frame: int, num_frames: int, num_states: int) -> int:
    """First state that is followed in a frame: the best one so far stays in the middle, but for a path that lags so far
    that only haste could bring it to the end."""
    width = len(scores)
    if width == num_states:
        return 0
    haste = max(1.0, 1 + num_states / num_frames / 2)  # states a frame: half way from the usual to two, the most
    middle = max(start + int(scores.argmax()), num_states - round(haste * (num_frames - 1 - frame)))
    return min(max(start, middle - width // 2), num_states - width)


def _moved(scores: np.ndarray, by: int) -> np.ndarray:
    """Scores of a band that begins so many states later, (states,)."""
    if by == 0:
        return scores
    moved = np.full_like(scores, _NEVER)
    moved[: max(0, len(scores) - by)] = scores[by:]
    return moved


def _advance(scores: np.ndarray, may_skip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best score of each state in the next frame, (states,), and from how many states before it that comes."""
    stepped, skipped = np.full_like(scores, _NEVER), np.full_like(scores, _NEVER)
    stepped[1:] = scores[:-1]
    skipped[2:] = np.where(may_skip[2:], scores[:-2], _NEVER)
    best = np.maximum(scores, stepped)
    taken = (stepped > scores).view(np.uint8)
    is_skipped = skipped > best
    taken[is_skipped] = 2
    return np.where(is_skipped, skipped, best), taken


def _trace(path: np.ndarray, state: int, starts: Sequence[int], steps: Sequence[np.ndarray]) -> None:
    """Write the states that lead to one in the last frame, (T,)."""
    for i in range(len(steps) - 1, -1, -1):
        path[i] = state
        state -= int(steps[i][state - starts[i]])


def align_labels(log_probs: Tensor, labels: Sequence[int], *, blank: int, max_reach: int) -> Alignment:
    """Give every frame to a label of a transcript.

    CTC says a label in one frame or a few and blank in between. So a blank frame goes to the nearest label, the earlier
    one of two, unless it is further than ``max_reach`` from both.

    Args:
        log_probs: emissions in nats, float32 (T, labels), on the CPU.
        labels: of the transcript, at least one; they need to fit into the frames.
        blank: number of the blank.
        max_reach: in frames.
    """
    path = best_positions(log_probs, labels, blank=blank)
    places = (path >= 0).nonzero()[:, 0]  # frames in which a label is said
    numbers = path[places]
    distances = (torch.arange(len(path))[:, None] - places).abs()  # (T, said)
    nearest = distances.amin(1)
    earlier = (distances == nearest[:, None]).int().argmax(1)  # argmin does not promise the first
    is_near = nearest <= max_reach
    positions = torch.where(is_near, numbers[earlier], -1)
    return Alignment(positions, torch.where(is_near, torch.tensor(list(labels))[positions.clamp(min=0)], -1))
