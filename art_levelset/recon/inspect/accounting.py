"""
An account of a scan's points: which of them the mesh does not pass by, where these are, and why.

A point is *far* from the surface if neither noise nor the gaps between the points explain its distance,

    d > max(5 sigma, clip(r, r_m, 3 r_m)),

where r is the distance from the point to its eighth neighbour, r_m the median of that, and sigma the noise: the usual
deviation s of the points from quadrics around them, or, as small neighbourhoods do not see all of it where there is
much, that from the surface (from the median of d), but no more than 3 s. So a surface that is wrong everywhere is found
out as well.

Far points of which one is among the other's eight nearest ones belong to one cluster, unless they are as far apart as
outliers are: a part of the object, or another object, that the mesh does not have. The others are scattered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import (
    OUTLIER_FACTOR,
    OUTLIER_NEIGHBOURS,
    Points,
    drawn,
    neighbours,
    outliers,
    spacings,
    unit_frame,
)
from art_levelset.recon.cloud.quadrics import Means, fit_surface
from art_levelset.recon.inspect.metrics import distances_to_surface

if TYPE_CHECKING:
    from trimesh import Trimesh

DEVIATIONS = 5.0
"""Normal noise goes beyond so many standard deviations once in two million points."""

THINNEST = 3.0
"""Where points are thin, their surface may miss them by their own spacing, but by no more than so many usual ones."""

HIDDEN = 3.0
"""The noise is at most so many times what quadrics say."""

FEWEST = 10
"""Fewer far points beside each other are scattered ones."""

TRIED = 1000
"""At so many points the noise is measured."""

NORMAL = 1.4826
"""The standard deviation of normal noise, in medians of its absolute values."""

SHARE, MANY = 0.01, 50
"""A larger part of far points, or so many in one cluster, are worth a warning."""

SHOWN = 3
"""So many clusters are told of on a terminal."""

OUTLIERS = "left out as outliers"
THIN = "too thin or too contradictory for local planes"
CUT = "the surface there is left out of the mesh, as a small part or by trimming"
MISSED = "missed by the fit"
_WHYS = OUTLIERS, THIN, CUT, MISSED


@dataclass(frozen=True)
class Cluster:
    """
    Far points beside each other.

    :param points: How many there are.
    :param low: The lowest corner of their box, in the scan's coordinates.
    :param high: The highest corner.
    :param why: Why the mesh does not pass by them, as far as can be told: for most of them.
    """

    points: int
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    why: str

    def __str__(self) -> str:
        """For a terminal."""
        longest = max(b - a for a, b in zip(self.low, self.high, strict=True))
        digits = 2 - math.floor(math.log10(longest)) if longest > 0 else 6  # georeferenced coordinates need theirs
        ends = ([f"{end:.{max(digits, 0)}f}" for end in pair] for pair in zip(self.low, self.high, strict=True))
        sides = (f"{axis} {a} to {b}" for axis, (a, b) in zip("xyz", ends, strict=True))
        return f"{self.points:,} in {', '.join(sides)}: {self.why}"


@dataclass(frozen=True)
class Account:
    """
    What has become of a scan's points.

    :param points: How many there are.
    :param noise: Its standard deviation, in the scan's units.
    :param spacing: The usual distance to the eighth neighbour.
    :param far: How many are farther from the surface than noise and spacing explain.
    :param scattered: How many of these are in no cluster.
    :param clusters: Where the others are, the largest ones first.
    :param reasons: How many of the far ones are far for which reason.
    """

    points: int
    noise: float
    spacing: float
    far: int
    scattered: int
    clusters: tuple[Cluster, ...]
    reasons: Mapping[str, int]

    @property
    def threshold(self) -> float:
        """
        How far from the surface a point may be.

        :return: The distance, in the scan's units; where points are thin it is up to :data:`THINNEST` times the usual
                 spacing.
        """
        return max(DEVIATIONS * self.noise, self.spacing)

    @property
    def share(self) -> float:
        """
        The part of all points that is far.

        :return: In [0, 1].
        """
        return self.far / self.points

    @property
    def worth_a_warning(self) -> bool:
        """
        Whether the far points are more than chance leaves over.

        :return: Whether they are more than :data:`SHARE` of all, or :data:`MANY` beside each other.
        """
        return self.share > SHARE or any(cluster.points >= MANY for cluster in self.clusters)

    def lines(self) -> list[str]:
        """
        The account for a terminal.

        :return: A line, and one for each of the largest clusters if they are worth a warning.
        """
        if not self.far:
            return [f"points: all {self.points:,} within {self.threshold:.3g} of the surface"]
        shown = [f"  {cluster}" for cluster in self.clusters[:SHOWN]] if self.worth_a_warning else []
        places = [] if not self.clusters else [f"{len(self.clusters):,} cluster{'s'[: len(self.clusters) != 1]}"]
        places += [f"{self.scattered:,} scattered"] if self.scattered else []
        reasons = "" if shown else f" ({', '.join(f'{why}: {count:,}' for why, count in self.reasons.items())})"
        head = f"points: {self.far:,} of {self.points:,} ({self.share:.2%}) farther than {self.threshold:.3g}"
        return [f"{head} from the surface, {' and '.join(places)}{reasons}", *shown]


def account_for(
    points: Points,
    mesh: Trimesh,
    centres: Points,
    reach: float,
    function: Callable[[Points], NDArray[np.float64]],
    counts: NDArray[np.int64] | None = None,
) -> Account:
    """
    Account for the points that a mesh was made of.

    :param points: The scan, (n, 3), n >= 10, with the points that the reconstruction has left out.
    :param mesh: The mesh, with at least one face.
    :param centres: Those of the local planes that the surface was fitted to, (k, 3).
    :param reach: The radius within which a plane stands for the surface.
    :param function: The fitted function, about a signed distance, of points, (m, 3) -> (m,). All lengths are in the
           scan's units.
    :param counts: How many points each of them stands for, (n,), if these are means.
    :return: The account.
    """
    distinct, owner = np.unique(points, axis=0, return_inverse=True)
    weights = None if counts is None else counts.astype(np.float64)
    standing = np.bincount(owner.ravel(), weights).astype(np.int64)
    spacing = spacings(distinct)
    noise, usual = _noise(distinct, mesh, None if counts is None else standing), float(np.median(spacing))
    limits = np.maximum(DEVIATIONS * noise, np.clip(spacing, usual, THINNEST * usual))
    rows = np.flatnonzero(neighbours(cKDTree(mesh.vertices), distinct, 1)[0][:, 0] > limits)
    rows = rows[distances_to_surface(distinct[rows], mesh) > limits[rows]]
    found, far = distinct[rows], standing[rows]
    whys = np.full(len(rows), _WHYS.index(MISSED))
    if len(rows):
        whys[np.abs(function(found)) <= limits[rows]] = _WHYS.index(CUT)
        whys[neighbours(cKDTree(centres), found, 1)[0][:, 0] > reach] = _WHYS.index(THIN)
        whys[outliers(spacing)[rows]] = _WHYS.index(OUTLIERS)
    labels = _labels(distinct, rows, OUTLIER_FACTOR * usual)
    sizes = np.bincount(labels, weights=far).astype(int)
    large = np.flatnonzero(np.bincount(labels) >= FEWEST)
    clusters = [_cluster(found[labels == label], far[labels == label], whys[labels == label]) for label in large]
    return Account(
        points=int(standing.sum()),
        noise=noise,
        spacing=usual,
        far=int(far.sum()),
        scattered=int(far.sum() - sizes[large].sum()),
        clusters=tuple(sorted(clusters, key=lambda cluster: -cluster.points)),
        reasons={
            why: int(total) for why, total in zip(_WHYS, np.bincount(whys, far, len(_WHYS)), strict=True) if total
        },
    )


def _noise(cloud: Points, mesh: Trimesh, counts: NDArray[np.int64] | None) -> float:
    """The standard deviation of the noise of a cloud."""
    generator = np.random.default_rng(0)
    some = generator.permutation(len(cloud))[:TRIED] if counts is None else drawn(counts, TRIED, generator)
    means = None if counts is None else Means(counts.astype(np.float64), 0.0)
    frame = unit_frame(cloud)
    unit = frame.to_unit(cloud)
    least = frame.scale * float(np.median(fit_surface(unit, unit[some], means=means).residuals))
    seen = NORMAL * float(np.median(distances_to_surface(cloud[some], mesh)))
    return float(np.clip(seen, least, HIDDEN * least))


def _labels(cloud: Points, rows: NDArray[np.int64], longest: float) -> NDArray[np.int64]:
    """The clusters of some points of a cloud, counted from 0: they are linked to those among their nearest ones."""
    number = np.full(len(cloud), -1)
    number[rows] = np.arange(len(rows))
    reach, found = neighbours(cKDTree(cloud), cloud[rows], min(OUTLIER_NEIGHBOURS + 1, len(cloud)))
    ends = np.repeat(np.arange(len(rows)), found.shape[1]), number[found].ravel()
    linked = (ends[1] >= 0) & (reach.ravel() <= longest)
    graph = coo_matrix((np.ones(linked.sum()), (ends[0][linked], ends[1][linked])), shape=(len(rows), len(rows)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _cluster(points: Points, counts: NDArray[np.int64], whys: NDArray[np.int64]) -> Cluster:
    low, high = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    why = _WHYS[int(np.bincount(whys, counts).argmax())]
    return Cluster(int(counts.sum()), (low[0], low[1], low[2]), (high[0], high[1], high[2]), why)
