"""A sweep of weights as a table and as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from speechssl.evaluation.tuning import Trial, best_of
from speechssl.report.axes import save
from speechssl.text.measure import Measure


def make_table(trials: Sequence[Trial], measure: Measure) -> Table:
    """Error rates, a row for each weight and a column for each word score; the best in bold."""
    weights, scores, rates = _grid(trials, measure)
    best = best_of(trials, measure)
    table = Table(
        "weight \\ word_score", *(f"{score:g}" for score in scores), title=f"{measure.upper()} (%) on the dev set"
    )
    for weight, row in zip(weights, rates, strict=True):
        shown = [f"{100 * rate:.2f}" for rate in row]
        if weight == best.weight:
            at = scores.index(best.word_score)
            shown[at] = f"[bold]{shown[at]}[/bold]"
        table.add_row(f"{weight:g}", *shown)
    return table


def plot_sweep(trials: Sequence[Trial], measure: Measure, greedy: float, path: Path) -> None:
    """Error rates over both settings as a PNG; the best one is marked."""
    weights, scores, rates = _grid(trials, measure)
    best = best_of(trials, measure)
    figure = Figure(figsize=(1.6 + 0.75 * len(scores), 1.6 + 0.5 * len(weights)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(100 * rates, cmap="viridis_r", aspect="auto", origin="lower")
    middle = (np.nanmin(rates) + np.nanmax(rates)) / 2
    for i, j in np.ndindex(rates.shape):
        is_best = (weights[i], scores[j]) == (best.weight, best.word_score)
        axes.text(
            j,
            i,
            f"{100 * rates[i, j]:.1f}",
            ha="center",
            va="center",
            color="white" if rates[i, j] > middle else "black",
            weight="bold" if is_best else "normal",
            bbox={"boxstyle": "round", "fill": False, "ec": "#c03030", "lw": 1.5} if is_best else None,
        )
    axes.set_xticks(range(len(scores)), [f"{score:g}" for score in scores])
    axes.set_yticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    axes.set_xlabel("word score (nats)")
    axes.set_ylabel("weight of the language model")
    axes.set_title(f"{measure.upper()} on the dev set (%); greedy {100 * greedy:.1f}", loc="left", fontsize="medium")
    figure.colorbar(image, ax=axes)
    save(figure, path)


def _grid(trials: Sequence[Trial], measure: Measure) -> tuple[list[float], list[float], np.ndarray]:
    """Weights, word scores, and the error rates of each pair (weights, word scores)."""
    weights = sorted({trial.weight for trial in trials})
    scores = sorted({trial.word_score for trial in trials})
    rates = np.full((len(weights), len(scores)), np.nan)
    for trial in trials:
        rates[weights.index(trial.weight), scores.index(trial.word_score)] = getattr(trial, measure)
    return weights, scores, rates
