"""What all pictures share."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from speechssl.outputs import partial_of


def tidy(axes: Axes, title: str) -> None:
    """Title and light frame."""
    axes.set_title(title, fontsize="medium", loc="left")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Write a picture under its name only when it is whole."""
    partial = partial_of(path)
    figure.savefig(partial, dpi=110, format="png")
    partial.replace(path.resolve())
