"""How samples become batches by seconds: lengths in cells, and batches cut once from them.

Lengths are rounded to the edges of cells, each some per cent wider than the one before. Samples of one cell can stand
for each other, so the sizes of all batches, and the shape of each, can stay the same while their samples change. That
makes the number of batches in an epoch a constant, so that any update is found without planning those before it, and
it keeps the shapes few: CPUs prepare a kernel for each. Where cells hold few samples, the same ones would always meet;
so there are several cuts, which begin with a batch of another size, and the epochs take turns among them.
"""

import numpy as np

CELL_RATIO = 1.03
NUM_CUTS = 4


def cell_edges(longest: int) -> np.ndarray:
    """Lengths in samples at which cells end, rising by about 3%, the last at ``longest`` or above: (E,)."""
    num = int(np.ceil(np.log(max(longest, 2)) / np.log(CELL_RATIO))) + 1
    return np.unique(np.ceil(CELL_RATIO ** np.arange(num)).astype(np.int64))


def round_up(lengths: np.ndarray) -> np.ndarray:
    """Lengths in samples, (N,), as whole samples are padded: to the upper edge of their cells."""
    edges = cell_edges(int(lengths.max(initial=1)))
    return edges[np.searchsorted(edges, lengths, side="left")]


def round_down(lengths: np.ndarray) -> np.ndarray:
    """Lengths in samples, (N,), as crops are cut: to the lower edge of their cells."""
    edges = cell_edges(int(lengths.max(initial=1)))
    return edges[np.searchsorted(edges, lengths, side="right") - 1]


def count_lengths(lengths: np.ndarray) -> list[tuple[int, int]]:
    """Each length among lengths that are rounded to cells, (N,), and how often it occurs, shortest first."""
    values, counts = np.unique(lengths, return_counts=True)
    return list(zip(values.tolist(), counts.tolist(), strict=True))


def cut_sizes(counts: list[tuple[int, int]], max_samples: float, cut: int = 0) -> np.ndarray:
    """Numbers of samples of successive batches, shortest samples first, within a limit on number times longest: (M,).

    Args:
        counts: ``count_lengths`` of at least one sample.
        max_samples: limit; a single longer sample is a batch of its own.
        cut: which of the NUM_CUTS cuts; all but the first begin with a batch that is not full.
    """
    sizes: list[int] = []
    empty = int(max(1, max_samples // counts[0][0]) * cut / NUM_CUTS)  # places of the first batch
    filled = empty
    for length, count in counts:
        most = max(1, int(max_samples // length))
        taken = min(count, max(0, most - filled)) if filled else 0
        if filled and taken < count:
            sizes.append(filled + taken)
            filled = 0
        elif filled:
            filled += taken
            continue
        full, filled = divmod(count - taken, most)
        sizes += [most] * full
    sizes += [filled] * (filled > 0)
    sizes[0] -= empty
    return np.array(sizes, dtype=np.int64)


def fill_batches(lengths: np.ndarray, sizes: np.ndarray, rng: np.random.Generator | None = None) -> list[np.ndarray]:
    """Which samples, as positions in ``lengths``, each batch of ``cut_sizes`` holds.

    Args:
        lengths: rounded to cells, (N,).
        sizes: of the batches, (M,).
        rng: shuffles samples within cells; without it they keep their order.
    """
    ties = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    order = np.lexsort((ties, lengths))
    return np.split(order, np.cumsum(sizes)[:-1])
