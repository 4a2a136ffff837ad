"""
Damaged clouds: reconstruction beside screened Poisson where the scan lacks points, or has wrong ones.

    pip install pymeshlab
    python benchmarks/damaged.py REFERENCE.ply [REFERENCE.ply ...] [--damages side thin] [--seed 0] [--curvature 0]

Clouds are sampled from the reference: 20,000 points, noise of 0.25% of the diagonal, and then one damage:

- side: no points where the surface faces one way, within 60 degrees, as if never seen from there;
- thin: 5,000 points;
- noise: 1% of the diagonal;
- strays: 3% more points, anywhere in the bounding box, enlarged by a tenth on each side;
- all: 5,000 points with 1% noise and 3% strays, and the side missing.

Poisson gets the cloud without the points that PyMeshLab's outlier filter selects, and normals as in `recon.py`. The
columns are those of `recon.py`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import trimesh
from recon import current, level_set, loaded, row, screened_poisson

from art_levelset.recon.cloud.clouds import Points

COUNT, FEW = 20_000, 5_000
NOISE, MUCH = 0.0025, 0.01
STRAYS = 0.03
UNSEEN = np.cos(np.deg2rad(60.0))

DAMAGES = ("side", "thin", "noise", "strays", "all")


def damaged(reference: trimesh.Trimesh, damage: str, generator: np.random.Generator) -> Points:
    """
    A cloud with a damage.

    :param reference: The surface.
    :param damage: One of :data:`DAMAGES`.
    :param generator: Source of randomness.
    :return: The points, (n, 3).
    """
    everything = damage == "all"
    count = FEW if everything or damage == "thin" else COUNT
    diagonal = float(np.linalg.norm(reference.extents))
    if everything or damage == "side":
        direction = generator.standard_normal(3)
        seen = reference.face_normals @ (direction / np.linalg.norm(direction)) < UNSEEN
        reference = reference.submesh([np.nonzero(seen)[0]], append=True)
    points, _ = trimesh.sample.sample_surface(reference, count, seed=int(generator.integers(2**31)))
    points = np.asarray(points) + diagonal * (MUCH if everything or damage == "noise" else NOISE) * (
        generator.standard_normal((count, 3))
    )
    if everything or damage == "strays":
        low, high = reference.bounds
        wide = (high - low) / 10
        strays = generator.uniform(low - wide, high + wide, (round(STRAYS * count), 3))
        points = np.concatenate([points, strays])
    return points


def filtered_poisson(points: Points) -> trimesh.Trimesh:
    """
    Screened Poisson reconstruction of a cloud without its outliers.

    :param points: (n, 3).
    :return: The mesh.
    """
    meshes = loaded(points)
    meshes.compute_selection_point_cloud_outliers()
    meshes.meshing_remove_selected_vertices()
    screened_poisson(meshes)
    return current(meshes)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Damaged clouds.")
    parser.add_argument("references", type=Path, nargs="+")
    parser.add_argument("--damages", nargs="+", choices=DAMAGES, default=DAMAGES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--curvature", type=float, default=0.0, help="weight of the curvature penalty")
    arguments = parser.parse_args()
    for path in arguments.references:
        reference = trimesh.load(path, force="mesh")
        print(f"\n{path.name}: Euler number {reference.euler_number}")
        header = "".join(f"{name:>12}" for name in ("Chamfer", "Hausdorff", "95%"))
        print(f"{'x 10^3 / diagonal':<20}{header}{'normals':>10}{'seconds':>10}{'parts':>8}{'Euler':>8}")
        for damage in arguments.damages:
            points = damaged(reference, damage, np.random.default_rng(arguments.seed))
            print(row(f"{damage}: Poisson", partial(filtered_poisson, points), reference), flush=True)
            ours = partial(level_set, points, arguments.seed, arguments.curvature)
            print(row(f"{damage}: level set", ours, reference), flush=True)


if __name__ == "__main__":
    main()
