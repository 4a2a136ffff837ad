"""How far two surfaces are from each other: distances between samples and to the triangles, normals, F-score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.checks import check_count, check_seed
from art_levelset.recon.cloud.clouds import Points, drawn, inliers, neighbours

if TYPE_CHECKING:
    from trimesh import Trimesh

SAMPLES = 30_000
CLOUD_SAMPLES = 10_000
CANDIDATES = 16
MOST_TRIANGLES = 200_000
CHUNK = 1 << 18

F_SCORE_DISTANCE = 0.01
"""The distance of the F-score, as a part of the diagonal of the reference's bounding box."""

_DISTANCES = (
    "chamfer",
    "hausdorff",
    "chamfer_to_surface",
    "hausdorff_to_surface",
    "chamfer_l2_to_surface",
    "within_95",
)


@dataclass(frozen=True)
class SurfaceDistances:
    """
    Distances between a surface and a reference, in their units.

    :param chamfer: The mean of the two mean distances from samples of one surface to the nearest sample of the other,
           as in the paper's Table 2. Two samplings of one surface do not have distance zero.
    :param hausdorff: The largest of all those distances.
    :param chamfer_to_surface: The mean of the two mean distances from samples to the other surface itself (L1).
    :param hausdorff_to_surface: The largest of all those distances.
    :param chamfer_l2_to_surface: The root of the mean of the two mean squares of those distances (L2).
    :param within_95: The distance that 95% of those distances do not exceed.
    :param normal_consistency: The mean of |n . m| over the samples, n being the normal at a sample and m at the nearest
           point of the other surface; 1 for equal surfaces.
    :param f_score: The harmonic mean of the two shares of samples no further than :data:`F_SCORE_DISTANCE` of the
           diagonal from the other surface.
    :param diagonal: The diagonal of the reference's bounding box.
    """

    chamfer: float
    hausdorff: float
    chamfer_to_surface: float
    hausdorff_to_surface: float
    chamfer_l2_to_surface: float
    within_95: float
    normal_consistency: float
    f_score: float
    diagonal: float

    def relative(self) -> dict[str, float]:
        """
        The distances as multiples of the diagonal, times 10^3.

        :return: By name.
        """
        return {name: 1e3 * getattr(self, name) / self.diagonal for name in _DISTANCES}

    def report(self) -> str:
        """
        The distances times 10^3, for a terminal.

        :return: Four lines of text.
        """
        relative = self.relative()
        return (
            f"nearest sample x 10^3: Chamfer {1e3 * self.chamfer:.4g}, Hausdorff {1e3 * self.hausdorff:.4g}\n"
            f"to the surface x 10^3: Chamfer {1e3 * self.chamfer_to_surface:.4g}, "
            f"Hausdorff {1e3 * self.hausdorff_to_surface:.4g}\n"
            f"to the surface / reference's diagonal x 10^3: Chamfer L1 {relative['chamfer_to_surface']:.4g}, "
            f"L2 {relative['chamfer_l2_to_surface']:.4g}, 95% {relative['within_95']:.4g}, "
            f"Hausdorff {relative['hausdorff_to_surface']:.4g}\n"
            f"normal consistency {self.normal_consistency:.4f}, "
            f"F-score {self.f_score:.4f} (within {F_SCORE_DISTANCE:.0%} of the diagonal)"
        )


@dataclass(frozen=True)
class CloudDistances:
    """
    Distances between a surface and a cloud without its outliers, in their units.

    :param chamfer: The mean of the two mean distances: from points of the cloud to the surface, and from samples of the
           surface to the nearest point of the cloud. It includes the noise and the gaps of the cloud.
    :param diagonal: The diagonal of the surface's bounding box.
    :param outliers: How many distinct points of the cloud are outliers, which do not count
           (:func:`art_levelset.recon.cloud.clouds.inliers`).
    """

    chamfer: float
    diagonal: float
    outliers: int = 0

    def relative(self) -> float:
        """
        The distance as a multiple of the diagonal, times 10^3.

        :return: That number.
        """
        return 1e3 * self.chamfer / self.diagonal


