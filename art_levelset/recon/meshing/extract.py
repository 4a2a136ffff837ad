"""
Marching cubes, brick by brick: the triangle mesh of the zero level set of a function on a box.

Only the crossed cells are meshed, and memory grows with the surface (:mod:`art_levelset.recon.meshing.bricks`). The
bricks are welded by the grid's edges, not by positions: every vertex knows the edge on which it lies, and the edge has
one vertex whichever brick finds it. So the mesh has the vertices and triangles that marching cubes on the full grid
has.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from art_levelset.checks import check_count, check_positive
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.meshing.bricks import SIDE, Brick, Function, Grid, Integers, Values, crossed_bricks
from art_levelset.recon.meshing.estimate import POINT, check_resolution
from art_levelset.recon.meshing.topology import Faces

COARSEST = 8
"""The smallest resolution."""

STEEPEST = 1.5
"""The slope up to which nothing is missed: that of a signed distance is 1."""

TINY = 1e-5
"""Values below this part of the largest one count as this, while triangles are chosen. A vertex is then further than
float32's rounding from the ends of its edge, so that the edge can be told from the vertex."""


class BrickMesh(NamedTuple):
    """
    The mesh of one brick.

    :param keys: A number for each vertex that tells where on the grid it belongs, (n,).
    :param local: The vertices, (n, 3), in cells from the brick's first node.
    :param faces: The triangles, (m, 3).
    :param origin: The brick's first node, (3,).
    """

    keys: Integers
    local: Values
    faces: Faces
    origin: Integers


def zero_set(
    function: Function,
    low: Points,
    high: Points,
    resolution: int,
    *,
    slope: float = STEEPEST,
    point: float = POINT,
    verbose: bool = True,
) -> tuple[Points, Faces]:
    """
    The zero level set of a function, as triangles that are oriented towards its positive side.

    It is what marching cubes (Lewiner's, of scikit-image) makes of all values on the grid if F is nowhere steeper than
    `slope`; of a steeper F every connected component that is found is complete. It is closed but for where it leaves
    the box. A value zero counts as negative.

    :param function: F, (n, 3) -> (n,), approximately a signed distance.
    :param low: One corner of the box, (3,).
    :param high: The opposite corner, (3,).
    :param resolution: Number of grid cells along the longest side of the box, >= 8.
    :param slope: The largest slope |D_xF| to allow for, > 0.
    :param point: Bytes that a point takes where F is evaluated, for the estimate of the memory.
    :param verbose: Whether to show a progress bar.
    :return: The vertices, (n, 3), in the order of the grid's edges, and the triangles, (m, 3), indices of vertices.
    :raises ValueError: If a number is out of range, there is not the memory, F is not finite, or its level set does not
            meet the box.
    """
    check_count("resolution", resolution, COARSEST)
    check_positive("slope", slope)
    grid = grid_of_box(low, high, resolution)
    check_resolution(function, low, high, resolution, slope=slope, point=point)
    bricks = crossed_bricks(function, grid, slope, verbose=verbose)
    if not bricks:
        raise ValueError("the reconstruction is empty: the network's zero level set does not meet the box of the cloud")
    tiny = TINY * max(float(np.abs(brick.known).max()) for brick in bricks)
    return _welded([_brick_mesh(bricks.pop(), grid, tiny) for _ in range(len(bricks))], grid)


def grid_of_box(low: Points, high: Points, resolution: int) -> Grid:
    """
    The grid of a mesh.

    :param low: One corner of the box, (3,).
    :param high: The opposite corner, (3,).
    :param resolution: Number of cells along the longest side of the box, >= 1.
    :return: The grid, which begins at the first corner and covers the box.
    """
    step = float((high - low).max()) / resolution
    # A side that is a whole number of cells but for rounding does not need another cell.
    return Grid(low, step, np.maximum(np.ceil((high - low) / step - 1e-6).astype(np.int64), 1))


def _welded(meshes: list[BrickMesh], grid: Grid) -> tuple[Points, Faces]:
    """One mesh from those of the bricks: vertices with the same key are the same vertex."""
    keys, vertex = np.unique(np.concatenate([mesh.keys for mesh in meshes]), return_inverse=True)
    vertices = np.empty((len(keys), 3))
    faces = np.empty((sum(len(mesh.faces) for mesh in meshes), 3), dtype=np.int32)
    known = filled = 0
    for mesh in meshes:
        own = vertex[known : known + len(mesh.keys)]
        vertices[own] = grid.positions(mesh.local + mesh.origin)
        faces[filled : filled + len(mesh.faces)] = own[mesh.faces]
        known, filled = known + len(mesh.keys), filled + len(mesh.faces)
    return vertices, faces


def _brick_mesh(brick: Brick, grid: Grid, tiny: float) -> BrickMesh:
    """Mesh the crossed cells of a brick."""
    from skimage.measure import marching_cubes

    values = brick.values()
    mask = np.zeros(values.shape, dtype=bool)
    mask[1:, 1:, 1:] = brick.cells()  # scikit-image counts a cell by its last corner
    apart = np.where(values > 0, np.maximum(values, tiny), np.minimum(values, -tiny))
    local, faces, _, _ = marching_cubes(apart, 0.0, mask=mask)
    nodes = np.floor(local).astype(np.int64)
    between = local != nodes
    on_edge = between.sum(axis=1) == 1
    axis = between.argmax(axis=1)
    start = nodes[on_edge]
    end = np.minimum(start + np.eye(3, dtype=np.int64)[axis[on_edge]], SIDE)
    at_start, at_end = (values[tuple(node.T)].astype(np.float64) for node in (start, end))
    local[on_edge, axis[on_edge]] = start[np.arange(len(start)), axis[on_edge]] + at_start / (at_start - at_end)
    keys = grid.keys(nodes + brick.origin) * 4 + np.where(on_edge, axis, 3)  # 3: the one vertex inside of a cell
    return BrickMesh(keys, local, faces, brick.origin)
