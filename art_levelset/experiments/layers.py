"""
What control of a hidden layer's level sets buys: networks whose robustness can be proved.

A ReLU unit bends the network on the zero level set of its pre-activation z_i = w_i x + b_i. Where the L_2 ball of
radius eps around x lies on one side of it, |z_i(x)| / |w_i| >= eps, the unit is *stable* and the network linear in it,
and where all are stable the margins' lowest values in the ball have a closed form. Each unstable unit, whose level set
cuts the ball, must be bounded instead: with the linear bounds of CROWN, in [l, u] = z_i -+ eps |w_i|,

    a z <= relu(z) <= u (z - l) / (u - l),        a = 1 if u > -l, else 0,

a margin f_y - f_j has a linear lower bound g_j x + h_j, and the sample is *certified* if g_j x + h_j - eps |g_j| > 0
for all j != y. Robust training controls the margin's zero level set, and leaves many of those bends beside each sample:
the network withstands attacks, and that cannot be proved.

So eq. 12 is used twice: for the decision boundary as usual, and with weight lambda for the K level sets of hidden units
nearest to each sample, on whichever side of them it is,

    1/(N K) sum_j sum_{i in K(j)} max(0, eps' - d(x_j, {z_i = 0})).

The distances are those to points of the sample network, on the fields of :mod:`art_levelset.core.layers`. The rows
beside it are eq. 12 for the decision boundary alone, for twice as many epochs, which take as long; the same with weight
decay, the ordinary way to smoother functions; and a network without a hidden layer, which is certified exactly: what
hidden units can be made to do must be worth more than to leave them out.

| Paper link: https://arxiv.org/abs/1905.11911
| Paper link: https://arxiv.org/abs/1811.00866 (CROWN's bounds)
| Paper link: https://arxiv.org/abs/1810.07481 (large linear regions), https://arxiv.org/abs/1809.03008 (stable ReLUs)
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from art_levelset.checks import check_count, check_seed
from art_levelset.core.distances import linearised_distance, lp_distance
from art_levelset.core.layers import layer_field, layer_output
from art_levelset.core.losses import margin_loss
from art_levelset.core.projection import project
from art_levelset.core.sample_network import attach
from art_levelset.evaluation import pgd
from art_levelset.evaluation.datasets import Dataset, load
from art_levelset.experiments.rows import Rows, add_common_arguments
from art_levelset.files import beside, replacing
from art_levelset.trainers.margin import LevelSetMarginTrainer
from art_levelset.trainers.presets import EQ_12
from art_levelset.trainers.search import Loss

WIDTH, BATCH_SIZE, LEARNING_RATE = 128, 64, 2e-3
EPS = 0.5
"""The distance in L_2 that eq. 12 asks of the decision boundary."""

HIDDEN_EPS, NEAREST = 0.3, 8
"""The distance that it asks of the hidden units' level sets, and K."""

RADII = (0.1, 0.2, 0.3, 0.4, 0.5)
SHOWN = (0.3, 0.5)
HIDDEN = "1"
"""The layer: the first Linear of the network, before its ReLU."""


@dataclass(frozen=True)
class Way:
    """
    A way to train.

    :param hidden: lambda, the weight of the hidden units' level sets.
    :param epochs: Epochs, as a multiple of `--epochs`.
    :param weight_decay: Adam's.
    :param linear: Whether the network has no hidden layer.
    """

    hidden: float = 0.0
    epochs: int = 2
    weight_decay: float = 0.0
    linear: bool = False


