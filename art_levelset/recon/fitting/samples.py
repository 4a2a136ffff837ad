"""The random points of a fit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from art_levelset.core.balls import Box
from art_levelset.core.fields import Field
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.orientation import Indicator
from art_levelset.recon.cloud.planes import PlaneDistance, Planes
from art_levelset.recon.cloud.quadrics import Means
from art_levelset.recon.fitting.progress import FitMonitor

WALL = 1.1
"""Samples are drawn from [-WALL, WALL]^3 of the unit frame and kept in it."""

FAR = 0.1
"""Standard deviation, in the unit frame, of the jitter of the samples far from the surface; the reach of the planes is
that of the near ones."""

INSIDE, OUTSIDE = 0.65, 0.4
"""The side of a point is beyond doubt where chi is above the first or below the second, and the data are further away
than half of what planes reach. In between F closes holes, and bends to where the planes beside them point."""

STOCK = 1 << 16
"""Number of points near the surface, and of points anywhere, that are drawn once for all steps."""


@dataclass(frozen=True, eq=False)
class Space:
    """
    Points of space, and what belongs to them.

    :param points: (n, 3), in the unit frame.
    :param reach: The distances to the centres of their nearest planes, (n, k), ascending.
    :param found: The indices of these planes, (n, k).
    :param inside: chi - 1/2, (n,).
    """

    points: Tensor
    reach: Tensor
    found: Tensor
    inside: Tensor

    def __getitem__(self, rows: Tensor) -> Space:
        return Space(self.points[rows], self.reach[rows], self.found[rows], self.inside[rows])


class Samples:
    """
    Random points for the steps: a quarter each of the cloud, around the surface, near it, and everywhere.

    Points that do not move with theta are drawn, with their nearest planes, from a stock made once, of which `far` is
    the part not near the surface.

    :param cloud: (m, 3), in the unit frame.
    :param planes: Its planes.
    :param indicator: Its indicator function.
    :param quarter: Number of points of each kind, n.
    :param generator: Source of the random points, on the CPU.
    :param device: Where the points are.
    :param means: What the points of the cloud are the means of, m of them; None if they are points.
    :param box: Two corners, (3,) each, of the box in [-WALL, WALL]^3 that they are drawn from; None for all of it.
    """

    def __init__(
        self,
        cloud: Points,
        planes: Planes,
        indicator: Indicator,
        quarter: int,
        generator: torch.Generator,
        device: torch.device,
        means: Means | None = None,
        box: Box | None = None,
    ) -> None:
        self.error = planes.error
        self.distance = PlaneDistance(planes, device)
        self.indicator = indicator
        self.quarter = quarter
        self.generator = generator
        if means is not None:
            cloud = cloud[
                torch.multinomial(torch.as_tensor(means.counts), len(cloud), True, generator=generator).numpy()
            ]
        self._cloud = torch.as_tensor(cloud, dtype=torch.float32, device=device)
        near = self._jittered(STOCK, planes.reach)
        far = self._jittered(STOCK // 2, FAR)
        anywhere = WALL * (2 * torch.rand(STOCK // 2, 3, generator=generator) - 1)
        low, high = (torch.full((3,), wall, device=device) for wall in (-WALL, WALL))
        if box is not None:
            low, high = (torch.as_tensor(corner, dtype=torch.float32) for corner in box)
            anywhere = (low + high) / 2 + anywhere / WALL * (high - low) / 2
            low, high = low.to(device), high.to(device)
        self._near = self.locate(near.clamp(low, high))
        self.far = self.locate(torch.cat([far, anywhere.to(device)]).clamp(low, high))

    def locate(self, points: Tensor) -> Space:
        """
        What belongs to some points.

        :param points: (n, 3).
        :return: They and that.
        """
        return Space(points, *self.distance.neighbours(points), self.indicator(points) - 0.5)

    def certain(self, space: Space) -> Tensor:
        """
        Where the indicator function says beyond doubt whether a point is inside.

        :param space: The points.
        :return: (n,), bool.
        """
        sure = (space.inside > INSIDE - 0.5) | (space.inside < OUTSIDE - 0.5)
        return sure & (space.reach[:, 0] > self.distance.reach / 2)

    def signed_distance(self, points: Tensor) -> Tensor:
        """
        What the planes and the indicator function say that F is: where a fit may start.

        :param points: (n, 3).
        :return: Beside the data the height over the planes, elsewhere the distance to the nearest centre with the sign
                 that the indicator function says, (n,).
        """
        found = [self._signed(part) for part in torch.split(points, STOCK)]
        return torch.cat(found) if found else points.new_zeros(0)

    def _signed(self, points: Tensor) -> Tensor:
        space = self.locate(points)
        heights, beside = self.distance(points, torch.ones_like(space.inside), space.reach, space.found)
        known = beside & ~self.certain(space)
        return torch.where(known, heights, -space.inside.sign() * heights.abs())

    def of_cloud(self) -> Tensor:
        """
        Draw points of the cloud.

        :return: (n, 3).
        """
        return self._cloud[self._rows(self._cloud)]

    def around_surface(self) -> Tensor:
        """
        Draw points where the projection to the zero level set starts.

        :return: (n, 3).
        """
        return self._jittered(self.quarter, self.distance.reach)

    def elsewhere(self) -> Space:
        """
        Draw points on the other level sets.

        :return: n near the surface and n anywhere.
        """
        parts = [stock[self._rows(stock.points)] for stock in (self._near, self.far)]
        return join(*parts)

    def monitor(self, field: Field) -> FitMonitor:
        """
        What measures the distance between F's zero level set and the cloud: points far and near are projected.

        :param field: F.
        :return: The monitor.
        """
        return FitMonitor(field, self._cloud, self.far.points, self.distance, (-WALL, WALL))

    def _rows(self, points: Tensor) -> Tensor:
        return torch.randint(len(points), (self.quarter,), generator=self.generator).to(points.device)

    def _jittered(self, count: int, deviation: float) -> Tensor:
        centres = self.distance.centres
        rows = torch.randint(len(centres), (count,), generator=self.generator)
        jitter = deviation * torch.randn(count, 3, generator=self.generator)
        return centres[rows.to(centres.device)] + jitter.to(centres.device)


def join(one: Space, other: Space) -> Space:
    """
    Two sets of points as one.

    :param one: The first ones.
    :param other: The others.
    :return: All of them, in this order.
    """
    return Space(
        torch.cat([one.points, other.points]),
        torch.cat([one.reach, other.reach]),
        torch.cat([one.found, other.found]),
        torch.cat([one.inside, other.inside]),
    )
