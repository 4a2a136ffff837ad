"""
A parametric baseline in the manner of AtlasNet, for one cloud: a surface as the images of squares or of a sphere.

K networks phi_k: D -> R^3, k = 1..K, on a simple domain D, the unit square or the unit sphere, are fitted to the cloud
by the symmetric Chamfer distance between n random images x_i = phi_k(u_i), the u_i being uniform on D, and m random
points y_j of the cloud:

    loss(theta) = 1/n sum_i min_j |x_i - y_j|^2 + 1/m sum_j min_i |x_i - y_j|^2.

The nearest points are found by KD-trees; where they are unique, the minima have the gradients of their pairs. The mesh
is the image of a grid on each square, or of an icosphere. So nothing is projected, no sign is decided, and nothing
makes the patches meet: a square cannot close, and a sphere has genus 0.

The original decodes the shapes of a whole collection, by an encoder of their clouds; here, as in its comparison with
level sets, the networks see one cloud only, and its code is a constant in their biases.

| Paper link: https://arxiv.org/abs/1802.05384
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor, nn

from art_levelset.progress import progress_bar
from art_levelset.recon.cloud.clouds import Frame, Points, check_cloud, neighbours, unit_frame, without_outliers
from art_levelset.recon.fitting.progress import Budget

if TYPE_CHECKING:
    from trimesh import Trimesh

Domain = Literal["square", "sphere"]

DIMENSIONS: dict[Domain, int] = {"square": 2, "sphere": 3}
"""Of the space that holds each domain."""

STEPS = 2000
WIDTH, DEPTH = 128, 4
"""Units of a layer, and number of linear layers, of each network."""

VERTICES = 40_000
"""Of all squares' grids together, about; the icosphere of six subdivisions has as many."""

SUBDIVISIONS = 6


