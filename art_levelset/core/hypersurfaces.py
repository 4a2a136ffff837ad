"""
Closed piecewise linear hypersurfaces of R^d: polygons, triangle meshes, and the same in any dimension.

A hypersurface M is a set of facets, simplices of d vertices each: edges of a polygon, triangles of a mesh. It is
*watertight* when every ridge (d - 1 vertices: a vertex of a polygon, an edge of a mesh) belongs to an even number of
facets, so that M has no boundary modulo 2. Then the *even-odd rule* is well defined: a point off M is inside when a ray
from it crosses M an odd number of times, whichever way the ray goes. The rule asks nothing of the order of a facet's
vertices, and says what one means of several components and of nested shells.

A ray x + t u meets a facet with vertices p_1, ..., p_d where

    sum_j beta_j p_j - t u = x,    sum_j beta_j = 1,

which are d + 1 linear equations, solved once a facet: (beta, t) is affine in x. The facet is hit if all beta_j > 0.
Where some beta_j is 0 but for rounding, the ray passes a ridge, and another direction has to decide.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-12
"""Points this near to a plane are on it, as a part of the diagonal."""

_ROUNDING = 64 * torch.finfo(torch.float64).eps
_MARGIN = 0.3
_NEAR_RIDGE = 1e-9
_DIRECTIONS = 100
_CHUNK = 1 << 22


class Hypersurface(NamedTuple):
    """
    A watertight hypersurface, in coordinates of its own, which are positive.

    :param simplices: The vertices of its facets minus `origin`, (m, d, d), float64.
    :param origin: A point beside its bounding box, below it in every coordinate, (d,).
    :param diagonal: The length of the box's diagonal.
    :param tolerance: The distance from a plane up to which a point counts as on it.
    """

    simplices: Tensor
    origin: Tensor
    diagonal: float
    tolerance: float


class Planes(NamedTuple):
    """
    Hyperplanes {x : normals[i] . x + offsets[i] = 0} with unit normals.

    :param normals: (k, d), float64.
    :param offsets: (k,).
    """

    normals: Tensor
    offsets: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """
        The signed distances.

        :param points: (..., d).
        :return: (..., k).
        """
        # Not by a matrix product, whose rounding depends on the other points: facets that share a vertex must agree.
        distances = self.offsets
        for i, components in enumerate(self.normals.T):
            distances = distances + points[..., i, None] * components
        return distances


def hypersurface(mesh: Any) -> Hypersurface:
    """
    Check a mesh.

    :param mesh: Something with `vertices` and `faces`, such as a trimesh.Trimesh, or the pair of them: (n, d) numbers,
           d >= 2, and (m, d) indices of vertices. In the plane the faces are the edges of polygons.
    :return: The hypersurface. Vertices at the same place are one vertex, and a facet that is there twice is not there.
    :raises ValueError: If that is no mesh, or it is not watertight.

    >>> square = hypersurface(([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 1], [1, 2], [2, 3], [3, 0]]))
    >>> square.simplices.shape, round(square.diagonal, 3)
    (torch.Size([4, 2, 2]), 1.414)
    """
    vertices, faces = _arrays(mesh)
    vertices, places = torch.unique(vertices, dim=0, return_inverse=True)
    facets, counts = torch.unique(places[faces].sort(dim=1).values, dim=0, return_counts=True)
    # Modulo 2; a facet with a vertex twice has no area, and its ridges are in pairs.
    facets = facets[(counts % 2 == 1) & (facets.diff(dim=1) > 0).all(dim=1)]
    d = vertices.shape[1]
    ridges = torch.cat([facets[:, list(chosen)] for chosen in combinations(range(d), d - 1)])
    odd = int((torch.unique(ridges, dim=0, return_counts=True)[1] % 2).sum()) if len(facets) else 0
    if odd:
        what = {2: "vertices", 3: "edges"}.get(d, "ridges")
        raise ValueError(f"mesh is not watertight: {odd} of its {what} belong to an odd number of faces")
    if not len(facets):
        raise ValueError("mesh has no faces that enclose anything")
    simplices = vertices[facets]
    low, high = simplices.amin(dim=(0, 1)), simplices.amax(dim=(0, 1))
    diagonal, size = float((high - low).norm()), float(vertices.abs().max())
    tolerance = max(TOLERANCE * diagonal, _ROUNDING * size)
    if tolerance > 1e-9 * diagonal:
        raise ValueError(f"mesh is too far from the origin for float64: {size:.3g} at a diagonal of {diagonal:.3g}")
    origin = low - _MARGIN * diagonal
    return Hypersurface(simplices - origin, origin, diagonal, tolerance)


def facet_planes(surface: Hypersurface) -> tuple[Planes, Tensor, Tensor]:
    """
    The hyperplanes that support the facets, coplanar facets having one together.

    :param surface: The hypersurface.
    :return: The planes, in the coordinates of `surface.simplices`; the facets that have an area, (m', d, d); and the
             indices of their planes, (m',).
    :raises ValueError: If no facet has an area.
    """
    simplices = surface.simplices
    edges = simplices[:, 1:] - simplices[:, :1]
    # The area: |det| of the edges and the unit normal, which is the product of the edges' singular values.
    _, singular, rows = torch.linalg.svd(edges, full_matrices=True)
    thick = singular[:, -1] > surface.tolerance
    simplices, areas, normals = simplices[thick], singular.prod(dim=1)[thick], rows[thick, -1]
    if not len(simplices):
        raise ValueError("mesh has no faces with an area")
    offsets = -(normals * simplices.mean(dim=1)).sum(dim=1)
    owners = torch.full((len(simplices),), -1)
    chosen: list[int] = []
    for i in areas.argsort(descending=True, stable=True).tolist():  # of large facets the planes are known best
        if owners[i] < 0:
            free = (owners < 0).nonzero()[:, 0]
            near = (simplices[free] @ normals[i] + offsets[i]).abs().amax(dim=1) <= surface.tolerance
            owners[free[near]] = len(chosen)
            owners[i] = len(chosen)
            chosen.append(i)
    return Planes(normals[chosen], offsets[chosen]), simplices, owners


def parity_beyond(points: Tensor, normals: Tensor, simplices: Tensor, tolerance: float) -> Tensor:
    """
    Whether points are inside a watertight hypersurface, or if they lie on it, what is next to them on one side.

    :param points: (n, d).
    :param normals: The side, for points on the hypersurface: the rays go to where these point, (n, d).
    :param simplices: The facets, (m, d, d).
    :param tolerance: Facets in whose planes a point lies, up to this distance, are not crossed.
    :return: Booleans, (n,).
    :raises ValueError: If no ray can tell, for lack of one that keeps away from the ridges.
    """
    inside = torch.zeros(len(points), dtype=torch.bool)
    pending = torch.arange(len(points))
    generator = torch.Generator().manual_seed(0)
    d = points.shape[1]
    facing = torch.linalg.svd(simplices[:, 1:] - simplices[:, :1], full_matrices=True)[2][:, -1]
    for _ in range(_DIRECTIONS):
        direction = torch.randn(d, generator=generator, dtype=torch.float64)
        direction = direction / direction.norm()
        equations = torch.zeros(len(simplices), d + 1, d + 1, dtype=torch.float64)
        equations[:, :d, :d], equations[:, :d, d], equations[:, d, :d] = simplices.mT, -direction, 1
        inverse, info = torch.linalg.inv_ex(equations)
        if info.any():
            continue
        doubtful = []
        for rows in torch.split(pending, max(1, _CHUNK // (len(simplices) * (d + 1)))):
            solved = inverse[:, :, :d] @ points[rows].T + inverse[:, :, d:]  # (m, d + 1, rows)
            distances = solved[:, d] * (facing @ direction).abs()[:, None]
            ahead = distances * (normals[rows] @ direction).sign() > tolerance
            nearest = solved[:, :d].amin(dim=1)
            inside[rows] = ((nearest > 0) & ahead).sum(dim=0) % 2 == 1
            doubtful.append(rows[((nearest.abs() < _NEAR_RIDGE) & ahead).any(dim=0)])
        pending = torch.cat(doubtful)
        if not len(pending):
            return inside
    raise ValueError("mesh is too thin somewhere to tell its inside from its outside")


def is_inside(points: Tensor, mesh: Any) -> Tensor:
    """
    Which points a watertight mesh encloses, by the even-odd rule.

    :param points: (n, d).
    :param mesh: As for :func:`hypersurface`.
    :return: Booleans, (n,); of points on the mesh they mean nothing.
    :raises ValueError: If the mesh is none, or not watertight, or the points have another dimension.

    >>> square = [[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 1], [1, 2], [2, 3], [3, 0]]
    >>> is_inside(torch.tensor([[0.5, 0.2], [1.5, 0.2]]), square)
    tensor([ True, False])
    """
    surface = hypersurface(mesh)
    if points.dim() != 2 or points.shape[1] != len(surface.origin):
        raise ValueError(f"points must be (n, {len(surface.origin)}), got {tuple(points.shape)}")
    moved = points.detach().double().cpu() - surface.origin
    return parity_beyond(moved, torch.ones_like(moved), surface.simplices, 0.0)


def _arrays(mesh: Any) -> tuple[Tensor, Tensor]:
    """The vertices, (n, d) float64, and the faces, (m, d) int64."""
    try:
        given = (mesh.vertices, mesh.faces) if hasattr(mesh, "vertices") else mesh
        vertices, faces = (_tensor(part) for part in given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"mesh must have vertices and faces, or be the pair of them ({error})") from None
    if vertices.dim() != 2 or vertices.shape[1] < 2 or not torch.isfinite(vertices).all():
        raise ValueError(f"mesh: the vertices must be (n, d) finite numbers, d >= 2, got {tuple(vertices.shape)}")
    if faces.dim() != 2 or faces.shape[1] != vertices.shape[1] or faces.is_floating_point():
        raise ValueError(
            f"mesh: the faces must be (m, {vertices.shape[1]}) indices of vertices, got {tuple(faces.shape)}"
        )
    if len(faces) and not (int(faces.min()) >= 0 and int(faces.max()) < len(vertices)):
        raise ValueError(f"mesh: the faces name vertices that are not there: there are {len(vertices)}")
    return vertices.detach().double().cpu(), faces.detach().long().cpu()


def _tensor(part: Any) -> Tensor:
    """A tensor of integers or of float64, of an array (also one of a subclass) or of lists."""
    if isinstance(part, Tensor):
        return part
    numbers = part.tolist() if hasattr(part, "tolist") else part
    integers = torch.tensor(numbers)
    return torch.tensor(numbers, dtype=torch.float64) if integers.is_floating_point() else integers
