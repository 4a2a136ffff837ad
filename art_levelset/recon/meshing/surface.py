"""
From F to the surface: the last corrections, of a fraction of what the planes reach.

Beside the data the zero level set of the fitted F misses the height h over the blended planes
(:class:`art_levelset.recon.cloud.planes.PlaneDistance`) by what the optimisation has left over. There

    F_c(x) = F(x) + a(x) clip(h(x) - F(x), -c, c),

where a is 1 on the planes and for |F| <= c, and 0 from a reach beside or from two thirds of one over them, and for
|F| >= 3c. F_c changes sign only where |F| <= c, so it has no sheets that F has not.

Where no scanner saw the surface, noise and chance decide whether a thin wall has a pinhole or two fingers touch, so one
may choose. A shift at a point y, of the size s of either sign, makes of a function F_i

    F_{i+1}(x) = F_i(x) + s u(x) (1 - |x - y|^2 / (4s)^2)_+^2 (1 - (F_i(x) / 4s)^2)_+,

where u rises from 0 to 1 as x leaves the centres of the planes, and is up to 1 where h has the sign of s or is within
the noise: near y the zero level set moves by about s, but not where data speak against it. Planes in slits so narrow
that these may be walls (:func:`art_levelset.recon.cloud.consistency.in_narrow_slits`) have no say. F_{i+1} grows where
F_i does, so no sheets appear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.consistency import in_narrow_slits
from art_levelset.recon.cloud.planes import PlaneDistance, Planes
from art_levelset.recon.cloud.quadrics import Floats

CORRECTION = 1 / 16
"""c, in reaches of the planes."""

BESIDE, AWAY = 0.2, 0.6
"""Up to the first and from the second part of the planes' reach from the nearest centre, u is 0 and 1."""

DOUBT = 2.0
"""Heights of less than so many standard errors of the planes are no objection to a shift."""

WIDTH = 4.0
"""How far from y and from the zero level set a shift reaches, in its sizes."""


@dataclass(frozen=True, eq=False)
class HandleRemoval:
    """
    The local shifts of a surface that remove handles, in their order.

    :param centres: y of each, in the unit frame, (n, 3).
    :param shifts: s of each, in the unit frame, (n,).
    """

    centres: Points = field(default_factory=lambda: np.zeros((0, 3)))
    shifts: Floats = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.shifts)

    def with_one(self, centre: Points, shift: float) -> HandleRemoval:
        """
        The same shifts and another one.

        :param centre: Its y, (3,).
        :param shift: Its s.
        :return: All of them.
        """
        return self.followed_by(HandleRemoval(centre[None], np.array([shift])))

    def followed_by(self, other: HandleRemoval) -> HandleRemoval:
        """
        The same shifts and then others.

        :param other: The others.
        :return: All of them.
        """
        return HandleRemoval(np.vstack([self.centres, other.centres]), np.append(self.shifts, other.shifts))


class Surface(nn.Module):
    """
    F with the corrections of this module.

    :param network: F, (batch, 3) -> (batch, 1) in the unit frame.
    :param planes: The planes of the cloud, with outward normals.
    :param correction: c, in the unit frame, >= 0.
    :param handle_removal: The shifts that remove handles.
    """

    def __init__(self, network: nn.Module, planes: Planes, correction: float, handle_removal: HandleRemoval) -> None:
        super().__init__()
        self.network, self.correction, self.error = network, correction, planes.error
        self.handle_removal = handle_removal
        device = next(network.parameters()).device
        trusted = ~in_narrow_slits(planes)
        self.distance = PlaneDistance(planes, device)
        self.trusted = planes.chosen(trusted) if trusted.any() else planes
        self.objections = PlaneDistance(self.trusted, device)

    def forward(self, points: Tensor) -> Tensor:
        """
        Evaluate the corrected F.

        :param points: (batch, 3), in the unit frame.
        :return: (batch, 1).
        """
        values: Tensor = self.network(points)
        if self.correction:
            rows = torch.nonzero(values[:, 0].abs() < 3 * self.correction).squeeze(1)
            near = points[rows]
            corrected = self._corrected(near, values[rows, 0], *self.distance.neighbours(near))
            values = values.index_copy(0, rows, corrected[:, None])
        for centre, shift in zip(self.handle_removal.centres, self.handle_removal.shifts, strict=True):
            values = self.shift_values(points, values[:, 0], centre, float(shift))[:, None]
        return values

    def shift_values(self, points: Tensor, values: Tensor, centre: Points, shift: float) -> Tensor:
        """
        Apply one shift.

        :param points: (batch, 3), in the unit frame.
        :param values: F_i there, (batch,).
        :param centre: y, (3,).
        :param shift: s.
        :return: F_{i+1}, (batch,).
        """
        squares = ((points - points.new_tensor(centre)) ** 2).sum(dim=1) / (WIDTH * shift) ** 2
        rows = torch.nonzero((squares < 1) & (values.abs() < WIDTH * abs(shift))).squeeze(1)
        near = points[rows]
        data = self.objections
        reach, found = data.neighbours(near)
        heights, beside = data(near, torch.ones_like(reach[:, 0]), reach, found)
        gaps = torch.linalg.vector_norm(near - data.centres[found[:, 0]], dim=1) / data.reach
        away = ((gaps - BESIDE) / (AWAY - BESIDE)).clamp(0, 1)
        support = math.copysign(1.0, shift) * heights + DOUBT * self.error
        supported = (support / (CORRECTION * data.reach)).clamp(0, 1) * beside
        allowed = torch.maximum(away**2 * (3 - 2 * away), supported)
        change = shift * allowed * (1 - squares[rows]) ** 2 * (1 - (values[rows] / (WIDTH * shift)) ** 2)
        return values.index_add(0, rows, change)

    def _corrected(self, points: Tensor, values: Tensor, reach: Tensor, found: Tensor) -> Tensor:
        """F_c from F."""
        heights, _ = self.distance(points, torch.ones_like(values), reach, found)
        offsets = points - self.distance.centres[found[:, 0]]
        # On a plane far from its centre the height is a guess, and where it is large it may be that of another sheet.
        beside = ((offsets**2).sum(dim=1) - heights**2).clamp_min(0) / self.distance.reach**2
        over = (heights / self.distance.reach) ** 2
        weights = (1 - beside).clamp(0, 1) * (1 - 2.25 * over).clamp(0, 1)
        weights = weights * ((3 - values.abs() / self.correction) / 2).clamp(0, 1)
        return values + weights * (heights - values).clamp(-self.correction, self.correction)
