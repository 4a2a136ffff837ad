"""How far two surfaces are from each other: Chamfer and Hausdorff distances, between samples and to the triangles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.recon.clouds import Points, neighbours

if TYPE_CHECKING:
    from trimesh import Trimesh

SAMPLES = 30_000
CANDIDATES = 16
MOST_TRIANGLES = 200_000
CHUNK = 1 << 18


@dataclass(frozen=True)
class SurfaceDistances:
    """
    Distances between a surface and a reference, in their units.

    :param chamfer: The mean of the two mean distances from samples of one surface to the nearest sample of the other,
           as in the paper's Table 2. Two samplings of one surface do not have distance zero.
    :param hausdorff: The largest of all those distances.
    :param chamfer_to_surface: The mean of the two mean distances from samples to the other surface itself.
    :param hausdorff_to_surface: The largest of all those distances.
    """

    chamfer: float
    hausdorff: float
    chamfer_to_surface: float
    hausdorff_to_surface: float

    def report(self) -> str:
        """
        The distances times 10^3, for a terminal.

        :return: Two lines of text.
        """
        return (
            f"nearest sample x 10^3: Chamfer {1e3 * self.chamfer:.4g}, Hausdorff {1e3 * self.hausdorff:.4g}\n"
            f"to the surface x 10^3: Chamfer {1e3 * self.chamfer_to_surface:.4g}, "
            f"Hausdorff {1e3 * self.hausdorff_to_surface:.4g}"
        )


def compare(mesh: Trimesh, reference: Trimesh, *, samples: int = SAMPLES, seed: int = 0) -> SurfaceDistances:
    """
    Compare two surfaces by uniform random samples of both.

    :param mesh: One surface, with at least one face.
    :param reference: The other one.
    :param samples: Number of samples of each, >= 1.
    :param seed: Seed of the samples, >= 0.
    :return: The distances; they are symmetric up to the choice of the samples.
    :raises ValueError: If a surface has no area, or a number is out of range.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    generator = np.random.default_rng(seed)
    ours, theirs = sample_surface(mesh, samples, generator), sample_surface(reference, samples, generator)
    there, back = neighbours(cKDTree(theirs), ours, 1)[0], neighbours(cKDTree(ours), theirs, 1)[0]
    there_exact, back_exact = distances_to_surface(ours, reference), distances_to_surface(theirs, mesh)
    return SurfaceDistances(
        chamfer=float(there.mean() + back.mean()) / 2,
        hausdorff=float(max(there.max(), back.max())),
        chamfer_to_surface=float(there_exact.mean() + back_exact.mean()) / 2,
        hausdorff_to_surface=float(max(there_exact.max(), back_exact.max())),
    )


def sample_surface(mesh: Trimesh, count: int, generator: np.random.Generator) -> Points:
    """
    Points uniformly distributed on the triangles of a mesh.

    :param mesh: The mesh.
    :param count: Number of points.
    :param generator: Source of randomness.
    :return: (count, 3).
    :raises ValueError: If the mesh has no area.
    """
    corners = np.asarray(mesh.triangles, dtype=np.float64)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = np.linalg.norm(np.cross(first, second), axis=1)
    if not areas.sum() > 0:
        raise ValueError("mesh: a surface without area cannot be sampled")
    chosen = generator.choice(len(areas), size=count, p=areas / areas.sum())
    a, b = generator.random((2, count, 1))
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    points: Points = corners[chosen, 0] + a * first[chosen] + b * second[chosen]
    return points


def distances_to_surface(points: Points, mesh: Trimesh) -> NDArray[np.float64]:
    """
    The exact distances from points to the triangles of a mesh.

    Long triangles are divided, so that no corner is further than some R from its triangle's centre. A triangle nearer
    than the best one known, at distance d, then has its centre within d + R: more and more triangles are tried, in the
    order of their centres, until those are all among them.

    :param points: (n, 3).
    :param mesh: The mesh, with at least one face.
    :return: (n,).
    """
    from trimesh.remesh import subdivide_to_size
    from trimesh.triangles import closest_point

    corners = np.asarray(mesh.triangles, dtype=np.float64)
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    longest = max(2 * float(np.median(edges)), float(np.sqrt(mesh.area / MOST_TRIANGLES)))
    vertices, faces = subdivide_to_size(mesh.vertices, mesh.faces, longest, max_iter=50)  # type: ignore[no-untyped-call]
    corners = vertices[faces]
    centres = corners.mean(axis=1)
    radius = float(np.linalg.norm(corners - centres[:, None], axis=2).max())
    tree = cKDTree(centres)
    distances = np.full(len(points), np.inf)
    pending = np.arange(len(points))
    count = CANDIDATES
    while len(pending):
        count = min(count, len(corners))
        unfinished = []
        for rows in np.array_split(pending, len(pending) * count // CHUNK + 1):
            reach, found = neighbours(tree, points[rows], count)
            places = np.repeat(points[rows], count, axis=0)
            nearest = closest_point(corners[found.ravel()], places)  # type: ignore[no-untyped-call]
            distances[rows] = np.linalg.norm(nearest - places, axis=1).reshape(-1, count).min(axis=1)
            unfinished.append(rows[(reach[:, -1] - radius < distances[rows]) & (count < len(corners))])
        pending = np.concatenate(unfinished)
        count *= 4
    return distances
