"""Figures as PNG files: the curves of a training and heat maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from art_levelset.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

_CURVES = {
    "samples, %": {
        "accuracy": "right, training",
        "robust_accuracy": "right under search, training",
        "crossed": "crossed, training",
        "validation_accuracy": "right, validation",
        "validation_robust_accuracy": "right under attack, validation",
    },
    "margin": {"margin": "mean margin"},
    "loss": {"loss": "loss"},
}
"""The curves of a training: the panels' labels, and their metrics with the names of their lines."""


def plot_history(history: Sequence[Mapping[str, float]], path: str | PathLike[str], *, title: str = "") -> None:
    """
    Draw what the epochs of a training brought and write a PNG file: accuracies and the share of samples that crossed,
    the mean margin, and the loss, as far as they were measured.

    :param history: The metrics of each epoch, at least one, with their `epoch`.
    :param path: The file to write, in a folder that exists.
    :param title: A line above the picture.
    :raises ValueError: If there is no epoch.
    :raises OSError: If the file cannot be written.
    """
    if not history:
        raise ValueError("history must hold at least one epoch")
    panels = {
        label: {name: line for name, line in names.items() if any(name in metrics for metrics in history)}
        for label, names in _CURVES.items()
    }
    panels = {label: names for label, names in panels.items() if names}
    figure = _canvas(1 + 3.6 * len(panels), 3.6)
    figure.suptitle(title, parse_math=False)
    for axes, (label, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, line in names.items():
            epochs, values = zip(
                *((metrics["epoch"], metrics[name]) for metrics in history if name in metrics), strict=True
            )
            axes.plot(epochs, 100 * np.array(values) if "%" in label else values, marker=".", linewidth=1.6, label=line)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color="0.9")
        axes.legend(frameon=False, fontsize=8)
    save(figure, path)


def heat_map(
    path: str | PathLike[str],
    percents: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    framed: Collection[tuple[int, int]],
    *,
    title: str = "",
) -> None:
    """
    Draw a matrix of percentages, target rows by source columns, with its numbers and write a PNG file.

    :param path: The file to write, in a folder that exists.
    :param percents: The percentages, (rows, columns).
    :param rows: The rows' names, the targets.
    :param columns: The columns' names, the sources.
    :param framed: The cells to frame, (row, column).
    :param title: A line above the picture.
    :raises OSError: If the file cannot be written.
    """
    longest = max(len(name) for name in rows)
    figure, axes = _figure(1.8 + 0.09 * longest + 1.25 * len(columns), 1.7 + 0.7 * len(rows), title)
    axes.imshow(percents, vmin=0, vmax=100, cmap="cividis", aspect="auto")
    for (row, column), value in np.ndenumerate(percents):
        axes.text(
            column, row, f"{value:.2f}", ha="center", va="center", color="black" if value > 55 else "white", fontsize=11
        )
    for row, column in framed:
        axes.add_patch(_frame(row, column))
    axes.set_xticks(range(len(columns)), columns, rotation=20 if max(map(len, columns)) > 12 else 0, parse_math=False)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    axes.set(xlabel="source of the examples", ylabel="target")
    axes.tick_params(length=0)
    save(figure, path)


def _frame(row: int, column: int) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor="crimson", linewidth=2)


def _canvas(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _figure(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = _canvas(width, height)
    axes = figure.add_subplot()
    axes.set_title(title, parse_math=False)
    return figure, axes


def save(figure: Figure, path: str | PathLike[str]) -> None:
    """
    Write a figure as a file that is there completely or not at all.

    :param figure: The figure.
    :param path: The file, in a folder that exists; PNG unless its ending names another format.
    :raises OSError: If the file cannot be written.
    """
    with replacing(path := Path(path)) as unfinished:
        figure.savefig(unfinished, format=path.suffix[1:] or "png")
