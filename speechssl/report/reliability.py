"""The picture of calibration: how many words are right of those with like confidence."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from speechssl.evaluation.calibration import Reliability
from speechssl.report.axes import save, tidy


def plot_reliability(measured: Mapping[str, Reliability], path: Path) -> None:
    """Points of the bins with the 95% that chance allows (Wilson 1927), and the line on which they should lie."""
    figure = Figure(figsize=(5.2, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="confidence is exact")
    for number, (name, found) in enumerate(measured.items()):
        low, high = wilson(found.accuracy, found.num_words)
        label = f"{name}: error {found.error.value:.1%} ({found.error.low:.1%} to {found.error.high:.1%})"
        spread = np.abs([found.accuracy - low, high - found.accuracy])
        axes.errorbar(
            found.confidence, found.accuracy, spread, fmt="os"[number % 2], color=f"C{number}", capsize=2, label=label
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="mean confidence of the words", ylabel="share of right words")
    axes.legend(loc="upper left", fontsize="small", frameon=False)
    tidy(axes, f"{int(found.num_words.sum())} words in {len(found.num_words)} bins")
    save(figure, path)


def wilson(share: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95% interval of shares of so many, (bins,)."""
    z, n = 1.96, np.maximum(number, 1)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half
