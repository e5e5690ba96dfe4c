"""A probe on the terminal and as a picture: layers side by side, spectral features and random weights among them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from rich.table import Table

from speechssl.probing.results import Figure
from speechssl.report.axes import new_picture, save, tidy
from speechssl.report.tables import new_table


class Measure(NamedTuple):
    """How a measure is shown."""

    title: str
    lower_is_better: bool | None
    """None where neither is."""
    is_share: bool = True


MEASURES = {
    ("ctc", "cer"): Measure("character error rate", lower_is_better=True),
    ("ctc", "wer"): Measure("word error rate", lower_is_better=True),
    ("speaker", "accuracy"): Measure("speaker identification", lower_is_better=False),
    ("verification", "eer"): Measure("speaker verification, EER", lower_is_better=True),
    ("language", "accuracy"): Measure("language identification", lower_is_better=False),
    ("units", "label_purity"): Measure("label purity of units", lower_is_better=False),
    ("units", "pnmi"): Measure("PNMI of units", lower_is_better=False),
    ("abx", "within"): Measure("ABX within speakers", lower_is_better=True),
    ("abx", "across"): Measure("ABX across speakers", lower_is_better=True),
    ("rank", "effective_rank"): Measure("effective rank", lower_is_better=None, is_share=False),
}
"""Those in table and picture; probe.json has all."""
HEAD_STYLES = {"linear": ("#1f6fb4", "o"), "recurrent": ("#d1741f", "s"), "none": ("#3b8a5a", "D")}


def best_of(figures: Sequence[Figure], measure: Measure) -> Figure | None:
    """The best of some figures of one measure, if one can be."""
    if measure.lower_is_better is None:
        return None
    return min(figures, key=lambda figure: figure.value if measure.lower_is_better else -figure.value)


def make_table(figures: Sequence[Figure], title: str) -> Table:
    """A row for each measure and head, a column for each layer, the best one in bold; percent, spread over seeds."""
    layers = list(dict.fromkeys(figure.layer for figure in figures))
    names = [layer.replace("_", "\n") for layer in layers]
    table = new_table(("measure", "head", *names), left=("measure", "head"), title=title)
    for (task, name), measure in MEASURES.items():
        rows: dict[str, dict[str, Figure]] = {}
        for figure in figures:
            if (figure.task, figure.measure) == (task, name):
                rows.setdefault(figure.head, {})[figure.layer] = figure
        for head, found in rows.items():
            best = best_of(list(found.values()), measure)
            cells = [
                shown(found[layer], measure, bold=found[layer] is best) if layer in found else "" for layer in layers
            ]
            table.add_row(measure.title, "" if head == "none" else head, *cells)
    return table


def shown(figure: Figure, measure: Measure, *, bold: bool) -> str:
    """A figure in a cell."""
    text = f"{100 * figure.value:.1f}" if measure.is_share else f"{figure.value:.1f}"
    if len(figure.seeds) > 1:
        text += f" ±{100 * figure.spread:.1f}"
    return f"[bold]{text}[/bold]" if bold else text


def plot_probe(
    figures: Sequence[Figure], cka: tuple[Sequence[str], Sequence[Sequence[float]]] | None, title: str, path: Path
) -> None:
    """A plot for each measure over the layers, and one of what layers have in common, as one PNG."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        if (figure.task, figure.measure) in MEASURES:
            groups.setdefault((figure.task, figure.measure), []).append(figure)
    shown_groups = {key: groups[key] for key in MEASURES if key in groups}
    size = len(shown_groups) + (cka is not None)
    columns = min(4, max(size, 1))
    rows = -(-max(size, 1) // columns)
    picture = new_picture(4.4 * columns, 3.9 * rows)
    every = picture.subplots(rows, columns, squeeze=False).flatten()
    for axes, (key, group) in zip(every, shown_groups.items(), strict=False):
        plot_measure(axes, group, MEASURES[key])
    if cka is not None:
        plot_cka(every[len(shown_groups)], *cka)
    for axes in every[size:]:
        axes.set_visible(False)
    picture.suptitle(title)
    save(picture, path)


def plot_measure(axes: Axes, figures: Sequence[Figure], measure: Measure) -> None:
    """Each head's values over the layers, with seeds as small points; baselines stand apart, joined by no line."""
    layers = list(dict.fromkeys(figure.layer for figure in figures))
    scale = 100 if measure.is_share else 1
    for head, (colour, marker) in HEAD_STYLES.items():
        found: Mapping[str, Figure] = {figure.layer: figure for figure in figures if figure.head == head}
        if not found:
            continue
        places = [i for i, layer in enumerate(layers) if layer in found]
        values = [scale * found[layers[i]].value for i in places]
        own = [k for k, i in enumerate(places) if not is_baseline(layers[i])]
        label = "no training" if head == "none" else head
        axes.plot([places[k] for k in own], [values[k] for k in own], color=colour, linewidth=1.4)
        axes.plot(places, values, marker, color=colour, markersize=5, label=label)
        for i in places:
            seeds = found[layers[i]].seeds
            axes.plot([i] * len(seeds), [scale * seed for seed in seeds], ".", color=colour, alpha=0.35, markersize=4)
    axes.set_xticks(range(len(layers)), [layer.replace("_", " ") for layer in layers], rotation=60, fontsize="small")
    axes.set_ylim(0, 1.08 * scale * max(max(figure.seeds) for figure in figures))
    if len({figure.head for figure in figures}) > 1:
        axes.legend(fontsize="small", frameon=False, loc="best")
    better = {None: "", True: "lower is better", False: "higher is better"}[measure.lower_is_better]
    notes = [note for note in ("%" if measure.is_share else "", better) if note]
    tidy(axes, f"{measure.title} ({', '.join(notes)})" if notes else measure.title)


def is_baseline(layer: str) -> bool:
    """Whether a layer is none of the probed encoder."""
    return layer in ("log_mel", "mfcc") or layer.startswith("random_")


def plot_cka(axes: Axes, names: Sequence[str], matrix: Sequence[Sequence[float]]) -> None:
    """What each two layers have in common, as shades from 0 to 1."""
    values = np.array(matrix)
    axes.imshow(values, vmin=0, vmax=1, cmap="Blues")
    shown_names = [name.replace("_", " ") for name in names]
    axes.set_xticks(range(len(names)), shown_names, rotation=60, fontsize="small")
    axes.set_yticks(range(len(names)), shown_names, fontsize="small")
    for i in range(len(names)):
        for j in range(len(names)):
            colour = "white" if values[i, j] > 0.6 else "#222222"
            axes.text(j, i, f"{values[i, j]:.2f}".removeprefix("0"), ha="center", va="center", fontsize=6, color=colour)
    tidy(axes, "linear CKA of the layers")
    axes.grid(visible=False)
