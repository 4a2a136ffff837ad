"""
Figure 1: the decision boundary of FC-1 between 16 points of two classes in the plane, trained with four losses.

(a) Cross-entropy. (b) Eq. 12 with the coordinate distance of L_inf: the boundary is to stay out of the squares of
radius eps around the points. (c) Eq. 12 with L_2: out of the discs. (d) The geometric SVM, eq. 11, with the level sets
F = -1 and F = 1. All are trained through the Adversarial Robustness Toolbox with Adam and a cosine schedule, on all
points at once. The paper makes 16,000 steps on single points for each; here a few hundred do, because (b), (c) and (d)
go on from the network of (a). From scratch in so few steps, (b) leaves a point on the wrong side for some seeds.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray
from skimage.measure import find_contours
from torch import nn

from art_levelset.models import fc_1
from art_levelset.trainers.geometric_svm import GeometricSVMTrainer
from art_levelset.trainers.margin import LevelSetMarginTrainer
from art_levelset.trainers.presets import EQ_12

EPS = 0.03
"""The distance that (b) and (c) ask for, and that the points leave room for: those of two classes are 0.09 apart."""

_LIMITS = (-0.05, 0.55)
_GRID = 301
_COLOURS = ("#c0392b", "#2264a8")
_LIGHT = ("#f2b8b0", "#a9cbec")


@dataclass(frozen=True)
class Panel:
    """
    One trained network.

    :param name: "a" to "d".
    :param training: What it was trained with.
    :param accuracy: The fraction of the 16 points that it classifies right.
    :param distance_inf: The L_inf distance from the decision boundary to the nearest of the points; infinite where the
           picture holds no boundary.
    :param distance_2: The same in L_2.
    :param scores: F = f_1 - f_0 on the grid of the picture, (grid, grid), rows along the second coordinate.
    """

    name: str
    training: str
    accuracy: float
    distance_inf: float
    distance_2: float
    scores: NDArray[np.float64]

    def metrics(self) -> dict[str, Any]:
        """
        All but the grid, for JSON; a distance that is infinite is None.

        :return: Names and values.
        """
        return {
            "panel": self.name,
            "training": self.training,
            "accuracy": self.accuracy,
            **{
                name: distance if math.isfinite(distance) else None
                for name, distance in (("distance_inf", self.distance_inf), ("distance_2", self.distance_2))
            },
        }


def run(path: str | PathLike[str], *, seed: int = 0, nb_epochs: int = 250, verbose: bool = True) -> list[Panel]:
    """
    Train the four networks and draw them.

    :param path: The picture to write, in any format that matplotlib writes.
    :param seed: Seed of the networks and the trainers, >= 0; the points are always the same.
    :param nb_epochs: Steps of each training, >= 1.
    :param verbose: Whether to show progress bars.
    :return: The panels (a) to (d).
    """
    x, y = points()
    torch.manual_seed(seed)
    model: nn.Module = fc_1(2, 2)
    panels = []
    for name, (training, rate, fit) in _TRAINING.items():
        classifier, scheduler = _classifier(deepcopy(model), rate, nb_epochs)
        fit(classifier, seed)(x, y, batch_size=len(x), nb_epochs=nb_epochs, scheduler=scheduler, verbose=verbose)
        panels.append(_panel(name, training, classifier.model, x, y))
        if name == "a":
            model = classifier.model
    draw(panels, x, y, path)
    return panels


def points() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """
    The 16 points: uniform in [0.03, 0.47]^2, no two nearer than 0.09 in L_inf, the classes on two sides of a wave.

    :return: Points, (16, 2), and classes in {0, 1}, (16,).
    """
    random = np.random.default_rng(4)
    chosen: list[NDArray[np.float64]] = []
    while len(chosen) < 16:
        point = random.uniform(0.03, 0.47, 2)
        if all(np.abs(point - other).max() >= 0.09 for other in chosen):
            chosen.append(point)
    x = np.array(chosen)
    return x.astype(np.float32), (x[:, 1] > 0.25 + 0.1 * np.sin(4 * np.pi * x[:, 0])).astype(np.int64)


def draw(panels: list[Panel], x: NDArray[np.float32], y: NDArray[np.int64], path: str | PathLike[str]) -> None:
    """
    Draw the panels side by side: the two decision regions, their boundary, the points and what each loss controls.

    :param panels: The panels (a) to (d).
    :param x: The points, (n, 2).
    :param y: Their classes, (n,).
    :param path: The picture to write.
    """
    figure = Figure(figsize=(16, 4.6), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
        _draw_panel(axes, panel, x, y)
    figure.savefig(path, dpi=110)


Fit = Callable[[PyTorchClassifier, int], Callable[..., None]]

_TRAINING: dict[str, tuple[str, float, Fit]] = {
    "a": ("cross-entropy", 1e-3, lambda classifier, seed: classifier.fit),
    "b": (
        f"eq. 12, L∞, ε = {EPS}",
        3e-3,
        lambda classifier, seed: LevelSetMarginTrainer(classifier, EPS, seed=seed, **EQ_12).fit,
    ),
    "c": (
        f"eq. 12, L₂, ε = {EPS}",
        3e-3,
        lambda classifier, seed: (
            LevelSetMarginTrainer(classifier, EPS, seed=seed, **{**EQ_12, "norm": 2, "distance": "lp"}).fit
        ),
    ),
    "d": (
        "geometric SVM, eq. 11",
        3e-3,
        lambda classifier, seed: GeometricSVMTrainer(classifier, lam=0.001, alpha=-1, seed=seed).fit,
    ),
}


def _classifier(
    model: nn.Module, rate: float, nb_epochs: int
) -> tuple[PyTorchClassifier, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    classifier = PyTorchClassifier(
        model, loss=nn.CrossEntropyLoss(), input_shape=(2,), nb_classes=2, optimizer=optimizer, device_type="cpu"
    )
    return classifier, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, nb_epochs)


def _panel(name: str, training: str, model: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64]) -> Panel:
    ticks = torch.linspace(*_LIMITS, _GRID)
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1)
    with torch.no_grad():
        scores = _scores(model, grid.reshape(-1, 2)).reshape(_GRID, _GRID).double().numpy()
        right = (_scores(model, torch.from_numpy(x)).numpy() > 0) == (y == 1)
    boundary = _densely(_curves(scores, 0.0))
    offsets = np.abs(boundary[:, None] - x[None])
    return Panel(
        name,
        training,
        float(right.mean()),
        float(offsets.max(axis=2).min(initial=math.inf)),
        float(np.sqrt((offsets**2).sum(axis=2)).min(initial=math.inf)),
        scores,
    )


def _scores(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    outputs: torch.Tensor = model(x)
    return outputs[:, 1] - outputs[:, 0]


def _curves(scores: NDArray[np.float64], level: float) -> list[NDArray[np.float64]]:
    """The level set in the picture: polygonal lines, each (n, 2)."""
    low, high = _LIMITS
    scale = (high - low) / (_GRID - 1)
    return [low + scale * curve[:, ::-1] for curve in find_contours(scores, level)]


def _densely(curves: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Points on the lines, (n, 2), eight a segment."""
    fractions = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    pieces = [(curve[:-1] + fractions * np.diff(curve, axis=0)).reshape(-1, 2) for curve in curves]
    return np.concatenate([np.empty((0, 2)), *pieces])


