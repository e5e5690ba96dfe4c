"""Where the labels of a known text stand: the most probable path of CTC through it, by Viterbi search."""

import numpy as np

from speechssl.decoding.compiled import compiled


@compiled
def best_path(log_probs: np.ndarray, labels: np.ndarray, blank: int) -> np.ndarray:
    """The label of each frame on the most probable way to say a text, int64 (T,).

    Args:
        log_probs: emissions in nats, float32 (T, labels).
        labels: of the text, int64 (L,), without blanks; they fit into the frames.
        blank: number of the blank.
    """
    num_frames, num_states = len(log_probs), 2 * len(labels) + 1
    states = np.full(num_states, blank)  # labels with a blank before, between and behind them
    states[1::2] = labels
    scores = np.full(num_states, -np.inf)
    scores[0] = 0.0  # before the first frame
    steps = np.zeros((num_frames, num_states), np.int8)  # states that were passed to come to each
    for t in range(num_frames):
        for i in range(num_states - 1, -1, -1):
            best, step = scores[i], 0
            if i > 0 and scores[i - 1] > best:
                best, step = scores[i - 1], 1
            if i > 1 and i % 2 == 1 and states[i] != states[i - 2] and scores[i - 2] > best:
                best, step = scores[i - 2], 2
            scores[i] = best + log_probs[t, states[i]]
            steps[t, i] = step
    state = num_states - 1
    if num_states > 1 and scores[state - 1] >= scores[state]:
        state -= 1
    path = np.empty(num_frames, np.int64)
    for t in range(num_frames - 1, -1, -1):
        path[t] = states[state]
        state -= steps[t, state]
    return path
