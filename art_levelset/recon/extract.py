"""
Marching cubes, coarse to fine: the triangle mesh of the zero level set of a function on a box.

Most of a grid is far from the surface. The nodes of every eighth layer are evaluated first; of the bricks between them
only those are filled in that the zero level set can meet: their corners differ in sign, or one of them is, for a
function of slope 1.5 at most, near enough to it. In the others every node is given the value of a corner.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from tqdm.auto import tqdm

from art_levelset.recon.clouds import Points, neighbours

BRICK = 8
STEEPEST = 1.5
CHUNK = 1 << 16

Function = Callable[[Points], NDArray[np.float32]]


def zero_set(
    function: Function, low: Points, high: Points, resolution: int, *, verbose: bool = True
) -> tuple[Points, NDArray[np.int64]]:
    """
    The zero level set of a function, as triangles that are oriented towards its positive side.

    :param function: F, (n, 3) -> (n,), approximately a signed distance.
    :param low: One corner of the box, (3,).
    :param high: The opposite corner, (3,).
    :param resolution: Number of grid cells along the longest side of the box, >= 8.
    :param verbose: Whether to show a progress bar.
    :return: The vertices, (n, 3), and the triangles, (m, 3), indices of vertices.
    :raises ValueError: If the resolution is too small, or the level set does not meet the box.
    """
    if resolution < BRICK:
        raise ValueError(f"resolution must be at least {BRICK}, got {resolution}")
    from skimage.measure import marching_cubes

    step = float((high - low).max()) / resolution
    bricks = np.maximum(np.ceil((high - low) / (step * BRICK)).astype(np.int64), 1)
    values = _grid_values(function, low, step, bricks, verbose)
    if not (values.min() < 0 < values.max()):
        raise ValueError("the reconstruction is empty: the network's zero level set does not meet the box of the cloud")
    vertices, faces, _, _ = marching_cubes(values, 0.0)
    return vertices.astype(np.float64) * step + low, faces.astype(np.int64)


def supported_parts(vertices: Points, faces: NDArray[np.int64], centres: Points, share: float) -> NDArray[np.bool_]:
    """
    Tell the connected parts of a mesh that data speak for from the spurious ones.

    :param vertices: (n, 3).
    :param faces: (m, 3).
    :param centres: Places that the surface should pass, (k, 3).
    :param share: A part is spurious that is the nearest one to a smaller share of the places.
    :return: Which faces belong to the other parts, (m,).
    """
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    ones = np.ones(len(edges), dtype=bool)
    graph = coo_matrix((ones, (edges[:, 0], edges[:, 1])), shape=(len(vertices), len(vertices)))
    count, part = connected_components(graph, directed=False)
    nearest = part[neighbours(cKDTree(vertices), centres, 1)[1][:, 0]]
    speakers = np.bincount(nearest, minlength=count)
    return speakers[part[faces[:, 0]]] >= share * len(centres)


def _grid_values(
    function: Function, low: Points, step: float, bricks: NDArray[np.int64], verbose: bool
) -> NDArray[np.float32]:
    coarse_nodes = np.indices(tuple(bricks + 1)).reshape(3, -1).T * BRICK
    coarse = np.concatenate(
        [function(part * step + low) for part in np.array_split(coarse_nodes, len(coarse_nodes) // CHUNK + 1)]
    ).reshape(tuple(bricks + 1))
    corners = np.stack([_shifted(coarse, bits, bricks) for bits in range(8)])
    reach = STEEPEST * step * BRICK * np.sqrt(3) / 2  # no point of a brick is further from its nearest corner
    near = (np.abs(corners).min(axis=0) <= reach) | (corners.min(axis=0) * corners.max(axis=0) <= 0)
    values: NDArray[np.float32] = np.repeat(np.repeat(np.repeat(coarse, BRICK, 0), BRICK, 1), BRICK, 2)
    values = np.ascontiguousarray(values[tuple(slice(0, n * BRICK + 1) for n in bricks)])
    local = np.indices((BRICK + 1,) * 3).reshape(3, -1).T
    todo = np.argwhere(near)
    per_chunk = max(CHUNK // len(local), 1)
    parts = np.array_split(todo, max(-(-len(todo) // per_chunk), 1)) if len(todo) else []
    for part in tqdm(parts, desc="mesh", unit="chunk", disable=not verbose):
        nodes = (part[:, None] * BRICK + local).reshape(-1, 3)
        values[tuple(nodes.T)] = function(nodes * step + low)
    return values


def _shifted(coarse: NDArray[np.float32], bits: int, bricks: NDArray[np.int64]) -> NDArray[np.float32]:
    start = (bits >> 2 & 1, bits >> 1 & 1, bits & 1)
    return coarse[tuple(slice(first, first + n) for first, n in zip(start, bricks, strict=True))]
