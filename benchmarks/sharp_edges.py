"""
Sharp edges of made shapes (`made_shapes.py`) or parts of machines (`parts.py`), without and with `mesh(sharp=True)`.

    OMP_NUM_THREADS=1 python benchmarks/sharp_edges.py [--families ring ...] [--scans even cameras] [--noise 0.1 0.3]
        [--picture ring.png]
    OMP_NUM_THREADS=1 python benchmarks/sharp_edges.py --parts pybullet_data

Of the surface no further than two spacings of the points from an edge, where normals of neighbouring triangles differ
by 30 to 150 degrees: the share by area whose nearest place of the mesh has a normal that is right to 10 degrees. The
same share elsewhere, the Chamfer distance in thousandths of the diagonal, the Euler numbers, and the seconds that
`sharp` adds. The right normals are those of the solid's function, and those of the triangles of a part. The picture
shows an edge of the first shape before and after.
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import trimesh
from made_shapes import FAMILIES, made
from numpy.typing import NDArray
from parts import MACHINES, scan_of
from scipy.spatial import cKDTree
from virtual_scans import SCANS, Scan, normals, scanned

from art_levelset.cli.recon import RESOLUTION
from art_levelset.files import replacing
from art_levelset.recon import compare, reconstruct
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.fitting.quality import QUALITIES
from art_levelset.recon.inspect.metrics import nearest_on_surface, sample_surface
from art_levelset.recon.inspect.preview import mesh_picture

SAMPLES = 40_000
NEAR = 2.0
RIGHT, BLUNT, THIN = np.cos(np.radians([10.0, 30.0, 150.0]))


def edges_of(reference: trimesh.Trimesh, at_triangles: Points) -> Points:
    """
    Where a surface has edges.

    :param reference: The surface.
    :param at_triangles: The right normals of its triangles, (m, 3).
    :return: Points on them, (n, 3).
    """
    return ends_of_edges(reference, at_triangles).mean(axis=1)


def ends_of_edges(reference: trimesh.Trimesh, at_triangles: Points) -> Points:
    """
    The sides of triangles at which a surface has edges.

    :param reference: The surface.
    :param at_triangles: The right normals of its triangles, (m, 3).
    :return: Their ends, (n, 2, 3).
    """
    pairs = reference.face_adjacency
    cosines = np.einsum("ni,ni->n", at_triangles[pairs[:, 0]], at_triangles[pairs[:, 1]])
    sharp = (cosines < BLUNT) & (cosines > THIN)
    return np.asarray(reference.vertices[reference.face_adjacency_edges[sharp]])


def right(mesh: trimesh.Trimesh, points: Points, directions: Points) -> NDArray[np.bool_]:
    """
    Where a mesh has the right normals.

    :param mesh: The mesh.
    :param points: Places of the surface, (n, 3).
    :param directions: The right normals, (n, 3).
    :return: (n,).
    """
    _, triangles = nearest_on_surface(points, mesh)
    return np.asarray(np.einsum("ni,ni->n", mesh.face_normals[triangles], directions) > RIGHT)


def draw(path: Path, meshes: list[trimesh.Trimesh], place: Points, outwards: Points, size: float) -> None:
    """
    Draw a place of some meshes.

    :param path: The picture, PNG.
    :param meshes: The meshes.
    :param place: The middle of the picture, (3,).
    :param outwards: Where it is seen from, (3,).
    :param size: Half of its side.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(meshes), 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    ahead = outwards / np.linalg.norm(outwards)
    across = np.cross(ahead, np.eye(3)[np.abs(ahead).argmin()])
    across /= np.linalg.norm(across)
    turn = np.stack([across, np.cross(ahead, across), ahead])
    for axes, mesh, title in zip(figure.subplots(1, len(meshes)), meshes, ("before", "after", "right"), strict=True):
        seen = (np.asarray(mesh.vertices) - place) / size @ turn.T
        near = (np.abs(seen[mesh.faces]) < 1).all(axis=(1, 2))
        axes.imshow(mesh_picture(seen, np.asarray(mesh.faces)[near]), origin="lower")
        axes.set_title(title)
        axes.set_axis_off()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


