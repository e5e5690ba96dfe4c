"""The files of a calibration, and its picture: how many words are right of those with like confidence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from speechssl.evaluation.calibration import Reliability
from speechssl.outputs import has_json, is_plot, write_json
from speechssl.report.axes import save, tidy

RESULT_FILE, PLOT_FILE = "calibration.json", "reliability.png"
CALIBRATION_FILES = {RESULT_FILE: has_json("calibration", "measured"), PLOT_FILE: is_plot}


def write_calibration(folder: Path, content: dict[str, Any], measured: Mapping[str, Reliability]) -> None:
    """Write what was measured, and plot the last set of it without and with calibration."""
    write_json(folder / RESULT_FILE, content)
    names = ("as the model has it", "calibrated")
    plot_reliability(dict(zip(names, list(measured.values())[-2:], strict=True)), folder / PLOT_FILE)


def show_calibration(content: dict[str, Any]) -> None:
    """Tell the errors, one line each."""
    fitted = content["calibration"]
    print(
        f"{content['checkpoint']}: fitted on {fitted['num_words']} words: slope {fitted['slope']:.3f}, "
        f"offset {fitted['offset']:+.3f}"
    )
    for name, found in content["measured"].items():
        error = found["error"]
        print(
            f"{name}: calibration error {error['value']:.1%} (95% interval {error['low']:.1%} to {error['high']:.1%}; "
            f"{found['chance']:.1%} were every confidence exact), AUC {found['auc']:.3f}, {found['num_words']} words"
        )


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
