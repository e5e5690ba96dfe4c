"""What all pictures share."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from speechssl.files import written_whole


def new_picture(width: float, height: float, *, places_are_given: bool = False) -> Figure:
    """An empty picture, in inches, whose parts are laid out by matplotlib unless their places are given."""
    figure = Figure(figsize=(width, height), layout=None if places_are_given else "constrained")
    FigureCanvasAgg(figure)
    return figure


def eight_axes() -> tuple[Figure, Any]:
    """A picture of eight figures, and their axes, (2, 4)."""
    figure = new_picture(17, 7.2)
    return figure, figure.subplots(2, 4)


def points_of(lines: Iterable[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """Updates and values of a figure in the lines of a log, where it is a number."""
    return [(line["update"], line[name]) for line in lines if line.get(name) is not None]


def tidy(axes: Axes, title: str) -> None:
    """Title and light frame."""
    axes.set_title(title, fontsize="medium", loc="left")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Write a picture under its name only when it is whole."""
    with written_whole(path) as partial:
        figure.savefig(partial, dpi=110, format="png")
