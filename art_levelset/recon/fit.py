"""
Fitting the implicit network to a cloud by eq. 13:

    loss(theta) = sum_t mean_{x in S_t} |d(x, X) - |t|| + lambda/N sum_j |F(x_j)|,

with the samples x = p(theta) of the level sets S_t attached to the parameters by the sample network (eq. 9).

T is {0} and the levels on which random points of space lie, near the surface and far from it, so the second set makes F
a signed distance. Eq. 13 sees |t| and d only, so it has no opinion about which side is inside, and alone it settles for
sheets with the wrong sign, pockets and domes. The one term added to it is the votes of the cloud's indicator function
chi (:mod:`art_levelset.recon.orientation`), a hinge on random points y whose side is beyond doubt,

    mean_y max(0, d(y, X) / 2 - s(y) F(y)),      s = 1 outside, -1 inside,

which is zero as soon as F has the right sign and half the right size.
"""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from art_levelset.core.fields import Field, as_field
from art_levelset.core.losses import reconstruction_loss
from art_levelset.core.projection import project
from art_levelset.core.sample_network import sample_network
from art_levelset.recon.clouds import Points, check_cloud, unit_frame, without_strays
from art_levelset.recon.network import GridNetwork
from art_levelset.recon.orientation import Indicator, orient
from art_levelset.recon.planes import PlaneDistance, Planes, fit_planes
from art_levelset.recon.reconstruction import Reconstruction

logger = logging.getLogger(__name__)

WALL = 1.1
"""Samples are drawn from [-WALL, WALL]^3 of the unit frame and kept in it."""

NEAR, FAR = 0.03, 0.15
"""Standard deviations, in the unit frame, of the jitter that spreads the samples of the levels t != 0."""

LAMBDA = 1.0
VOTE_WEIGHT = 2.0
CERTAINTY = 0.3
"""A point's side is beyond doubt where |chi - 1/2| exceeds this and the data are further away than planes reach."""

FLATTEST = 0.1
"""Samples with |D_xF| below this do not count: p(theta) moves arbitrarily fast there."""


def reconstruct(
    points: object,
    *,
    network: nn.Module | None = None,
    steps: int = 1000,
    batch_size: int = 4096,
    learning_rate: float = 2e-3,
    seed: int = 0,
    device: str | torch.device | None = None,
    verbose: bool = True,
) -> Reconstruction:
    """
    Reconstruct the surface that a raw cloud samples, without normals, as the zero level set of a network (eq. 13).

    | Paper link: https://arxiv.org/abs/1905.11911

    :param points: The cloud, (n, 3), in any units, n >= 10. Stray points are left out.
    :param network: The network to fit in place, (batch, 3) -> (batch, 1), in the unit frame [-1, 1]^3. None for a
           :class:`GridNetwork`; FC-2 of the paper is `art_levelset.models.fc_2()`.
    :param steps: Number of optimisation steps, >= 1.
    :param batch_size: Number of samples a step, >= 8.
    :param learning_rate: Of Adam, > 0; constant for half of the steps, then a cosine to nearly zero.
    :param seed: Seed of the initialisation and of the samples, >= 0. On a CPU it determines the result.
    :param device: Where to compute; None for the network's device, or the CPU.
    :param verbose: Whether to show a progress bar.
    :return: The reconstruction, whose mesh is in the coordinates of the points.
    :raises ValueError: If the points cannot be a scan (see :func:`check_cloud`) or a number is out of range.
    """
    _check(steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    cloud = without_strays(check_cloud(points))
    frame = unit_frame(cloud)
    cloud = frame.to_unit(cloud)
    generator = torch.Generator().manual_seed(seed)
    if network is None:
        network = GridNetwork(generator=generator)
    place = next(network.parameters()).device if device is None else torch.device(device)
    network = network.to(place)
    planes, indicator = orient(fit_planes(cloud), place)
    logger.info("%d points, %d local planes of reach %.4f", len(cloud), len(planes), planes.reach)
    fit(network, cloud, planes, indicator, steps, batch_size, learning_rate, generator, verbose)
    return Reconstruction(network, frame, planes)


def fit(
    network: nn.Module,
    cloud: Points,
    planes: Planes,
    indicator: Indicator,
    steps: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
    verbose: bool,
) -> None:
    """
    Minimise the loss of this module by Adam.

    :param network: F, (batch, 3) -> (batch, 1), trained in place.
    :param cloud: X, (n, 3), in the unit frame.
    :param planes: Its local planes.
    :param indicator: Its indicator function.
    :param steps: Number of steps, >= 1.
    :param batch_size: Number of samples a step.
    :param learning_rate: The highest learning rate.
    :param generator: Source of the random samples, on the CPU.
    :param verbose: Whether to show a progress bar.
    """
    field = as_field(network)
    place = next(network.parameters()).device
    distance = PlaneDistance(planes, place)
    samples = _Sampler(cloud, planes, batch_size, generator, place)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / steps))
    for _ in (progress := tqdm(range(steps), desc="fit", unit="step", disable=not verbose)):
        optimizer.zero_grad(set_to_none=True)
        loss = step_loss(field, distance, indicator, samples)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=f"{float(loss.detach()):.4f}", refresh=False)


