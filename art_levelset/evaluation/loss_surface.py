"""
Loss surfaces: what an attack sees around a sample, along its gradient and along a random direction.

Cross-entropy and the margin are shown side by side, over the same points. Where cross-entropy is flat and the margin is
not, the network masks its gradients; where both are jagged, the gradients mislead.

| Paper link: https://arxiv.org/abs/1705.07204
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from art_levelset.attacks.inputs import (
    Array,
    ClipValues,
    box_of,
    check_classes,
    clamped,
    class_logits,
    home,
    labels,
    network_of,
    samples,
)
from art_levelset.checks import check_count
from art_levelset.core.balls import check_norm, column, steepest
from art_levelset.core.fields import label_margin
from art_levelset.core.modes import evaluating
from art_levelset.evaluation.figures import save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LossSurface:
    """
    Losses on a square grid around each sample, both of which an attacker wants to be large.

    :param offsets: How far the grid's rows and columns are from the sample, in the norm, (grid,).
    :param cross_entropy: Cross-entropy, (n, grid, grid): rows along the random direction, columns along the gradient.
    :param margin: max_{i != y} f_i - f_y, the same: positive where the sample is misclassified.
    """

    offsets: Values
    cross_entropy: Values
    margin: Values

    def plot(self, path: str | PathLike[str]) -> None:
        """
        Draw the surfaces, one sample a row; a black line is the decision boundary.

        Cross-entropy has a logarithmic scale, and grey is where it is exactly zero: there it has no slope to follow.

        :param path: The picture to write, in any format that matplotlib writes.
        """
        from matplotlib.figure import Figure

        count = len(self.margin)
        figure = Figure(figsize=(9.5, 0.6 + 3.8 * count), dpi=110, layout="constrained")
        rows = figure.subplots(count, 2, squeeze=False, sharex=True, sharey=True)
        for (left, right), cross_entropy, margin in zip(rows, self.cross_entropy, self.margin, strict=True):
            self._draw(left, cross_entropy, margin, logarithmic=True)
            self._draw(right, margin, margin, logarithmic=False)
            left.set_ylabel("random direction")
        for axes, title in zip(rows[0], ("cross-entropy (grey: exactly 0)", "margin, max f_i - f_y"), strict=True):
            axes.set_title(title, parse_math=False)
        for axes in rows[-1]:
            axes.set_xlabel("gradient of the margin")
        save(figure, path)

    def _draw(self, axes: Axes, values: Values, margin: Values, *, logarithmic: bool) -> None:
        from matplotlib.colors import LogNorm

        axes.set(facecolor="0.8", aspect="equal")
        positive = np.ma.masked_less_equal(values, 0)
        if not logarithmic:
            mesh = axes.pcolormesh(self.offsets, self.offsets, values, shading="nearest")
        elif positive.count():
            scale = LogNorm(positive.min(), positive.max())
            mesh = axes.pcolormesh(self.offsets, self.offsets, positive, shading="nearest", norm=scale)
        if not logarithmic or positive.count():
            axes.figure.colorbar(mesh, ax=axes)
        if margin.min() < 0 < margin.max():
            axes.contour(self.offsets, self.offsets, margin, levels=[0.0], colors="black")
        axes.plot(0, 0, marker="o", color="white", markeredgecolor="black")


def loss_surface(
    model: Any,
    x: Array,
    y: Array,
    *,
    eps: float,
    norm: float = math.inf,
    clip_values: ClipValues = (0.0, 1.0),
    grid: int = 41,
    batch_size: int = 500,
    seed: int = 0,
) -> LossSurface:
    """
    Evaluate the losses around samples: at x + a g + b r for a and b in [-eps, eps], clipped to the box.

    g is the steepest direction of the margin, since cross-entropy may have none, and r a random one: signs for L_inf,
    both of unit norm.

    :param model: A classifier (batch, ...) -> (batch, classes) of logits, or an ART PyTorchClassifier.
    :param x: Samples, (n, ...), floating point, at least one; a few, for each takes grid^2 passes.
    :param y: Labels, (n,) integers or (n, classes) one-hot.
    :param eps: How far to go, > 0.
    :param norm: `math.inf` or 2.
    :param clip_values: Smallest and largest valid input.
    :param grid: Points along each direction, odd, >= 3: the middle one is the sample.
    :param batch_size: Samples in one pass, >= 1.
    :param seed: Seed of the random directions, >= 0.
    :return: The surfaces.
    :raises ValueError: If a shape, label or number is out of range.
    :raises TypeError: If an argument is of another type.
    """
    network = network_of(model)
    points = samples(x)
    targets = labels(y, len(points))
    if not len(points):
        raise ValueError("x holds no sample: a surface needs at least one")
    if not (math.isfinite(eps) and eps > 0):
        raise ValueError(f"eps must be a finite number > 0, got {eps}")
    box = box_of(clip_values, points.shape[1:])
    check_norm(norm)
    check_count("grid", grid)
    check_count("batch_size", batch_size)
    if grid < 3 or grid % 2 == 0:
        raise ValueError(f"grid must be odd and at least 3, got {grid}")
    device, dtype = home(network)
    half = grid // 2
    offsets = eps * torch.arange(-half, half + 1, dtype=torch.float64) / half
    across, along = (part.reshape(-1).to(device, dtype) for part in torch.meshgrid(offsets, offsets, indexing="ij"))
    generator = torch.Generator(device).manual_seed(seed)
    surfaces = []
    with torch.inference_mode(False), evaluating(network):
        for sample, target in zip(points.to(device, dtype), targets.to(device), strict=True):
            slope = steepest(_slope(network, sample[None], target[None]), norm)
            noise = torch.randn(slope.shape, generator=generator, dtype=dtype, device=device)
            moved = sample + column(along, slope) * slope + column(across, slope) * steepest(noise, norm)
            surfaces.append(_losses(network, clamped(moved, box), target, batch_size).reshape(2, grid, grid))
    cross_entropy, margin = torch.stack(surfaces, dim=1).double().cpu().numpy()
    return LossSurface(offsets.numpy(), cross_entropy, margin)


def _slope(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.enable_grad():
        point = x.clone().requires_grad_()
        logits = class_logits(network(point.clone()), len(y))
        check_classes(y, logits.shape[1])
        (slope,) = torch.autograd.grad(-label_margin(logits, y).sum(), point, materialize_grads=True)
    return slope


def _losses(network: nn.Module, points: Tensor, target: Tensor, batch_size: int) -> Tensor:
    """Cross-entropy and margin at each point, (2, n)."""
    parts = []
    with torch.no_grad():
        for first in range(0, len(points), batch_size):
            logits = network(points[first : first + batch_size].clone())
            y = target.expand(len(logits))
            cross_entropy = functional.cross_entropy(logits, y, reduction="none")
            parts.append(torch.stack([cross_entropy, -label_margin(logits, y)]))
    return torch.cat(parts, dim=1)
