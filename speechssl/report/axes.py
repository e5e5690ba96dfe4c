"""What all pictures share."""

from matplotlib.axes import Axes


def tidy(axes: Axes, title: str) -> None:
    """Title and light frame."""
    axes.set_title(title, fontsize="medium", loc="left")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