def step_loss(field: Field, distance: PlaneDistance, indicator: Indicator, samples: _Sampler) -> Tensor:
    """
    The loss of this module on one batch of samples.

    :param field: F.
    :param distance: d.
    :param indicator: Chi.
    :param samples: The source of the samples.
    :return: A scalar, differentiable in the parameters.
    """
    box = (-WALL, WALL)
    on_zero = project(field, samples.around_surface(distance.reach), max_iter=1, tol=1e-4, box=box)
    elsewhere = project(field, samples.everywhere(), max_iter=0, box=box)
    points = torch.cat([on_zero.points, elsewhere.points])
    jacobians = torch.cat([on_zero.jacobians, elsewhere.jacobians])
    levels = torch.cat([on_zero.values, elsewhere.values]).squeeze(1)
    gradients = jacobians.squeeze(1)
    positions = sample_network(field, points, jacobians)
    distances, nearest, beside = distance(positions, levels, gradients)

    split = len(on_zero.points)
    inside = indicator(points) - 0.5
    certain = (inside.abs() > CERTAINTY) & (nearest > distance.reach / 2)
    wrong = certain & (inside * levels > 0)
    counts = (torch.linalg.vector_norm(gradients, dim=1) > FLATTEST) & ~wrong
    # Over a hole of the data nothing is known about where the zero set should be: its samples there do not count.
    counts[:split] &= beside[:split]
    rows = torch.arange(len(points), device=points.device)
    sets = [part for part in (rows[:split][counts[:split]], rows[split:][counts[split:]]) if len(part)]

    voters = split + torch.nonzero(certain[split:]).squeeze(1)
    cloud = samples.of_cloud()
    values = field(torch.cat([cloud, points[voters]])).squeeze(1)
    missing = torch.relu(nearest[voters] / 2 + inside[voters].sign() * values[len(cloud) :])
    votes = missing.sum() / len(elsewhere.points)
    if not sets:
        return VOTE_WEIGHT * votes
    attached = [distances[part] for part in sets], [levels[part] for part in sets]
    return reconstruction_loss(*attached, values[: len(cloud)], LAMBDA) + VOTE_WEIGHT * votes


class _Sampler:
    """Random points for one step: a quarter each around the surface, near it, further from it, and of the cloud."""

    def __init__(
        self, cloud: Points, planes: Planes, batch_size: int, generator: torch.Generator, device: torch.device
    ) -> None:
        self.cloud = torch.as_tensor(cloud, dtype=torch.float32)
        self.centres = torch.as_tensor(planes.centres, dtype=torch.float32)
        self.quarter = batch_size // 4
        self.generator = generator
        self.device = device

    def of_cloud(self) -> Tensor:
        """Points of the cloud, (n, 3)."""
        return self._choose(self.cloud, self.quarter).to(self.device)

    def around_surface(self, reach: float) -> Tensor:
        """Where the projection to the zero level set starts, (n, 3)."""
        return self._jittered(self.quarter, reach).to(self.device)

    def everywhere(self) -> Tensor:
        """Samples of the other level sets, (2 n, 3): near the surface, further from it, anywhere."""
        few = self.quarter // 2
        anywhere = WALL * (2 * torch.rand(self.quarter - few, 3, generator=self.generator) - 1)
        return torch.cat([self._jittered(self.quarter, NEAR), self._jittered(few, FAR), anywhere]).to(self.device)

    def _jittered(self, count: int, deviation: float) -> Tensor:
        return self._choose(self.centres, count) + deviation * torch.randn(count, 3, generator=self.generator)

    def _choose(self, points: Tensor, count: int) -> Tensor:
        return points[torch.randint(len(points), (count,), generator=self.generator)]


def _rate(time: float) -> float:
    """The learning rate's factor after a part of the steps: a short rise, constant, then a cosine."""
    rise = min(1.0, 0.05 + 20 * time)
    return rise * (1.0 if time < 0.5 else 0.02 + 0.98 * 0.5 * (1 + math.cos(2 * math.pi * (time - 0.5))))


def _check(*, steps: int, batch_size: int, learning_rate: float, seed: int) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if batch_size < 8:
        raise ValueError(f"batch_size must be at least 8, got {batch_size}")
    if not (np.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning_rate must be positive, got {learning_rate}")
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
