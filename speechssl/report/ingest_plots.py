"""Picture of a set of shards: lengths, levels, and what was left out."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from speechssl.report.plots import tidy

COLOUR = "#1f6fb4"


def plot_ingest(lengths: Mapping[str, int], levels: Mapping[str, int], rejected: Mapping[str, int], path: Path) -> None:
    """One PNG.

    Args:
        lengths: utterances by the lower edge of half a second.
        levels: utterances by the lower edge of 3 dB.
        rejected: recordings by reason.
        path: of the picture.
    """
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    plot_histogram(axes[0], lengths, 0.5, "utterances by length (s)")
    plot_histogram(axes[1], levels, 3.0, "utterances by mean level (dB below full scale)")
    plot_rejected(axes[2], rejected)
    partial = path.with_name(f".partial_{path.name}")
    figure.savefig(partial, dpi=110, format="png")
    partial.replace(path)


def plot_histogram(axes: Axes, counts: Mapping[str, int], width: float, title: str) -> None:
    """Bars from the lower edges of their bins."""
    edges = [float(edge) for edge in counts]
    axes.bar(edges, list(counts.values()), width, align="edge", color=COLOUR, alpha=0.7)
    tidy(axes, title)


def plot_rejected(axes: Axes, rejected: Mapping[str, int]) -> None:
    """A bar for each reason, or that there is none."""
    tidy(axes, "left out, by reason")
    if not rejected:
        axes.text(0.5, 0.5, "nothing", transform=axes.transAxes, ha="center", color="#8c8c8c")
        axes.set_axis_off()
        return
    bars = axes.barh(list(rejected), list(rejected.values()), color="#c03030", alpha=0.7)
    axes.bar_label(bars, padding=3, fontsize="small")
    axes.invert_yaxis()
    axes.margins(x=0.15)
