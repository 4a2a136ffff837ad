"""
A cloud that a network can be fitted to: without outliers, in the unit frame, with planes that face outwards and the
indicator function.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from art_levelset.recon.cloud.cells import EIGHTH
from art_levelset.recon.cloud.clouds import Frame, Points, inliers, spacings, unit_frame
from art_levelset.recon.cloud.consistency import refit_planes, turn_outvoted
from art_levelset.recon.cloud.orientation import Indicator, indicator_of, orient, votes_of_normals
from art_levelset.recon.cloud.planes import Planes, fit_planes
from art_levelset.recon.cloud.quadrics import Floats, Means
from art_levelset.recon.cloud.sensors import carved, directions_to
from art_levelset.recon.cloud.sheets import indicator_below, turned_up, upward

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Scan:
    """
    A prepared cloud.

    :param frame: The map between its own coordinates and the unit frame.
    :param points: The points without the outliers, (n, 3), in the unit frame.
    :param means: What they are the means of, n of them; None if they are points.
    :param planes: Their planes, with outward normals.
    :param indicator: The indicator function.
    :param up: The direction from which it is an open sheet, (3,), if it is one and the indicator function knows nothing
           else; None elsewhere.
    """

    frame: Frame
    points: Points
    means: Means | None
    planes: Planes
    indicator: Indicator
    up: Points | None = None

    def part(self, low: Points, high: Points, frame: Frame) -> Scan:
        """
        What lies in a box, in a frame of its own.

        :param low: The corner of the box with the smallest coordinates, (3,), in the unit frame.
        :param high: The opposite one.
        :param frame: The map between the unit frame and that of the part.
        :return: The part: its points and planes, and the same indicator function, or a finer one of an open sheet.
        """
        points, planes = _inside(self.points, low, high), _inside(self.planes.centres, low, high)
        chosen = self.planes.chosen(planes)
        own = Planes(
            frame.to_unit(chosen.centres), chosen.normals, chosen.reach / frame.scale, chosen.error / frame.scale
        )
        if self.up is None:
            indicator = self.indicator.seen_from(frame)
        else:
            indicator = indicator_below(own, self.up, self.indicator.nodes.device)
        means = None if self.means is None else replace(self.means[points], side=self.means.side / frame.scale)
        whole = Frame(self.frame.from_unit(frame.centre), self.frame.scale * frame.scale)
        return Scan(whole, frame.to_unit(self.points[points]), means, own, indicator, self.up)


def prepare(
    cloud: Points,
    counts: Floats | None,
    points: Points,
    directions: Points | None,
    sensors: Points | None,
    device: torch.device,
    unit: float = 1.0,
) -> Scan:
    """
    Leave out outliers, fit planes, turn them outwards, and tell inside from outside.

    :param cloud: The distinct points, (n, 3).
    :param counts: How many points each of them stands for, (n,); None for one each.
    :param points: All points, (m, 3), to which normals and sensors belong.
    :param directions: Their normals, (m, 3), if they have any.
    :param sensors: Where they were seen from, (m, 3), if that is known.
    :param device: Where to compute, and where the indicator function lives.
    :param unit: The length, in the unit frame, of which the distances of planes are parts, in (0, 1]: less than 1 if
           networks are fitted to parts of the cloud.
    :return: The scan.
    :raises ValueError: If the points are of no surface, or the normals contradict each other.
    """
    used = inliers(cloud)
    cloud = cloud[used]
    frame = unit_frame(cloud)
    cloud = frame.to_unit(cloud)
    means = None if counts is None else Means(counts[used], float(np.median(spacings(cloud))) / EIGHTH)
    seen = frame.to_unit(points)
    sensors = None if sensors is None else frame.to_unit(sensors)
    if directions is None and sensors is not None:
        directions = directions_to(seen, sensors)
    planes = fit_planes(cloud, means, unit)
    up = upward(planes)
    if directions is not None:
        votes = votes_of_normals(planes, seen, directions)
        planes = refit_planes(cloud, orient(planes, device, votes, unit), means)
    elif up is not None:
        planes = refit_planes(cloud, turned_up(planes, up), means)
    else:
        planes = refit_planes(cloud, turn_outvoted(orient(planes, device, None, unit)), means)
    if up is None:
        indicator = indicator_of(planes, device, unit)
    else:
        up = up * np.copysign(1.0, (planes.normals @ up).sum())  # given normals may point down
        indicator = indicator_below(planes, up, device)
        logger.info("the points are of an open sheet, seen from (%.2f, %.2f, %.2f)", *up)
    if sensors is not None:
        indicator = carved(indicator, seen, sensors, planes.reach)
    logger.info("%d points, %d local planes of reach %.4f", len(cloud), len(planes), planes.reach)
    return Scan(frame, cloud, means, planes, indicator, up if sensors is None else None)


def _inside(points: Points, low: Points, high: Points) -> NDArray[np.bool_]:
    return np.asarray(((points >= low) & (points <= high)).all(axis=1))