WAYS = {
    "decision boundary": Way(),
    "decision boundary, weight decay 0.005": Way(weight_decay=0.005),
    "decision boundary, weight decay 0.02": Way(weight_decay=0.02),
    "decision boundary, weight decay 0.06": Way(weight_decay=0.06),
    "decision boundary, weight decay 0.2": Way(weight_decay=0.2),
    "decision boundary, weight decay 0.6": Way(weight_decay=0.6),
    "decision boundary, no hidden layer": Way(linear=True),
    "and hidden units, λ = 0.3": Way(hidden=0.3, epochs=1),
    "and hidden units, λ = 1": Way(hidden=1.0, epochs=1),
    "and hidden units, λ = 0.3, weight decay 0.005": Way(hidden=0.3, epochs=1, weight_decay=0.005),
    "and hidden units, λ = 0.3, weight decay 0.06": Way(hidden=0.3, epochs=1, weight_decay=0.06),
}


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    add_common_arguments(parser, "layers")
    parser.add_argument("--data", default="digits", metavar="NAME", help="digits, or an .npz file (default: digits)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--epochs", type=int, default=30, help="of the rows with hidden units (default: 30)")


def run(arguments: argparse.Namespace) -> str:
    """
    Train and judge what is not yet there, and draw the picture.

    :param arguments: As :func:`add_parser` declares them.
    :return: The table in Markdown.
    :raises ValueError: If a number is out of range, or the data or the rows cannot be used.
    :raises OSError: If a file cannot be read or written.
    """
    check_count("epochs", arguments.epochs)
    for seed in arguments.seeds:
        check_seed(seed, "seeds")
    epochs, radii, seeds = arguments.epochs, list(RADII), arguments.seeds
    if arguments.fast:
        epochs, radii, seeds = 1, [SHOWN[0]], seeds[:1]
    data = load(arguments.data, train=True), load(arguments.data)
    if arguments.fast:
        data = replace(data[0], x=data[0].x[:200], y=data[0].y[:200]), data[1]
    settings = {"data": data[0].name, "epochs": epochs, "nb_test": len(data[1].x), "radii": radii}
    rows = Rows(arguments.output, settings, keys=("name", "seed"))
    torch.set_num_threads(1)
    for seed in seeds:
        for name in WAYS:
            if rows.find(name=name, seed=seed) is None:
                rows.add({"name": name, "seed": seed, **_row(WAYS[name], seed, epochs, radii, *data)})
    draw(rows, beside(arguments.output, ".png"))
    return table(rows)


def table(rows: Rows) -> str:
    """
    What was measured at two radii.

    :param rows: The rows of :func:`run`.
    :return: A table in Markdown: means over the seeds and [smallest, largest].
    """
    shown = [(place, radius) for place, radius in enumerate(rows.settings["radii"]) if radius in SHOWN]
    heads = [f"PGD {radius} | certified {radius} | unstable units {radius}" for _, radius in shown]
    lines = [
        f"| eq. 12 for | clean | {' | '.join(heads)} | seconds |",
        "|---|--:|" + "--:|--:|--:|" * len(shown) + "--:|",
    ]
    for name, runs in _by_way(rows):
        cells = [_spread([100 * row["clean"] for row in runs])]
        for place, _ in shown:
            cells += [_spread([100 * row[key][place] for row in runs]) for key in ("pgd", "certified")]
            cells.append(_spread([row["unstable"][place] for row in runs]))
        lines.append(f"| {name} | {' | '.join(cells)} | {np.mean([row['seconds'] for row in runs]):.0f} |")
    return "\n".join(lines)