def compare_with_cloud(
    mesh: Trimesh,
    points: Points,
    *,
    counts: NDArray[np.int64] | None = None,
    samples: int = CLOUD_SAMPLES,
    seed: int = 0,
) -> CloudDistances:
    """
    Compare a surface with a cloud, without its outliers, by random parts of both.

    :param mesh: The surface, with at least one face.
    :param points: The cloud, (n, 3), n >= 1.
    :param counts: How many points each of them stands for, (n,), if these are means.
    :param samples: Number of points of each, >= 1.
    :param seed: Seed of the samples, >= 0.
    :return: The distances.
    :raises ValueError: If the surface has no area, or a number is out of range.
    """
    check_count("samples", samples)
    check_seed(seed)
    generator = np.random.default_rng(seed)
    distinct, owner = np.unique(points, axis=0, return_inverse=True)
    used = inliers(distinct)
    weights = (
        np.ones(len(distinct), np.int64) if counts is None else np.bincount(owner.ravel(), counts).astype(np.int64)
    )
    outliers = int(weights[~used].sum())
    points = points if counts is None and not outliers else distinct[used]
    ours = sample_surface(mesh, samples, generator)
    rows = generator.permutation(len(points)) if counts is None else drawn(weights[used], samples, generator)
    theirs = points[rows[:samples]]
    there, back = neighbours(cKDTree(points), ours, 1)[0], distances_to_surface(theirs, mesh)
    diagonal = float(np.linalg.norm(np.ptp(mesh.bounds, axis=0)))
    return CloudDistances(float(there.mean() + back.mean()) / 2, diagonal, outliers)