class Charts(nn.Module):
    """
    K networks of the same shape, with ReLU between their linear layers, evaluated at once.

    :param count: K, >= 1.
    :param domain: Where their inputs are.
    :param generator: Source of the first weights, those of `torch.nn.Linear`.
    """

    def __init__(self, count: int, domain: Domain, generator: torch.Generator) -> None:
        super().__init__()
        sizes = [DIMENSIONS[domain], *[WIDTH] * (DEPTH - 1), 3]
        self.domain: Domain = domain
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for into, out in itertools.pairwise(sizes):
            bound = 1 / math.sqrt(into)
            self.weights.append(bound * (2 * torch.rand(count, into, out, generator=generator) - 1))
            self.biases.append(bound * (2 * torch.rand(count, 1, out, generator=generator) - 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """
        The images of points of the domain.

        :param inputs: (K, n, d), n points for each network.
        :return: (K, n, 3).
        """
        values = inputs
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = torch.baddbmm(bias, torch.relu(values) if layer else values, weight)
        return values


def fit_atlas(
    points: object,
    *,
    charts: int = 25,
    domain: Domain = "square",
    steps: int | None = None,
    time_budget: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
    batch_size: int = 2500,
    learning_rate: float = 2e-3,
    seed: int = 0,
    verbose: bool = True,
) -> Trimesh:
    """
    Fit the charts to a cloud by Adam, whose learning rate falls to zero as a cosine, and make a mesh of their images.

    :param points: The cloud, (n, 3), in any units, n >= 10. Stray points are left out, as in our reconstruction.
    :param charts: K, >= 1.
    :param domain: "square" or "sphere".
    :param steps: The most steps, >= 1. None for :data:`STEPS`, or, with a time budget, for as many as it allows.
    :param time_budget: The most seconds, > 0; the mesh comes on top.
    :param clock: What tells the seconds.
    :param batch_size: Number of images, and of points of the cloud, a step, >= K.
    :param learning_rate: The first one, > 0.
    :param seed: Seed of the weights and of all samples, >= 0.
    :param verbose: Whether to show a progress bar.
    :return: The mesh, in the coordinates of the points; a part for each chart.
    :raises ValueError: If the points cannot be a scan, the domain is not known, or a number is out of range.
    """
    if domain not in DIMENSIONS:
        raise ValueError(f"domain must be one of {', '.join(DIMENSIONS)}, got {domain!r}")
    for name, value, least in (("charts", charts, 1), ("batch_size", batch_size, charts), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    for name, number in (("time_budget", time_budget), ("learning_rate", learning_rate)):
        if number is not None and not 0 < number < math.inf:
            raise ValueError(f"{name} must be positive, got {number}")
    budget = Budget(STEPS if steps is None and time_budget is None else steps, time_budget, clock)
    cloud = without_outliers(check_cloud(points))
    frame = unit_frame(cloud)
    target = torch.as_tensor(frame.to_unit(cloud), dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    network = Charts(charts, domain, generator)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    budget.begin()
    part = budget.part()
    with progress_bar(desc="fit of the charts", unit="step", total=budget.steps, verbose=verbose) as bar:
        while part < 1:
            optimizer.param_groups[0]["lr"] = learning_rate * (1 + math.cos(math.pi * part)) / 2
            images = network(_uniform(domain, charts, batch_size // charts, generator)).reshape(-1, 3)
            loss = chamfer(images, target[torch.randint(len(target), (batch_size,), generator=generator)])
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            budget.step += 1
            part = budget.part()
            bar.total = round(budget.step / part)
            bar.set_postfix(loss=f"{loss.item():.3g}", refresh=False)
            bar.update()
    return _mesh(network, charts, frame)


def chamfer(one: Tensor, other: Tensor) -> Tensor:
    """
    The symmetric Chamfer distance of this module's loss.

    :param one: x, (n, 3).
    :param other: y, (m, 3).
    :return: 1/n sum_i min_j |x_i - y_j|^2 + 1/m sum_j min_i |x_i - y_j|^2, differentiable in both.
    """
    there, back = _nearest(one, other), _nearest(other, one)
    return ((one - other[there]) ** 2).sum(dim=1).mean() + ((other - one[back]) ** 2).sum(dim=1).mean()


def _nearest(points: Tensor, others: Tensor) -> Tensor:
    """The index of the nearest of the others, for each of the points, (n,)."""
    tree = cKDTree(others.detach().double().numpy())
    return torch.as_tensor(neighbours(tree, points.detach().double().numpy(), 1)[1][:, 0])


def _uniform(domain: Domain, charts: int, count: int, generator: torch.Generator) -> Tensor:
    """Uniform points of the domain, (charts, count, d)."""
    if domain == "square":
        return torch.rand(charts, count, 2, generator=generator)
    return nn.functional.normalize(torch.randn(charts, count, 3, generator=generator), dim=2)


def _template(domain: Domain, charts: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A mesh of the domain: places, (n, d), and triangles, (m, 3)."""
    if domain == "sphere":
        from trimesh.creation import icosphere

        ball = icosphere(subdivisions=SUBDIVISIONS)
        return np.asarray(ball.vertices), np.asarray(ball.faces)
    side = max(round(math.sqrt(VERTICES / charts)), 2)
    rows, columns = np.indices((side, side))
    places = np.stack([rows.ravel(), columns.ravel()], axis=1) / (side - 1)
    corner = (rows * side + columns)[:-1, :-1].ravel()
    right, down, across = corner + 1, corner + side, corner + side + 1
    return places, np.concatenate([np.stack([corner, down, right], 1), np.stack([right, down, across], 1)])


def _mesh(network: Charts, charts: int, frame: Frame) -> Trimesh:
    """The images of the domain's mesh under all networks."""
    from trimesh import Trimesh

    places, triangles = _template(network.domain, charts)
    with torch.no_grad():
        images: Points = network(torch.as_tensor(places, dtype=torch.float32).expand(charts, -1, -1)).double().numpy()
    faces = np.concatenate([triangles + chart * len(places) for chart in range(charts)])
    return Trimesh(frame.from_unit(images.reshape(-1, 3)), faces, process=False)