def draw(rows: Rows, path: Path) -> None:
    """
    Draw the samples that are correct after PGD (dashed) and those certified (solid) against the radius.

    :param rows: The rows of :func:`run`; lines are means over the seeds, bands from the worst to the best.
    :param path: The PNG file to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    radii, colours = [0.0, *rows.settings["radii"]], _colours()
    for name, runs in _by_way(rows):
        for key, style in (("certified", "-"), ("pgd", "--")):
            curves = 100 * np.array([[row["clean"], *row[key]] for row in runs])
            label = name if key == "certified" else None
            axes.plot(radii, curves.mean(axis=0), style, color=colours[name], label=label)
            axes.fill_between(
                radii, curves.min(axis=0), curves.max(axis=0), color=colours[name], alpha=0.12, linewidth=0
            )
    axes.set(
        xlabel="radius, L₂",
        ylabel="test images, %",
        title=f"{rows.settings['data']}: certified (solid), correct after PGD (dashed)",
        ylim=(0, 101),
    )
    axes.grid(alpha=0.3)
    axes.legend(title="eq. 12 for", loc="center left", bbox_to_anchor=(1, 0.5))
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=100, format="png")


class LayersTrainer(LevelSetMarginTrainer):
    """
    Eq. 12 for the decision boundary, and for the level sets of the units of a hidden layer.

    :param classifier: The classifier, whose model has the layer :data:`HIDDEN`.
    :param hidden: lambda, >= 0.
    :param seed: Seed of the searches.
    """

    def __init__(self, classifier: PyTorchClassifier, hidden: float, seed: int) -> None:
        super().__init__(classifier, EPS, seed=seed, **{**EQ_12, "norm": 2, "distance": "lp"})
        self.hidden = hidden

    def batch_loss(self, x: Tensor, y: Tensor, rows: Tensor | None) -> Loss:
        """
        Both parts of the loss.

        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: The samples' numbers in the data set, (batch,).
        :return: The loss, None where no sample has a gradient, and its metrics.
        """
        loss, metrics = super().batch_loss(x, y, rows)
        if self.hidden:
            extra = unit_loss(self.classifier.model, HIDDEN, x, HIDDEN_EPS, NEAREST)
            if extra is not None:
                loss = self.hidden * extra if loss is None else loss + self.hidden * extra
        return loss, metrics


def unit_loss(network: nn.Module, layer: str, x: Tensor, eps: float, nearest: int) -> Tensor | None:
    """
    Eq. 12 for the level sets {z_i = 0} of a layer's units: the third equation of this module's description.

    :param network: The network.
    :param layer: The layer's name; its output is (batch, units).
    :param x: The samples, (batch, ...).
    :param eps: The distance to keep, > 0.
    :param nearest: K, how many units of each sample count.
    :return: The loss, a scalar; None where all level sets keep their distance.
    """
    distances, units = unit_distances(network, layer, x).topk(nearest, dim=1, largest=False)
    samples, places = torch.nonzero(distances < eps, as_tuple=True)
    field = layer_field(
        network,
        layer,
        lambda output, unit: output.gather(1, unit.unsqueeze(1)),
        per_sample=(units[samples, places],),
    )
    found = project(field, x[samples])
    moving, _ = attach(field.select(found.converged), found.points[found.converged])
    if not len(moving):
        return None
    distance = lp_distance(x[samples][found.converged], moving)
    return margin_loss(torch.ones_like(distance), distance, eps, total=nearest * len(x))


def unit_distances(network: nn.Module, layer: str, x: Tensor) -> Tensor:
    """
    The linearised distances |z_i| / |D_x z_i| to the level sets of all units, exact for a first layer.

    :param network: The network.
    :param layer: The layer's name; its output is (batch, units).
    :param x: The samples, (batch, ...).
    :return: (batch, units).
    """
    with torch.enable_grad():
        leaves = x.detach().clone().requires_grad_()
        values = layer_output(network, layer, leaves)
        count = values.shape[1]
        seeds = torch.eye(count, dtype=x.dtype, device=x.device)[:, None].expand(count, *values.shape)
        (rows,) = torch.autograd.grad(values, leaves, seeds, is_grads_batched=True)
    jacobians = rows.transpose(0, 1).flatten(0, 1).unsqueeze(1)
    return linearised_distance(values.detach().flatten(), jacobians, floor=1e-12).reshape(len(x), count)


def certificates(network: nn.Module, x: Tensor, y: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """
    Lower bounds of the margins in L_2 balls, and the hidden units whose level sets cut them.

    :param network: Flatten, Linear, and if there is a hidden layer ReLU, Linear.
    :param x: The samples, (n, ...).
    :param y: Their labels, (n,).
    :param eps: The balls' radius, >= 0.
    :return: The least bound of f_y - f_j, j != y, (n,), positive for certified samples, and the numbers of unstable
             units, (n,); both exact where there is no unstable unit.
    """
    first, *others = [part for part in network.modules() if isinstance(part, nn.Linear)]
    with torch.no_grad():
        if not others:
            weight, bias = first.weight, first.bias  # of units that are the inputs, all of them stable
            inside, below = x.flatten(1), torch.eye(weight.shape[1], dtype=x.dtype)
            low = high = torch.ones_like(inside)
            shift = unstable = torch.zeros_like(inside)
        else:
            weight, bias, below = others[0].weight, others[0].bias, first.weight
            inside = first(x.flatten(1))
            reach = eps * torch.linalg.vector_norm(first.weight, dim=1)
            least, most = inside - reach, inside + reach
            unstable = ((least < 0) & (most > 0)).to(x.dtype)
            high = torch.where(unstable > 0, most / (most - least), (inside > 0).to(x.dtype))
            low = torch.where(unstable > 0, (most > -least).to(x.dtype), high)
            shift = -unstable * high * least
        bounds = []
        for rival in range(len(weight)):
            slopes = weight[y] - weight[rival]
            lines = slopes * torch.where(slopes >= 0, low, high)
            bound = (lines * inside).sum(dim=1) + (slopes.clamp(max=0) * shift).sum(dim=1) + bias[y] - bias[rival]
            bound -= eps * torch.linalg.vector_norm(lines @ below, dim=1)
            bounds.append(torch.where(y == rival, math.inf, bound))
        return torch.stack(bounds).amin(dim=0), unstable.sum(dim=1)


def _colours() -> dict[str, Any]:
    """Blue for the decision boundary alone, the darker the later; orange with hidden units; black for linear ones."""
    from matplotlib import colormaps

    colours: dict[str, Any] = {name: "black" for name, way in WAYS.items() if way.linear}
    for palette, hidden in (("Blues", False), ("Oranges", True)):
        names = [name for name, way in WAYS.items() if bool(way.hidden) is hidden and not way.linear]
        colours |= zip(names, colormaps[palette](np.linspace(0.35, 1, len(names))), strict=True)
    return colours


def _by_way(rows: Rows) -> list[tuple[str, list[dict[str, Any]]]]:
    """The rows of each way, those that there are."""
    return [(name, runs) for name in WAYS if (runs := rows.select(name=name))]


def _row(
    way: Way, seed: int, epochs: int, radii: Sequence[float], training: Dataset, test: Dataset
) -> Mapping[str, Any]:
    """Train a network and judge it."""
    torch.manual_seed(seed)
    size = math.prod(training.x.shape[1:])
    layers: list[nn.Module] = [nn.Linear(size, WIDTH), nn.ReLU(), nn.Linear(WIDTH, training.classes)]
    network = nn.Sequential(nn.Flatten(), *([nn.Linear(size, training.classes)] if way.linear else layers))
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, weight_decay=way.weight_decay)
    classifier = PyTorchClassifier(
        network,
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        input_shape=training.x.shape[1:],
        nb_classes=training.classes,
        clip_values=(0, 1),
        device_type="cpu",
    )
    started = time.process_time()
    LayersTrainer(classifier, way.hidden, seed).fit(
        training.x,
        training.y,
        batch_size=BATCH_SIZE,
        nb_epochs=way.epochs * epochs,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, way.epochs * epochs),
    )
    seconds = time.process_time() - started
    network.eval()
    x, y = torch.as_tensor(test.x), torch.as_tensor(test.y)
    robust = [_right(network, pgd(network, x, y, eps=eps, norm=2, max_iter=40, loss="margin"), y) for eps in radii]
    found = [certificates(network, x, y, eps) for eps in radii]
    return {
        "clean": _right(network, x, y),
        "pgd": robust,
        "certified": [float((bound > 0).float().mean()) for bound, _ in found],
        "unstable": [float(unstable.float().mean()) for _, unstable in found],
        "seconds": seconds,
    }


def _right(network: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((network(x).argmax(dim=1) == y).float().mean())


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.1f} [{min(values):.1f}, {max(values):.1f}]"