def _draw_panel(axes: Axes, panel: Panel, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    ticks = np.linspace(*_LIMITS, _GRID)
    axes.contourf(ticks, ticks, panel.scores, levels=[-np.inf, 0, np.inf], colors=["#fdf3f1", "#eff5fb"])
    if panel.name in "bc":
        for point in x:
            axes.add_patch(_ball(panel.name, point))
    levels = [(0.0, "black"), *(zip((-1.0, 1.0), _LIGHT, strict=True) if panel.name == "d" else ())]
    for level, colour in levels:
        for curve in _curves(panel.scores, level):
            axes.plot(*curve.T, color=colour, linewidth=1.6)
    for label, colour in enumerate(_COLOURS):
        axes.scatter(x[y == label, 0], x[y == label, 1], color=colour, s=28, zorder=3)
    axes.set_title(f"({panel.name}) {panel.training}")
    axes.set_xlabel(f"boundary to nearest point: L∞ {panel.distance_inf:.3f}, L₂ {panel.distance_2:.3f}", fontsize=9)
    axes.set(aspect="equal", xlim=_LIMITS, ylim=_LIMITS, xticks=[0, 0.25, 0.5], yticks=[0, 0.25, 0.5])


def _ball(name: str, point: NDArray[Any]) -> Rectangle | Circle:
    horizontal, vertical = point.tolist()
    if name == "b":
        return Rectangle((horizontal - EPS, vertical - EPS), 2 * EPS, 2 * EPS, fill=False, edgecolor="0.45")
    return Circle((horizontal, vertical), EPS, fill=False, edgecolor="0.45")
