"""Figures as PNG files: margin curves, training curves, reliability diagrams and heat maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.evaluation.record import Calibration, MarginCurve
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
"""The curves of a training: the panels' labels, and their figures with the names of their lines."""


def plot_margin_curves(
    curves: Sequence[MarginCurve], path: str | PathLike[str], *, radius: float | None = None, title: str = ""
) -> None:
    """
    Draw robust accuracy over the radius and write a PNG file.

    :param curves: The curves, at least one.
    :param path: The file to write, in a folder that exists.
    :param radius: A radius to mark, such as that of the evaluation.
    :param title: A line above the picture.
    :raises ValueError: If there is no curve.
    :raises OSError: If the file cannot be written.
    """
    if not curves:
        raise ValueError("curves must hold at least one curve")
    figure, axes = _figure(6.4, 4.2, title)
    for curve in curves:
        axes.plot(curve.eps, [100 * value for value in curve.accuracy], linewidth=1.6, label=curve.name)
    if radius is not None:
        axes.axvline(radius, color="0.5", linestyle="--", linewidth=1)
    axes.set(xlabel="radius ε", ylabel="robust accuracy, %", ylim=(0, 102), xlim=(0, None))
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    save(figure, path)


def plot_calibration(calibrations: Mapping[str, Calibration], path: str | PathLike[str], *, title: str = "") -> None:
    """
    Draw reliability diagrams and write a PNG file: accuracy over confidence, and below it the confidences' histogram.

    :param calibrations: The calibrations by their models' names, at least one.
    :param path: The file to write, in a folder that exists.
    :param title: A line above the picture.
    :raises ValueError: If there is no calibration.
    :raises OSError: If the file cannot be written.
    """
    if not calibrations:
        raise ValueError("calibrations must hold at least one calibration")
    figure = _canvas(0.6 + 3.2 * len(calibrations), 4.6)
    figure.suptitle(title)
    columns = figure.subplots(2, len(calibrations), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 1)).T
    for (name, found), (upper, lower) in zip(calibrations.items(), columns, strict=True):
        starts = [part.above for part in found.bins]
        bars: dict[str, Any] = {"width": [part.up_to - part.above for part in found.bins], "align": "edge"}
        accuracies, confidences, counts = zip(
            *((part.accuracy, part.confidence, part.count) for part in found.bins), strict=True
        )
        upper.bar(starts, accuracies, color="#8fb8de", edgecolor="white", **bars)
        upper.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1)
        upper.plot(confidences, accuracies, "o", color="#1f4e79", markersize=4)
        upper.set_title(f"{name}\nECE {found.ece:.2%}, NLL {found.nll:.3g}", fontsize=10)
        lower.bar(starts, np.array(counts) / sum(counts), color="0.7", edgecolor="white", **bars)
        lower.set(xlim=(0, 1), xlabel="confidence")
    columns[0][0].set(ylim=(0, 1), ylabel="accuracy")
    columns[0][1].set(yscale="log", ylim=(1e-4, 2), ylabel="samples")
    save(figure, path)


def plot_history(history: Sequence[Mapping[str, float]], path: str | PathLike[str], *, title: str = "") -> None:
    """
    Draw what the epochs of a training brought and write a PNG file: accuracies and the share of samples that crossed,
    the mean margin, and the loss, as far as they were measured.

    :param history: The figures of each epoch, at least one, with their `epoch`.
    :param path: The file to write, in a folder that exists.
    :param title: A line above the picture.
    :raises ValueError: If there is no epoch.
    :raises OSError: If the file cannot be written.
    """
    if not history:
        raise ValueError("history must hold at least one epoch")
    panels = {
        label: {name: line for name, line in names.items() if any(name in figures for figures in history)}
        for label, names in _CURVES.items()
    }
    panels = {label: names for label, names in panels.items() if names}
    figure = _canvas(1 + 3.6 * len(panels), 3.6)
    figure.suptitle(title)
    for axes, (label, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, line in names.items():
            epochs, values = zip(
                *((figures["epoch"], figures[name]) for figures in history if name in figures), strict=True
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
    axes.set_xticks(range(len(columns)), columns, rotation=20 if max(map(len, columns)) > 12 else 0)
    axes.set_yticks(range(len(rows)), rows)
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
    axes.set_title(title)
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