def compare(mesh: Trimesh, reference: Trimesh, *, samples: int = SAMPLES, seed: int = 0) -> SurfaceDistances:
    """
    Compare two surfaces by uniform random samples of both.

    >>> from trimesh.creation import icosphere
    >>> from art_levelset.recon import compare
    >>> distances = compare(icosphere(radius=1.0), icosphere(radius=1.1), samples=1000)
    >>> round(distances.chamfer_to_surface, 2), distances.f_score
    (0.1, 0.0)

    :param mesh: One surface, with at least one face.
    :param reference: The other one.
    :param samples: Number of samples of each, >= 1.
    :param seed: Seed of the samples, >= 0.
    :return: The distances; they are symmetric up to the choice of the samples, but for the diagonal.
    :raises ValueError: If a surface has no area, or a number is out of range.
    """
    check_count("samples", samples)
    check_seed(seed)
    generator = np.random.default_rng(seed)
    ours, our_faces = _samples(mesh, samples, generator)
    theirs, their_faces = _samples(reference, samples, generator)
    there, back = neighbours(cKDTree(theirs), ours, 1)[0], neighbours(cKDTree(ours), theirs, 1)[0]
    (there_exact, hit), (back_exact, hit_back) = nearest_on_surface(ours, reference), nearest_on_surface(theirs, mesh)
    exact = np.concatenate([there_exact, back_exact])
    our_normals, their_normals = _face_normals(mesh), _face_normals(reference)
    alignment = np.concatenate(
        [
            np.einsum("ni,ni->n", our_normals[our_faces], their_normals[hit]),
            np.einsum("ni,ni->n", their_normals[their_faces], our_normals[hit_back]),
        ]
    )
    diagonal = float(np.linalg.norm(np.ptp(reference.bounds, axis=0)))
    precision, recall = (float((found <= F_SCORE_DISTANCE * diagonal).mean()) for found in (there_exact, back_exact))
    return SurfaceDistances(
        chamfer=float(there.mean() + back.mean()) / 2,
        hausdorff=float(max(there.max(), back.max())),
        chamfer_to_surface=float(exact.mean()),
        hausdorff_to_surface=float(exact.max()),
        chamfer_l2_to_surface=float(np.sqrt((exact**2).mean())),
        within_95=float(np.quantile(exact, 0.95)),
        normal_consistency=float(np.abs(alignment).mean()),
        f_score=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        diagonal=diagonal,
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
    return _samples(mesh, count, generator)[0]


def _samples(mesh: Trimesh, count: int, generator: np.random.Generator) -> tuple[Points, NDArray[np.int64]]:
    """Points uniformly distributed on the triangles of a mesh, and their triangles."""
    corners = np.asarray(mesh.triangles, dtype=np.float64)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = np.linalg.norm(np.cross(first, second), axis=1)
    if not areas.sum() > 0:
        raise ValueError("mesh: a surface without area cannot be sampled")
    chosen = generator.choice(len(areas), size=count, p=areas / areas.sum())
    a, b = generator.random((2, count, 1))
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    points: Points = corners[chosen, 0] + a * first[chosen] + b * second[chosen]
    return points, chosen


def _face_normals(mesh: Trimesh) -> Points:
    """The unit normals of all triangles, (m, 3); zero for those without area."""
    corners = np.asarray(mesh.triangles, dtype=np.float64)
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(crossed / np.maximum(np.linalg.norm(crossed, axis=1, keepdims=True), 1e-300))


def distances_to_surface(points: Points, mesh: Trimesh) -> NDArray[np.float64]:
    """
    The exact distances from points to the triangles of a mesh.

    :param points: (n, 3).
    :param mesh: The mesh, with at least one face.
    :return: (n,).
    """
    return nearest_on_surface(points, mesh)[0]


def nearest_on_surface(points: Points, mesh: Trimesh) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """
    The exact distances from points to the triangles of a mesh, and the nearest triangles.

    Long triangles are divided, so that no corner is further than some R from its triangle's centre. A triangle nearer
    than the best one known, at distance d, then has its centre within d + R: more and more triangles are tried, in the
    order of their centres, until those are all among them.

    trimesh compares areas with a fixed threshold, so lengths are measured in usual edges: in metres the triangles of a
    small object would lose their insides.

    :param points: (n, 3).
    :param mesh: The mesh, with at least one face.
    :return: The distances, (n,), and the indices of faces, (n,).
    """
    from trimesh.remesh import subdivide_to_size
    from trimesh.triangles import closest_point

    corners = np.asarray(mesh.triangles, dtype=np.float64)
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    usual = max(float(np.median(edges)), 1e-300)
    longest = max(2 * usual, float(np.sqrt(mesh.area / MOST_TRIANGLES)))
    vertices, faces, owners = subdivide_to_size(  # type: ignore[no-untyped-call]
        mesh.vertices, mesh.faces, longest, max_iter=50, return_index=True
    )
    origin = mesh.bounds.mean(axis=0)
    corners, points = (vertices[faces] - origin) / usual, (points - origin) / usual
    centres = corners.mean(axis=1)
    radius = float(np.linalg.norm(corners - centres[:, None], axis=2).max())
    tree = cKDTree(centres)
    distances = np.full(len(points), np.inf)
    nearest = np.zeros(len(points), dtype=np.int64)
    pending = np.arange(len(points))
    count = CANDIDATES
    while len(pending):
        count = min(count, len(corners))
        unfinished = []
        for rows in np.array_split(pending, len(pending) * count // CHUNK + 1):
            reach, found = neighbours(tree, points[rows], count)
            queries = np.repeat(points[rows], count, axis=0)
            with np.errstate(invalid="ignore"):  # older trimesh divides by the lengths of edges, be they zero
                closest = closest_point(corners[found.ravel()], queries)  # type: ignore[no-untyped-call]
            tried = np.linalg.norm(closest - queries, axis=1).reshape(-1, count)
            tried[np.isnan(tried)] = np.inf  # a triangle that is a segment: its neighbours have its points
            best = tried.argmin(axis=1)[:, None]
            distances[rows] = np.take_along_axis(tried, best, axis=1)[:, 0]
            nearest[rows] = owners[np.take_along_axis(found, best, axis=1)[:, 0]]
            unfinished.append(rows[(reach[:, -1] - radius < distances[rows]) & (count < len(corners))])
        pending = np.concatenate(unfinished)
        count *= 4
    return usual * distances, nearest
