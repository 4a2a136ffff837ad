"""
From F to the surface: the last corrections, of a fraction of what the planes reach.

Beside the data the zero level set of the fitted F misses the height h over the blended planes
(:class:`art_levelset.recon.planes.PlaneDistance`) by what the optimisation has left over. There

    F_c(x) = F(x) + a(x) clip(h(x) - F(x), -c, c),

where a is 1 on the planes and for |F| <= c, and 0 from a reach beside or from two thirds of one over them, and for
|F| >= 3c. F_c changes sign only where |F| <= c, so it has no sheets that F has not.

Where no scanner saw the surface, noise and chance decide whether a thin wall has a pinhole or two fingers touch, so F_c
is as good as

    F_s(x) = F_c(x) + s u(x) (1 - (F_c(x) / 4s)^2)_+,

where u rises from 0 to 1 as x leaves the centres of the planes: s of either sign moves the zero level set there, and
there only. Of these surfaces the simplest is taken: that with the fewest handles, among those with as many parts as
that of F_c. A shift costs some accuracy, so it must be worth it: at most half of the handles may be left.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from art_levelset.recon.planes import PlaneDistance, Planes

if TYPE_CHECKING:
    from art_levelset.recon.reconstruction import Reconstruction

CORRECTION = 1 / 16
"""c, in reaches of the planes."""

SHIFTS = 0.0, -1 / 16, 1 / 16, -1 / 8, 1 / 8
"""The values of s that are tried, in reaches of the planes; of equally good ones the first is taken."""

BESIDE, AWAY = 0.2, 0.6
"""Up to the first and from the second part of the planes' reach from the nearest centre, u is 0 and 1."""

CELLS = 8.0
"""Grid cells per reach of the planes when handles are counted."""

FINEST = 256
"""The largest number of them along the longest side."""


class Surface(nn.Module):
    """
    F_s of this module.

    :param network: F, (batch, 3) -> (batch, 1) in the unit frame.
    :param planes: The planes of the cloud, with outward normals.
    :param correction: c, in the unit frame, >= 0.
    :param shift: s, in the unit frame.
    """

    def __init__(self, network: nn.Module, planes: Planes, correction: float, shift: float) -> None:
        super().__init__()
        self.network, self.correction, self.shift = network, correction, shift
        self.distance = PlaneDistance(planes, next(network.parameters()).device)

    def forward(self, points: Tensor) -> Tensor:
        """
        Evaluate F_s.

        :param points: (batch, 3), in the unit frame.
        :return: (batch, 1).
        """
        values: Tensor = self.network(points)
        rows = torch.nonzero(values[:, 0].abs() < max(3 * self.correction, 4 * abs(self.shift) + self.correction))
        rows = rows.squeeze(1)
        near = points[rows]
        reach, found = self.distance.neighbours(near)
        changed = values[rows, 0]
        if self.correction:
            changed = self._corrected(near, changed, reach, found)
        if self.shift:
            changed = self._shifted(near, changed, found)
        return values.index_copy(0, rows, changed[:, None])

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

    def _shifted(self, points: Tensor, values: Tensor, found: Tensor) -> Tensor:
        """F_s from F_c."""
        distances = torch.linalg.vector_norm(points - self.distance.centres[found[:, 0]], dim=1) / self.distance.reach
        part = ((distances - BESIDE) / (AWAY - BESIDE)).clamp(0, 1)
        bump = (1 - (values / (4 * self.shift)) ** 2).clamp_min(0)
        shifted: Tensor = values + self.shift * part**2 * (3 - 2 * part) * bump
        return shifted


def simplest(reconstruction: Reconstruction) -> float:
    """
    The shift of the surface with the fewest handles.

    :param reconstruction: A surface that has none yet.
    :return: s, in the unit frame; 0 where nothing is simpler.
    """
    reach = reconstruction.planes.reach
    resolution = min(math.ceil(2 * CELLS / reach), FINEST)
    found = {}
    for shift in SHIFTS:
        parts, euler_number = replace(reconstruction, shift=shift * reach).parts_and_euler_number(resolution)
        found[shift] = parts, parts - euler_number / 2
        if found[shift][1] == 0:
            break
    usual, handles = found[0.0]
    best = min((shift for shift in found if found[shift][0] == usual), key=lambda shift: found[shift][1])
    return best * reach if found[best][1] <= handles / 2 else 0.0
