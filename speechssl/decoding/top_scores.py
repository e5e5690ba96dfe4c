"""The highest of many scores."""

import numpy as np

from speechssl.decoding.compiled import part


@part
def top(scores: np.ndarray, width: int) -> np.ndarray:
    """Positions of the highest scores, at most ``width``, the earlier of two equal ones first; best first."""
    kept = np.empty(min(width, len(scores)), np.int64)  # a heap, the worst one first
    size = 0
    for i in range(len(scores)):
        if size < len(kept):
            at = size
            size += 1
            while at > 0 and scores[kept[(at - 1) // 2]] > scores[i]:
                kept[at] = kept[(at - 1) // 2]
                at = (at - 1) // 2
            kept[at] = i
        elif scores[i] > scores[kept[0]]:
            sink(kept, size, i, scores)
    for last in range(size - 1, 0, -1):
        worst = kept[0]
        sink(kept, last, kept[last], scores)
        kept[last] = worst
    return kept


@part
def sink(heap: np.ndarray, size: int, item: int, scores: np.ndarray) -> None:
    """Put an item in the place of the worst of the first ``size`` of a heap."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and scores[heap[child + 1]] < scores[heap[child]]:
            child += 1
        if scores[heap[child]] >= scores[item]:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = item
