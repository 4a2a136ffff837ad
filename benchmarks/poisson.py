"""
The reconstruction beside screened Poisson reconstruction with estimated normals, on the same scans, by the same metric.

    pip install pymeshlab
    python benchmarks/poisson.py SCAN.ply REFERENCE.ply [SCAN.ply REFERENCE.ply ...] [--seeds 0 1 2]

For each pair: Chamfer and Hausdorff distances x 10^3 in the reference's units (30,000 samples of each surface, both
directions; between samples, and from samples to the triangles), the wall time from the points to the mesh, the number
of connected parts, and the Euler number. PyMeshLab estimates the normals from 16 neighbours and orients them by
propagation; the depth of the octree is 8.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trimesh

from art_levelset.recon import compare, read_points, reconstruct
from art_levelset.recon.__main__ import RESOLUTION, STEPS
from art_levelset.recon.clouds import Points

NEIGHBOURS = 16
DEPTH = 8


def poisson(points: Points) -> trimesh.Trimesh:
    """
    Screened Poisson reconstruction of a cloud without normals.

    :param points: (n, 3).
    :return: The mesh.
    :raises ImportError: If PyMeshLab is missing.
    """
    try:
        import pymeshlab
    except ImportError as error:
        raise ImportError("this comparison needs PyMeshLab: pip install pymeshlab") from error
    meshes = pymeshlab.MeshSet()
    meshes.add_mesh(pymeshlab.Mesh(points))
    meshes.compute_normal_for_point_clouds(k=NEIGHBOURS)
    meshes.generate_surface_reconstruction_screened_poisson(depth=DEPTH, preclean=True)
    result = meshes.current_mesh()
    return trimesh.Trimesh(result.vertex_matrix(), result.face_matrix())


def level_set(points: Points, seed: int) -> trimesh.Trimesh:
    """
    The package's reconstruction with the settings of its command line.

    :param points: (n, 3).
    :param seed: The seed.
    :return: The mesh.
    """
    return reconstruct(points, steps=STEPS, seed=seed).mesh(RESOLUTION)


def row(method: str, build: Callable[[], trimesh.Trimesh], reference: trimesh.Trimesh) -> str:
    """
    Build a mesh and compare it.

    :param method: The name of the method.
    :param build: Builds the mesh.
    :param reference: What to compare it with.
    :return: A row of the table.
    """
    started = time.perf_counter()
    mesh = build()
    seconds = time.perf_counter() - started
    found = compare(mesh, reference)
    distances = (found.chamfer, found.hausdorff, found.chamfer_to_surface, found.hausdorff_to_surface)
    cells = "".join(f"{1e3 * distance:>12.4g}" for distance in distances)
    return f"{method:<20}{cells}{seconds:>10.1f}{mesh.body_count:>8}{mesh.euler_number:>8}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="The reconstruction beside screened Poisson reconstruction.")
    parser.add_argument("files", type=Path, nargs="+", help="scan, reference, scan, reference ...")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    arguments = parser.parse_args()
    if len(arguments.files) % 2:
        parser.error("every scan needs a reference")
    for scan, path in zip(arguments.files[::2], arguments.files[1::2], strict=True):
        points, reference = read_points(scan), trimesh.load(path, force="mesh")
        print(f"\n{scan.name}: {len(points)} points")
        header = "".join(f"{name:>12}" for name in ("Chamfer", "Hausdorff", "Ch. exact", "Ha. exact"))
        print(f"{'x 10^3':<20}{header}{'seconds':>10}{'parts':>8}{'Euler':>8}")
        print(row("screened Poisson", partial(poisson, points), reference), flush=True)
        for seed in arguments.seeds:
            print(row(f"level set, seed {seed}", partial(level_set, points, seed), reference), flush=True)


if __name__ == "__main__":
    main()