class Case(NamedTuple):
    """
    A scan, and what is right.

    :param name: Its name.
    :param scan: The scan.
    :param places: Places of the surface, (n, 3).
    :param directions: The right normals there, (n, 3).
    :param edges: Points on the edges, (m, 3).
    """

    name: str
    scan: Scan
    places: Points
    directions: Points
    edges: Points


def made_case(family: str, kind: str, noise: float, seed: int) -> Case:
    """
    A scan of a made shape.

    :param family: Its family.
    :param kind: How it is scanned.
    :param noise: In spacings.
    :param seed: Of the shape and the scan.
    :return: The case.
    """
    shape = made(family, seed)
    scan = scanned(shape, kind, noise, seed)
    plain = shape.mesh()
    points = sample_surface(plain, SAMPLES, np.random.default_rng(seed))
    edges = edges_of(plain, normals(shape.solid, plain.triangles_center))
    turn = np.linalg.lstsq(np.asarray(plain.vertices), np.asarray(scan.reference.vertices), rcond=None)[0]
    return Case(f"{family}, {kind}, {noise}", scan, points @ turn, normals(shape.solid, points) @ turn, edges @ turn)


def part_case(folder: Path, part: str, seed: int) -> Case:
    """
    A scan of a part of a machine.

    :param folder: PyBullet's data.
    :param part: Its file there.
    :param seed: Of the places.
    :return: The case; its edges are divided, so that their points are half a spacing apart.
    """
    scan = scan_of(folder / part)
    places, triangles = trimesh.sample.sample_surface(scan.reference, SAMPLES, seed=seed)
    ends = ends_of_edges(scan.reference, scan.reference.face_normals)
    counts = np.ceil(2 * np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) / scan.spacing).astype(int)
    edges = [np.linspace(*pair, count + 1) for pair, count in zip(ends, counts, strict=True)]
    directions = scan.reference.face_normals[triangles]
    return Case(Path(part).stem, scan, places, directions, np.concatenate(edges))


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description="Sharp edges.")
    parser.add_argument("--families", nargs="+", choices=tuple(FAMILIES), default=["ring", "bracket", "gear", "plate"])
    parser.add_argument("--scans", nargs="+", choices=SCANS, default=list(SCANS))
    parser.add_argument("--noise", type=float, nargs="+", default=[0.1, 0.3], help="in spacings")
    parser.add_argument("--parts", type=Path, metavar="DIR", help="PyBullet's data: its parts instead")
    parser.add_argument("--quality", choices=tuple(QUALITIES), default="draft")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="PNG, of the first scan")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.parts is not None:
        cases = (part_case(arguments.parts, part, arguments.seed) for part in MACHINES)
    else:
        kinds = product(arguments.noise, arguments.families, arguments.scans)
        cases = (made_case(family, kind, noise, arguments.seed) for noise, family, kind in kinds)
    print("| scan | edges | elsewhere | Chamfer | Euler | right | seconds |\n|---|---|---|---|---|---|---|")
    for name, scan, places, directions, edges in cases:
        near = cKDTree(edges).query(places)[0] < NEAR * scan.spacing
        result = reconstruct(scan.points, quality=arguments.quality, seed=arguments.seed, verbose=False)
        cells: list[list[str]] = []
        meshes, seconds = [], []
        for sharp in (False, True):
            started = time.process_time()
            mesh = result.mesh(RESOLUTION, sharp=sharp)
            seconds.append(time.process_time() - started)
            good = right(mesh, places, directions)
            found = compare(mesh, scan.reference)
            shares = f"{100 * good[near].mean():.1f}%", f"{100 * good[~near].mean():.1f}%"
            cells.append([*shares, f"{1e3 * found.chamfer_to_surface / found.diagonal:.3f}", str(mesh.euler_number)])
            meshes.append(mesh)
        pairs = " | ".join(f"{before}, {after}" for before, after in zip(*cells, strict=True))
        print(f"| {name} | {pairs} | {scan.reference.euler_number} | {seconds[1] - seconds[0]:.1f} |", flush=True)
        if arguments.picture is not None:
            place = edges[len(edges) // 3]
            around = np.linalg.norm(places - place, axis=1) < math.sqrt(10) * scan.spacing
            outwards = directions[around].mean(axis=0)
            draw(arguments.picture, [*meshes, scan.reference], place, outwards, 12 * scan.spacing)
            arguments.picture = None


if __name__ == "__main__":
    main()
