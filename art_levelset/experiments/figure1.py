"""
Figure 1: the decision boundary of FC-1 between 16 points of two classes in the plane, trained with four losses.

(a) Cross-entropy. (b) Eq. 12 with the coordinate distance of L_inf: the boundary is to stay out of the squares of
radius eps around the points. (c) Eq. 12 with L_2: out of the discs. (d) The geometric SVM, eq. 11, with the level sets
F = -1 and F = 1. All are trained through the Adversarial Robustness Toolbox with Adam.

*From random starts*, as in Appendix B.1: 1,000 epochs of single points, the learning rate 0.001, at most 20 iterations
of a projection, lambda = 0.001; all four from the same network. *Continued*, as in the demonstration: a few hundred
steps on all points at once with a cosine schedule, where (b), (c) and (d) go on from the network of (a). A killed
experiment goes on after its last finished network.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
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

from art_levelset.checks import check_count, check_seed
from art_levelset.experiments.rows import Rows, add_common_arguments
from art_levelset.files import beside, replacing
from art_levelset.models import fc_1
from art_levelset.models.weights import load_weights
from art_levelset.progress import shown
from art_levelset.trainers.geometric_svm import GeometricSVMTrainer
from art_levelset.trainers.margin import LevelSetMarginTrainer
from art_levelset.trainers.presets import EQ_12

EPS = 0.03
"""The distance that (b) and (c) ask for, and that the points leave room for: those of two classes are 0.09 apart."""

CONTINUED_EPOCHS = 250
"""Steps of a training that goes on from that of panel (a), or is that of panel (a)."""

KEPT = 0.95
"""The part of eps beyond which the distance counts as kept."""

_LIMITS = (-0.05, 0.55)
_GRID, _FAST_GRID = 301, 61
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


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    add_common_arguments(parser, "figure1")
    parser.add_argument("--panels", nargs="+", choices=list("abcd"), default=list("abcd"), help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="default: 0 to 4")
    parser.add_argument("--nb-epochs", type=int, default=1000, metavar="N", help="from a random start (default: 1000)")
    parser.add_argument("--work-dir", type=Path, metavar="DIR", help="the networks (default: beside the rows)")


def run(arguments: argparse.Namespace) -> str:
    """
    Train the networks that are not there yet, and draw those of the first seed.

    :param arguments: As :func:`add_parser` declares them.
    :return: The table in Markdown.
    :raises ValueError: If a number is out of range, or the rows are of other settings.
    :raises OSError: If a file cannot be read or written.
    """
    if arguments.fast:
        arguments.seeds, arguments.nb_epochs = arguments.seeds[:1], min(arguments.nb_epochs, 2)
    check_count("nb_epochs", arguments.nb_epochs)
    for seed in arguments.seeds:
        check_seed(seed)
    rows = Rows(arguments.output, {"nb_epochs": arguments.nb_epochs, "eps": EPS}, keys=("start", "panel", "seed"))
    folder = arguments.work_dir or arguments.output.parent / "networks"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    continued_epochs, size = (3, _FAST_GRID) if arguments.fast else (CONTINUED_EPOCHS, _GRID)
    drawn: dict[str, list[Panel]] = {}
    for seed in arguments.seeds:
        if seed == arguments.seeds[0] or len(rows.select(start="continued", seed=seed)) < len(_TRAINING):
            panels = continued(seed, nb_epochs=continued_epochs, size=size, verbose=False)
            drawn.setdefault("continued", panels)
            for panel in panels:
                rows.add({"start": "continued", "seed": seed, **panel.metrics()})
        for name in arguments.panels:
            path = folder / f"{name}_{arguments.nb_epochs}_{seed}.pth"
            found = rows.find(start="random", panel=name, seed=seed)
            if found is None or not path.exists():
                started = time.process_time()
                model = train_from_random_start(name, seed, arguments.nb_epochs)
                with replacing(path) as temporary:
                    torch.save(model.state_dict(), temporary)
                found = {"start": "random", "seed": seed, "seconds": time.process_time() - started}
                rows.add({**found, **_panel(name, model, size).metrics()})
            if seed == arguments.seeds[0]:
                drawn.setdefault("random", []).append(_panel(name, load_weights(fc_1(2, 2), path), size))
    draw(
        {"random start": drawn["random"], "continued": drawn["continued"]},
        *points(),
        beside(arguments.output, ".png"),
    )
    return table(rows.rows)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """
    What was found, means and standard deviations over the seeds.

    :param rows: The rows that :func:`run` has written.
    :return: A table in Markdown.
    """
    lines = ["| start | panel | accuracy, % | L_inf | L_2 | keeps eps | seconds | seeds |", "|---" * 8 + "|"]
    for start, name in sorted(
        {(row["start"], row["panel"]) for row in rows}, key=lambda key: (key[0] != "random", key)
    ):
        runs = [row for row in rows if (row["start"], row["panel"]) == (start, name)]
        if not runs:
            continue
        accuracy = 100 * float(np.mean([row["accuracy"] for row in runs]))
        cells = [_spread([row[column] for row in runs]) for column in ("distance_inf", "distance_2")]
        kept = [_keeps(row) for row in runs]
        cells.append("" if name in "ad" else f"{sum(kept)} of {len(kept)}")
        seconds = [row["seconds"] for row in runs if "seconds" in row]
        cells.append(f"{np.mean(seconds):.0f}" if seconds else "")
        lines.append(
            f"| {start} | ({name}) {runs[0]['training']} | {accuracy:.1f} | {' | '.join(cells)} | {len(runs)} |"
        )
    return "\n".join(lines)


def _keeps(row: Mapping[str, Any]) -> bool:
    """Whether all points are on their own side, as far from the boundary as was asked for."""
    distance = row["distance_2" if row["panel"] == "c" else "distance_inf"]
    return row["accuracy"] == 1 and (distance is None or distance >= KEPT * EPS)


def _spread(distances: Sequence[float | None]) -> str:
    """Mean and standard deviation; infinite where a picture holds no boundary."""
    known = [math.inf if distance is None else distance for distance in distances]
    if math.inf in known:
        return "inf"
    return f"{np.mean(known):.4f}" + (f" ± {np.std(known, ddof=1):.4f}" if len(known) > 1 else "")


def train_from_random_start(name: str, seed: int, nb_epochs: int) -> nn.Module:
    """
    A panel's network as the paper trains it: single points, a constant learning rate.

    :param name: "a" to "d".
    :param seed: Seed of the network and the trainer, >= 0: the same network for all panels.
    :param nb_epochs: Epochs of 16 steps, >= 1.
    :return: The network.
    """
    x, y = points()
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # the toolbox shuffles with it
    model = fc_1(2, 2).eval()  # no layer has modes, and none need be set for every pass
    classifier = _classifier(model, torch.optim.Adam(model.parameters(), lr=1e-3, fused=True))
    _TRAINING[name][2](classifier, seed)(x, y, batch_size=1, nb_epochs=nb_epochs, verbose=False)
    return model


def draw_continued(
    path: str | PathLike[str], *, seed: int = 0, nb_epochs: int = CONTINUED_EPOCHS, verbose: bool = True
) -> list[Panel]:
    """
    Train the four networks in few steps, as :func:`continued` does, and draw them.

    :param path: The picture to write, in any format that matplotlib writes.
    :param seed: Seed of the networks and the trainers, >= 0; the points are always the same.
    :param nb_epochs: Steps of each training, >= 1.
    :param verbose: Whether to show progress bars.
    :return: The panels (a) to (d).
    """
    panels = continued(seed, nb_epochs=nb_epochs, verbose=verbose)
    draw({"": panels}, *points(), path)
    return panels


def continued(seed: int, *, nb_epochs: int, size: int = _GRID, verbose: bool = True) -> list[Panel]:
    """
    The four networks, (b), (c) and (d) going on from (a), trained on all points at once.

    :param seed: Seed of the networks and the trainers, >= 0.
    :param nb_epochs: Steps of each training, >= 1.
    :param size: Points of the picture's grid a side.
    :param verbose: Whether to show progress bars.
    :return: The panels (a) to (d).
    """
    x, y = points()
    torch.manual_seed(seed)
    model: nn.Module = fc_1(2, 2)
    panels = []
    for name, (_, rate, fit) in _TRAINING.items():
        copy = deepcopy(model)
        optimizer = torch.optim.Adam(copy.parameters(), lr=rate)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, nb_epochs)
        classifier = _classifier(copy, optimizer)
        fit(classifier, seed)(x, y, batch_size=len(x), nb_epochs=nb_epochs, scheduler=scheduler, verbose=shown(verbose))
        panels.append(_panel(name, copy, size))
        if name == "a":
            model = copy
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


def draw(
    rows: Mapping[str, Sequence[Panel]], x: NDArray[np.float32], y: NDArray[np.int64], path: str | PathLike[str]
) -> None:
    """
    Draw panels side by side: the two decision regions, their boundary, the points and what each loss controls.

    :param rows: Rows of panels by what stands beside them, not more in any than in the last one.
    :param x: The points, (n, 2).
    :param y: Their classes, (n,).
    :param path: The picture to write.
    """
    figure = Figure(figsize=(16, 4.6 * len(rows)), layout="constrained")
    columns = len(list(rows.values())[-1])
    for line, (name, panels) in zip(figure.subplots(len(rows), columns, squeeze=False), rows.items(), strict=True):
        for axes in line[len(panels) :]:
            axes.set_axis_off()
        for axes, panel in zip(line, panels, strict=False):
            _draw_panel(axes, panel, x, y)
        line[0].set_ylabel(name, fontsize=14)
    figure.savefig(path, dpi=110 if len(rows) == 1 else 80)


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


def _classifier(model: nn.Module, optimizer: torch.optim.Optimizer) -> PyTorchClassifier:
    return PyTorchClassifier(
        model, loss=nn.CrossEntropyLoss(), input_shape=(2,), nb_classes=2, optimizer=optimizer, device_type="cpu"
    )


def _panel(name: str, model: nn.Module, size: int) -> Panel:
    """A trained network, looked at on a grid of so many points a side."""
    x, y = points()
    ticks = torch.linspace(*_LIMITS, size)
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1)
    with torch.no_grad():
        scores = _scores(model, grid.reshape(-1, 2)).reshape(size, size).double().numpy()
        right = (_scores(model, torch.from_numpy(x)).numpy() > 0) == (y == 1)
    boundary = _densely(_curves(scores, 0.0))
    offsets = np.abs(boundary[:, None] - x[None])
    return Panel(
        name,
        _TRAINING[name][0],
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
    scale = (high - low) / (len(scores) - 1)
    return [low + scale * curve[:, ::-1] for curve in find_contours(scores, level)]


def _densely(curves: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Points on the lines, (n, 2), eight a segment."""
    fractions = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    pieces = [(curve[:-1] + fractions * np.diff(curve, axis=0)).reshape(-1, 2) for curve in curves]
    return np.concatenate([np.empty((0, 2)), *pieces])


def _draw_panel(axes: Axes, panel: Panel, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    ticks = np.linspace(*_LIMITS, len(panel.scores))
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
