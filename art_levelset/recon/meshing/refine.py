"""From the vertices of marching cubes to points of the surface itself: our projection, normals, fewer triangles."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from art_levelset.checks import check_count, check_positive
from art_levelset.core.fields import values_and_jacobians
from art_levelset.core.modes import evaluating
from art_levelset.core.projection import project
from art_levelset.memory import available
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.meshing.topology import Faces, compact, euler_number, open_edges, short_edges
from art_levelset.recon.threads import mapped, parts_of

STEPS = 3
"""Newton steps (and halvings) of a vertex: it starts within a fraction of a cell."""

FINE = 1e-4
"""Vertices are on the surface within this part of a cell."""

APART = 1e-3
"""The smallest distance of moved neighbours, in cells."""

CLOSE = 1e-6
"""Points are on the surface within this distance, in the unit frame: what float32 resolves."""

ROUNDS = 10
"""How often the search for the nearest point slides along the surface."""

CHUNK = 1 << 16
"""So many points are projected together."""

STEEP = 7.0
LARGEST_COST = 1e-9 * 102**STEEP
"""The library collapses edges whose cost is below 1e-9 (i + 3)^:data:`STEEP` in the passes i = 0 ... 99, unless it is
told to stop at a number of triangles: the cheapest ones first, and in the end all below this."""

TRIANGLE = 400.0
"""Bytes that a triangle takes while edges are collapsed."""

PASS = 1 << 14
"""So many normals are computed together: memory that a larger pass takes may stay with the process."""


def polish_vertices(network: nn.Module, vertices: Points, triangles: Faces, cell: float) -> Points:
    """
    Move the vertices of a mesh onto the zero level set, by Newton steps that decrease |F| (eqs. 4, 5).

    Marching cubes puts vertices where F would be zero if it were linear along an edge of its grid. The triangles stay
    the same. A vertex stays where it is that would leave its neighbourhood or come so near to another one that a file
    of single precision could not tell them apart.

    :param network: F, (batch, 3) -> (batch, 1).
    :param vertices: (n, 3) in F's coordinates.
    :param triangles: Indices of vertices, (m, 3).
    :param cell: The edge of a grid cell, > 0; no vertex moves further than half of it.
    :return: (n, 3).
    """
    moved = np.empty_like(vertices)
    back = np.empty(len(vertices), dtype=bool)

    def polish(rows: slice) -> None:
        found = project(network, _of(network, vertices[rows]), max_iter=STEPS, tol=FINE * cell, backtracking=True)
        moved[rows] = found.points.cpu().numpy()
        # Also where it is not a number.
        back[rows] = ~(np.linalg.norm(moved[rows] - vertices[rows], axis=1) <= cell / 2)

    with evaluating(network):
        mapped(polish, parts_of(len(vertices), CHUNK))
    while True:
        moved[back] = vertices[back]
        back = np.zeros_like(back)
        back[short_edges(moved, triangles, APART * cell)] = True
        back &= (moved != vertices).any(axis=1)
        if not back.any():
            return moved


def surface_normals(network: nn.Module, vertices: Points) -> Points:
    """
    The surface's unit normals D_xF / |D_xF|.

    :param network: F, (batch, 3) -> (batch, 1).
    :param vertices: Points of its zero level set, (n, 3).
    :return: (n, 3), towards F's positive side; zero where D_xF is.
    """
    directions = np.empty_like(vertices)

    def differentiate(rows: slice) -> None:
        gradients = values_and_jacobians(network, _of(network, vertices[rows]))[1].squeeze(1)
        directions[rows] = torch.nn.functional.normalize(gradients, dim=1).cpu().numpy()

    with evaluating(network):
        mapped(differentiate, parts_of(len(vertices), PASS))
    return directions


def nearest_points(network: nn.Module, points: Points) -> Points:
    """
    The nearest points of the zero level set: x is projected to p on it; then p is moved by the tangential part of x - p
    and projected again, by half as much as before where that would bring it too little nearer to x. At a nearest point
    the tangential part is zero.

    The nearest point in a neighbourhood of the first projection is found; elsewhere there may be one nearer still.

    :param network: F, (batch, 3) -> (batch, 1), approximately a signed distance.
    :param points: x, (n, 3).
    :return: (n, 3); NaN where the projection does not reach the zero level set.
    """
    nearest = np.empty_like(points)

    def approach(rows: slice) -> None:
        part = _of(network, points[rows])
        best = project(network, part, tol=CLOSE, backtracking=True)
        foot, jacobians, lost = best.points, best.jacobians, ~best.converged
        scale = torch.ones_like(part[:, :1])
        for _ in range(ROUNDS):
            normal = torch.nn.functional.normalize(jacobians.squeeze(1), dim=1)
            offset = part - foot
            tangential = offset - (offset * normal).sum(dim=1, keepdim=True) * normal
            trial = project(network, foot + scale * tangential, tol=CLOSE, backtracking=True)
            # Half of the decrease that a plane promises: a longer step would overshoot the nearest point.
            promised = scale[:, 0] * (tangential**2).sum(dim=1)
            shorter = (offset**2).sum(dim=1) - ((part - trial.points) ** 2).sum(dim=1)
            nearer = trial.converged & (shorter >= promised) & (shorter > 0)
            scale = torch.where(nearer[:, None], scale, scale / 2)
            foot = torch.where(nearer[:, None], trial.points, foot)
            jacobians = torch.where(nearer[:, None, None], trial.jacobians, jacobians)
        nearest[rows] = torch.where(lost[:, None], torch.nan, foot).cpu().numpy()

    with evaluating(network):
        mapped(approach, parts_of(len(points), CHUNK))
    return nearest


def simplify_mesh(vertices: Points, faces: Faces, count: int) -> tuple[Points, Faces]:
    """
    A mesh of fewer triangles, by collapsing the edges that cost the least quadric error.

    :param vertices: (n, 3).
    :param faces: (m, 3).
    :param count: About how many triangles to leave, >= 4; nothing is done to a mesh that has no more.
    :return: The vertices, (k, 3), and the triangles, (l, 3).
    :raises ValueError: If the count is out of range.
    """
    check_count("faces", count, 4)
    if len(faces) <= count:
        return vertices, faces
    return _collapsed(vertices, faces, target_count=count)


def simplify_within(vertices: Points, faces: Faces, tolerance: float) -> tuple[Points, Faces]:
    """
    A mesh of as few triangles as an error allows.

    The cost of a collapsed edge is the sum of the squared distances of the new vertex from the planes of all triangles
    that it stands for. It remains below the square of the tolerance: so does each of these distances, and
    most of them far below. Vertices of a border stay. Where a collapse would change the topology, half of the
    tolerance is tried, and a quarter.

    | Paper link: https://doi.org/10.1145/258734.258849 (Garland, Heckbert, 1997)

    :param vertices: (n, 3).
    :param faces: (m, 3).
    :param tolerance: The largest distance of a vertex from these planes, > 0.
    :return: The vertices, (k, 3), and the triangles, (l, 3); those that were given if collapses would change the
             topology all the same, or there is not the memory.
    :raises ValueError: If the tolerance is out of range.
    """
    check_positive("tolerance", tolerance)
    if len(faces) <= 4 or TRIANGLE * len(faces) > available():
        return vertices, faces
    shape = _shape(faces, len(vertices))
    for part in (1, 2, 4):
        scale = part * LARGEST_COST**0.5 / tolerance
        moved, triangles = _collapsed(vertices * scale, faces, target_count=4, agg=STEEP, preserve_border=True)
        if _shape(triangles, len(moved)) == shape:
            return moved / scale, triangles
    return vertices, faces


def _shape(triangles: Faces, size: int) -> tuple[int, int]:
    """The Euler number and the number of edges that are not shared by two, of triangles of so many vertices."""
    return euler_number(triangles, size), open_edges(triangles, size)


def _collapsed(vertices: Points, faces: Faces, **options: float) -> tuple[Points, Faces]:
    """What the library makes of a mesh, without flaps."""
    from fast_simplification import simplify

    remaining, triangles = simplify(vertices, faces, **options)
    # A collapsed edge may leave a flap, two triangles back to back: without them the mesh is closed as before.
    _, group, members = np.unique(np.sort(triangles, axis=1), axis=0, return_inverse=True, return_counts=True)
    single = members[group.ravel()] == 1
    return compact(np.asarray(remaining, dtype=np.float64), np.asarray(triangles[single], dtype=np.int32))


def _of(network: nn.Module, points: Points) -> Tensor:
    """Points, as the network takes them."""
    return torch.as_tensor(points, dtype=torch.float32, device=next(network.parameters()).device)
