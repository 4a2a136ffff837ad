"""
Fitting the implicit network to a cloud by eq. 13:

    loss(theta) = sum_t mean_{x in S_t} |d(x, X) - |t|| + lambda/N sum_j |F(x_j)|,

with the samples x = p(theta) of the level sets S_t attached to the parameters by the sample network (eq. 9).

T is {0} and the levels on which random points of space lie, near the surface and far from it, so the second set makes F
a signed distance. Eq. 13 sees |t| and d only, so it has no opinion about which side is inside, and alone it settles for
sheets with the wrong sign, pockets and domes. What decides is the cloud's indicator function chi
(:mod:`art_levelset.recon.orientation`). It turns the planes outwards to which d is measured, and it votes, by a hinge
on random points y whose side is beyond doubt,

    mean_y max(0, d(y, X) / 2 - s(y) F(y)),      s = 1 outside, -1 inside,

which is zero as soon as F has the right sign and half the right size. Where neither data nor votes say anything, a
small Dirichlet energy of the network's grids continues F smoothly; without it narrow gaps fill with tunnels.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

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

FAR = 0.1
"""Standard deviation, in the unit frame, of the jitter of the samples far from the surface; the reach of the planes is
that of the near ones."""

LAMBDA = 1.0
VOTE_WEIGHT = 3.0
CERTAINTY = 0.15
"""A point's side is beyond doubt where |chi - 1/2| exceeds this and the data are further away than planes reach."""

SMOOTHNESS = 1e-4, 600.0
"""Weight of the grids' Dirichlet energy: for exact planes, and by the squared error of the planes (unit frame)."""

STOCK = 1 << 16
"""Number of points near the surface, and of points anywhere, that are drawn once for all steps."""

FLATTEST = 0.1
"""Samples with |D_xF| below this do not count: p(theta) moves arbitrarily fast there."""


def reconstruct(
    points: object,
    *,
    network: nn.Module | None = None,
    steps: int = 800,
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
    samples = _Samples(cloud, planes, indicator, batch_size // 4, generator, place)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / steps))
    smoothness = SMOOTHNESS[0] + SMOOTHNESS[1] * planes.error**2
    for _ in (progress := tqdm(range(steps), desc="fit", unit="step", disable=not verbose)):
        optimizer.zero_grad(set_to_none=True)
        loss = _loss(field, samples)
        torch.autograd.backward(loss)
        if isinstance(network, GridNetwork):
            network.add_smoothness_gradient(smoothness, generator)
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=f"{float(loss.detach()):.4f}", refresh=False)


@dataclass(frozen=True, eq=False)
class _Space:
    """Points, (n, 3), the distances and indices of their nearest planes, (n, k), and chi - 1/2 at them, (n,)."""

    points: Tensor
    reach: Tensor
    found: Tensor
    inside: Tensor

    def __getitem__(self, rows: Tensor) -> _Space:
        return _Space(self.points[rows], self.reach[rows], self.found[rows], self.inside[rows])


class _Samples:
    """
    Random points for the steps: a quarter each of the cloud, around the surface, near it, and everywhere.

    Points that do not move with theta are drawn, with their nearest planes, from a stock made once.
    """

    def __init__(
        self,
        cloud: Points,
        planes: Planes,
        indicator: Indicator,
        quarter: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.distance = PlaneDistance(planes, device)
        self.indicator = indicator
        self.quarter = quarter
        self.generator = generator
        self._cloud = torch.as_tensor(cloud, dtype=torch.float32, device=device)
        near = self._jittered(STOCK, planes.reach)
        far = self._jittered(STOCK // 2, FAR)
        anywhere = WALL * (2 * torch.rand(STOCK // 2, 3, generator=generator) - 1)
        self._near = self.locate(near.clamp(-WALL, WALL))
        self._far = self.locate(torch.cat([far, anywhere.to(device)]).clamp(-WALL, WALL))

    def locate(self, points: Tensor) -> _Space:
        """What belongs to some points."""
        return _Space(points, *self.distance.neighbours(points), self.indicator(points) - 0.5)

    def of_cloud(self) -> Tensor:
        """Points of the cloud, (n, 3)."""
        return self._cloud[self._rows(self._cloud)]

    def around_surface(self) -> Tensor:
        """Where the projection to the zero level set starts, (n, 3)."""
        return self._jittered(self.quarter, self.distance.reach)

    def elsewhere(self) -> _Space:
        """Samples of the other level sets: 2 n."""
        parts = [stock[self._rows(stock.points)] for stock in (self._near, self._far)]
        return _joined(*parts)

    def _rows(self, points: Tensor) -> Tensor:
        return torch.randint(len(points), (self.quarter,), generator=self.generator).to(points.device)

    def _jittered(self, count: int, deviation: float) -> Tensor:
        centres = self.distance.centres
        rows = torch.randint(len(centres), (count,), generator=self.generator)
        jitter = deviation * torch.randn(count, 3, generator=self.generator)
        return centres[rows.to(centres.device)] + jitter.to(centres.device)


def _joined(one: _Space, other: _Space) -> _Space:
    return _Space(
        torch.cat([one.points, other.points]),
        torch.cat([one.reach, other.reach]),
        torch.cat([one.found, other.found]),
        torch.cat([one.inside, other.inside]),
    )


def _loss(field: Field, samples: _Samples) -> Tensor:
    """The loss of this module on one batch of samples."""
    box = (-WALL, WALL)
    on_zero = project(field, samples.around_surface(), max_iter=1, tol=1e-4, box=box)
    drawn = samples.elsewhere()
    elsewhere = project(field, drawn.points, max_iter=0)
    split = len(on_zero.points)
    space = _joined(samples.locate(on_zero.points), drawn)
    jacobians = torch.cat([on_zero.jacobians, elsewhere.jacobians])
    levels = torch.cat([on_zero.values, elsewhere.values]).squeeze(1)
    gradients = jacobians.squeeze(1)
    positions = sample_network(field, space.points, jacobians)
    distances, beside = samples.distance(positions, levels, space.reach, space.found)

    certain = (space.inside.abs() > CERTAINTY) & (space.reach[:, 0] > samples.distance.reach / 2)
    wrong = certain & (space.inside * levels > 0)
    counts = (torch.linalg.vector_norm(gradients, dim=1) > FLATTEST) & ~wrong
    # Over a hole of the data nothing is known about where the zero set should be: its samples there do not count.
    counts[:split] &= beside[:split]
    rows = torch.arange(len(counts), device=counts.device)
    sets = [part for part in (rows[:split][counts[:split]], rows[split:][counts[split:]]) if len(part)]

    voters = split + torch.nonzero(certain[split:]).squeeze(1)
    cloud = samples.of_cloud()
    values = field(torch.cat([cloud, space.points[voters]])).squeeze(1)
    missing = torch.relu(space.reach[voters, 0] / 2 + space.inside[voters].sign() * values[len(cloud) :])
    votes = missing.sum() / (len(counts) - split)
    if not sets:
        return VOTE_WEIGHT * votes
    attached = [distances[part] for part in sets], [levels[part] for part in sets]
    return reconstruction_loss(*attached, values[: len(cloud)], LAMBDA) + VOTE_WEIGHT * votes


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
