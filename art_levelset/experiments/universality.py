"""
Theorem 1: meshes as zero level sets of networks: how large these are, and how exact.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from trimesh import Trimesh
from trimesh.creation import icosphere, torus, uv_sphere
from trimesh.graph import connected_components

from art_levelset.core.universality import ExactNetwork, exact_network
from art_levelset.experiments.rows import Rows, add_common_arguments
from art_levelset.files import beside
from art_levelset.progress import progress_bar
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.exact import agreement, march
from art_levelset.recon.inspect.metrics import compare
from art_levelset.recon.inspect.preview import mesh_picture, view
from art_levelset.recon.io.meshes import read_mesh

FACES = (125, 250, 500, 1000)
RESOLUTION = 64
SAMPLES = 10_000

Mesh = tuple[NDArray[np.float64], NDArray[np.int64]]

_COLUMNS = ("name", "faces", "planes", "pieces", "units", "depth", "weights", "seconds", "on_surface", "wrong", "back")
_TITLES = (
    "hypersurface",
    "faces",
    "planes",
    "pieces",
    "hidden units",
    "hidden layers",
    "parameters ≠ 0",
    "CPU seconds",
    "max \\|F\\| on it / diagonal",
    "wrong signs",
    "marched back: Chamfer / diagonal",
)


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    add_common_arguments(parser, "universality")
    parser.add_argument("--scan", type=Path, metavar="FILE", help="a mesh, which is closed and simplified")
    parser.add_argument(
        "--mesh",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="watertight meshes, taken as they are",
    )


def run(arguments: argparse.Namespace) -> str:
    """
    Turn all shapes into networks, and some of these into meshes.

    :param arguments: `output`, `fast`, `scan` and `mesh`.
    :return: The table, in Markdown.
    """
    resolution, samples = (16, 500) if arguments.fast else (RESOLUTION, SAMPLES)
    settings = {"resolution": resolution, "samples": samples}
    rows = Rows(arguments.output, settings, keys=("name",))
    shapes = [*known_shapes(fast=arguments.fast), *given_shapes(arguments.scan, arguments.mesh, fast=arguments.fast)]
    for name, make in progress_bar(shapes):
        if rows.find(name=name) is None:
            rows.add({"name": name, **measured(make(), samples, resolution)})
    last = shapes[-1][1]()
    draw(beside(arguments.output, ".png"), last if isinstance(last, Trimesh) else None, resolution)
    return table(rows.rows)


def measured(mesh: Mesh | Trimesh, samples: int, resolution: int) -> dict[str, Any]:
    """
    Turn a mesh into a network, and look how well they agree.

    :param mesh: The mesh; a trimesh.Trimesh is also marched back.
    :param samples: Number of points on it, and off it.
    :param resolution: Number of grid cells along the longest side.
    :return: The row.
    """
    start = time.process_time()
    network = exact_network(mesh)
    row = {**asdict(network.size), "seconds": time.process_time() - start}
    row |= asdict(agreement(network, mesh, samples=samples))
    if isinstance(mesh, Trimesh):
        back = compare(_marched(network, mesh, resolution), mesh, samples=samples)
        row["back"] = back.chamfer_to_surface / back.diagonal
    return row


def table(rows: Iterable[dict[str, Any]]) -> str:
    """
    The rows in Markdown.

    :param rows: The rows.
    :return: The table.
    """
    lines = [_TITLES, ("---", *["---:"] * (len(_TITLES) - 1))]
    for row in rows:
        cells = {
            **row,
            "seconds": f"{row['seconds']:.2f}",
            "on_surface": f"{row['on_surface']:.1e}",
            "wrong": f"{row['wrong']} of {row['points']}",
            "back": f"{row['back']:.1e}" if "back" in row else "",
        }
        lines.append(tuple(str(cells[column]) for column in _COLUMNS))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def known_shapes(*, fast: bool) -> Iterator[tuple[str, Callable[[], Mesh | Trimesh]]]:
    """
    The shapes that need no data.

    :param fast: Whether to leave out the larger ones.
    :return: Names, and functions that make the meshes.
    """
    yield "star, 5 tips", star
    yield "L-shape", partial(blocks, [(0, 0), (1, 0), (0, 1)])
    yield "cube", partial(blocks, [(0, 0, 0)])
    yield "block torus", partial(blocks, [(x, y, 0) for x, y in product(range(3), repeat=2) if (x, y) != (1, 1)])
    shell = [cell for cell in product(range(5), repeat=3) if min(cell) == 0 or max(cell) == 4]
    yield "nested cubes", partial(blocks, [*shell, (2, 2, 2)])
    for d in (2, 3, 4, 5):
        yield f"simplex, d = {d}", partial(simplex, d)
    yield "blocks, d = 4", partial(blocks, [(0, 0, 0, 0), (1, 0, 0, 0), (1, 1, 0, 1)])
    for sides in (6,) if fast else (8, 12, 16, 24):
        yield f"sphere, {sides} meridians", partial(uv_sphere, count=[sides, sides])
    yield "torus", partial(torus, 1, 0.4, *((10, 8) if fast else (32, 16)))
    for subdivisions in (1,) if fast else (1, 2, 3):
        yield f"bumps, {subdivisions} subdivisions", partial(bumps, subdivisions)


def given_shapes(
    scan: Path | None, meshes: Iterable[Path], *, fast: bool
) -> Iterator[tuple[str, Callable[[], Mesh | Trimesh]]]:
    """
    The meshes in files.

    :param scan: A mesh to close and to simplify.
    :param meshes: Meshes to take as they are.
    :param fast: Whether to leave out the larger ones.
    :return: Names, and functions that make the meshes.
    """
    for path in meshes:
        yield path.stem, partial(read_mesh, path, "mesh")
    if scan is not None:
        whole = closed(read_mesh(scan, "scan"))
        for faces in FACES[:1] if fast else FACES:
            yield f"{scan.stem}, {faces}", partial(simplified, whole, faces)


def star(tips: int = 5, inner: float = 0.4) -> Mesh:
    """
    A star in the plane.

    :param tips: Number of tips.
    :param inner: The radius of the inner corners; that of the tips is 1.
    :return: Vertices and edges.
    """
    angles = np.pi * (0.5 + np.arange(2 * tips) / tips)
    radii = np.where(np.arange(2 * tips) % 2, inner, 1.0)
    corners = np.arange(2 * tips)
    vertices = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return vertices, np.stack([corners, np.roll(corners, -1)], axis=1)


def simplex(d: int) -> Mesh:
    """
    The simplex with the corners 0, e_1, ..., e_d.

    :param d: The dimension.
    :return: Vertices and facets.
    """
    corners = np.concatenate([np.zeros((1, d)), np.eye(d)])
    return corners, np.array([[j for j in range(d + 1) if j != i] for i in range(d + 1)])


def blocks(cells: Iterable[tuple[int, ...]]) -> Mesh:
    """
    The boundary of a union of unit cubes of a grid in R^d.

    :param cells: The cubes' lowest corners.
    :return: Vertices and facets.
    """
    facets: Counter[tuple[tuple[int, ...], ...]] = Counter()
    for cell in cells:
        for order in permutations(range(len(cell))):
            path = [cell]
            for axis in order:
                path.append(tuple(x + (i == axis) for i, x in enumerate(path[-1])))
            facets.update(tuple(path[:i] + path[i + 1 :]) for i in range(len(path)))
    outer = [facet for facet, count in facets.items() if count == 1]
    corners = sorted({corner for facet in outer for corner in facet})
    numbers = {corner: i for i, corner in enumerate(corners)}
    return np.array(corners, dtype=np.float64), np.array([[numbers[corner] for corner in facet] for facet in outer])


def bumps(subdivisions: int) -> Trimesh:
    """
    A sphere with bumps, neither convex nor smooth.

    :param subdivisions: Of an icosahedron.
    :return: The mesh, 20 * 4^subdivisions faces.
    """
    mesh = icosphere(subdivisions=subdivisions)
    waves = np.sin(5 * mesh.vertices).prod(axis=1)
    return Trimesh(mesh.vertices * (1 + 0.5 * waves)[:, None], mesh.faces, process=False)


def closed(mesh: Trimesh) -> Trimesh:
    """
    Close the holes of a mesh, each by triangles around its middle.

    :param mesh: A mesh, whose holes do not touch.
    :return: The mesh, watertight.
    """
    edges = mesh.edges
    once = np.unique(mesh.edges_sorted, axis=0, return_counts=True, return_inverse=True)
    rim = edges[(once[2] == 1)[once[1].ravel()]]
    vertices, faces = [np.asarray(mesh.vertices)], [np.asarray(mesh.faces)]
    count = len(mesh.vertices)
    for hole in connected_components(rim, min_len=3) if len(rim) else []:
        own = rim[np.isin(rim[:, 0], hole)]
        vertices.append(np.asarray(mesh.vertices)[hole].mean(axis=0, keepdims=True))
        faces.append(np.column_stack([own[:, 1], own[:, 0], np.full(len(own), count)]))
        count += 1
    return Trimesh(np.concatenate(vertices), np.concatenate(faces), process=False)


def simplified(mesh: Trimesh, faces: int) -> Trimesh:
    """
    A coarser mesh.

    :param mesh: A watertight mesh.
    :param faces: About how many faces to leave.
    :return: The mesh.
    """
    coarse = mesh.simplify_quadric_decimation(face_count=faces)
    corners = np.sort(coarse.faces, axis=1)
    _, which, counts = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
    coarse.update_faces(counts[which.ravel()] % 2 == 1)  # two faces back to back enclose nothing
    return coarse


def draw(path: Path, mesh: Trimesh | None, resolution: int) -> None:
    """
    Draw the level sets of the star's network, every 0.05, and a mesh beside the one that its network gives.

    :param path: The picture to write.
    :param mesh: The mesh, if there is one.
    :param resolution: Number of grid cells along its longest side.
    """
    figure = Figure(figsize=(13, 4.8) if mesh is not None else (4.8, 4.8), layout="constrained")
    axes = figure.subplots(1, 3 if mesh is not None else 1, squeeze=False)[0]
    _draw_star(axes[0])
    if mesh is not None:
        network = exact_network(mesh)
        marched = _marched(network, mesh, resolution)
        titles = f"the mesh, {len(mesh.faces)} faces", f"F = 0 marched, {network.size.units} units"
        for axis, title, surface in zip(axes[1:], titles, (mesh, marched), strict=True):
            axis.imshow(_picture(surface, mesh.bounds), origin="lower")
            axis.set_title(title)
            axis.axis("off")
    figure.savefig(path, dpi=90)


def _draw_star(axes: Axes) -> None:
    vertices, edges = star()
    ticks = torch.linspace(-1.3, 1.3, 301, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1)
    network = exact_network((vertices, edges))
    with torch.no_grad():
        values = network(grid.reshape(-1, 2)).reshape(301, 301).numpy()
    levels = np.arange(-1.0, 0.36, 0.05)
    axes.contourf(ticks, ticks, values, levels=levels, cmap="RdBu", vmin=-0.4, vmax=0.4, extend="both")
    axes.contour(ticks, ticks, values, levels=levels, colors="black", linewidths=0.3)
    axes.contour(ticks, ticks, values, levels=[0.0], colors="black", linewidths=2)
    axes.set(aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    axes.set_title(f"F of a star, {network.size.units} units")


def _marched(network: ExactNetwork, mesh: Trimesh, resolution: int) -> Trimesh:
    low, high = mesh.bounds
    return march(network, low, high, resolution, verbose=False)


def _picture(mesh: Trimesh, bounds: Points) -> NDArray[np.float64]:
    low, high = bounds
    turned = (mesh.vertices - (low + high) / 2) @ view(-20.0, 10.0, high - low).T
    return mesh_picture(turned / (0.45 * math.dist(low, high)), np.asarray(mesh.faces, dtype=np.int64))
