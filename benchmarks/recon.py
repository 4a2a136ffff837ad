"""
The reconstruction beside what is used otherwise, on the same scans, by the same metric.

    pip install pymeshlab
    python benchmarks/recon.py SCAN.ply REFERENCE.ply [SCAN.ply REFERENCE.ply ...] [--seeds 0 1 2] [--qualities ...]

For each pair, from 30,000 samples of each surface and their exact distances to the other one's triangles, in
thousandths of the diagonal of the reference's bounding box: the mean of the two mean distances (Chamfer), the largest
distance (Hausdorff), and the 95% quantile; the consistency of the normals; the processor seconds from the points to the
mesh; the number of connected parts and the Euler number, whose right value is that of the reference, printed beside its
name.

Others: screened Poisson reconstruction of depth 8, on normals that PyMeshLab estimates from 16 neighbours and orients
by propagation, and ball pivoting with its automatic radius.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import trimesh

from art_levelset.cli.recon import RESOLUTION
from art_levelset.recon import compare, read_points, reconstruct
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.fitting.quality import QUALITIES

NEIGHBOURS = 16
DEPTH = 8
THREADS = 1
"""Of Poisson, as of the others: its threads wait busily for each other where other processes run as well."""


def poisson(points: Points, depth: int = DEPTH) -> trimesh.Trimesh:
    """
    Screened Poisson reconstruction of a cloud without normals.

    :param points: (n, 3).
    :param depth: Of the octree.
    :return: The mesh.
    """
    meshes = loaded(points)
    screened_poisson(meshes, depth)
    return current(meshes)


def screened_poisson(meshes: Any, depth: int = DEPTH) -> None:
    """
    Estimate normals and reconstruct.

    :param meshes: A MeshSet with a cloud.
    :param depth: Of the octree.
    """
    meshes.compute_normal_for_point_clouds(k=NEIGHBOURS)
    meshes.generate_surface_reconstruction_screened_poisson(depth=depth, preclean=True, threads=THREADS)


def ball_pivoting(points: Points) -> trimesh.Trimesh:
    """
    Ball pivoting on a cloud without normals.

    :param points: (n, 3).
    :return: The mesh.
    """
    meshes = loaded(points)
    meshes.compute_normal_for_point_clouds(k=NEIGHBOURS)
    meshes.generate_surface_reconstruction_ball_pivoting()
    return current(meshes)


def level_set(points: Points, seed: int, curvature: float = 0.0, quality: str = "standard") -> trimesh.Trimesh:
    """
    The package's reconstruction with the settings of its command line, but for sharp edges.

    :param points: (n, 3).
    :param seed: The seed.
    :param curvature: The weight of the curvature penalty.
    :param quality: How much work it is.
    :return: The mesh.
    """
    result = reconstruct(points, quality=quality, seed=seed, curvature=curvature, verbose=False)
    return result.mesh(RESOLUTION, tolerance=result.noise_tolerance)


def loaded(points: Points) -> Any:
    """
    A cloud in PyMeshLab.

    :param points: (n, 3).
    :return: The MeshSet.
    :raises ImportError: If PyMeshLab is missing.
    """
    try:
        import pymeshlab
    except ImportError as error:
        raise ImportError("this comparison needs PyMeshLab: pip install pymeshlab") from error
    meshes = pymeshlab.MeshSet()
    meshes.add_mesh(pymeshlab.Mesh(points))
    return meshes


def current(meshes: Any) -> trimesh.Trimesh:
    """
    The current mesh of PyMeshLab.

    :param meshes: A MeshSet.
    :return: The mesh.
    """
    result = meshes.current_mesh()
    return trimesh.Trimesh(result.vertex_matrix(), result.face_matrix())


def row(method: str, build: Callable[[], trimesh.Trimesh], reference: trimesh.Trimesh) -> str:
    """
    Build a mesh and compare it.

    :param method: The name of the method.
    :param build: Builds the mesh.
    :param reference: What to compare it with.
    :return: A row of the table.
    """
    started = time.process_time()
    mesh = build()
    seconds = time.process_time() - started
    found = compare(mesh, reference)
    distances = (found.chamfer_to_surface, found.hausdorff_to_surface, found.within_95)
    cells = "".join(f"{1e3 * distance / found.diagonal:>12.4g}" for distance in distances)
    topology = f"{mesh.body_count:>8}{mesh.euler_number:>8}"
    return f"{method:<20}{cells}{found.normal_consistency:>10.4f}{seconds:>10.1f}{topology}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="The reconstruction beside what is used otherwise.")
    parser.add_argument("files", type=Path, nargs="+", help="scan, reference, scan, reference ...")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--qualities", nargs="*", choices=tuple(QUALITIES), default=["standard"])
    parser.add_argument("--alone", action="store_true", help="without the others")
    arguments = parser.parse_args()
    if len(arguments.files) % 2:
        parser.error("every scan needs a reference")
    for scan, path in zip(arguments.files[::2], arguments.files[1::2], strict=True):
        points, reference = read_points(scan), trimesh.load(path, force="mesh")
        print(f"\n{scan.name}: {len(points)} points, Euler number {reference.euler_number}")
        header = "".join(f"{name:>12}" for name in ("Chamfer", "Hausdorff", "95%"))
        print(f"{'x 10^3 / diagonal':<20}{header}{'normals':>10}{'seconds':>10}{'parts':>8}{'Euler':>8}")
        if not arguments.alone:
            print(row("screened Poisson", partial(poisson, points), reference), flush=True)
            print(row("ball pivoting", partial(ball_pivoting, points), reference), flush=True)
        for quality, seed in product(arguments.qualities, arguments.seeds):
            build = partial(level_set, points, seed, quality=quality)
            print(row(f"{quality}, seed {seed}", build, reference), flush=True)


if __name__ == "__main__":
    main()
