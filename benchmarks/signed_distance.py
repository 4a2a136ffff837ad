"""
How good a signed distance the reconstruction is, and how good a mesh, with and without the penalties.

    python benchmarks/signed_distance.py SCAN.ply REFERENCE.ply [--eikonal 0 0.1] [--curvature 1e-5 1e-4] [--seed 0]

For each weight, the other penalty being off, in thousandths of the diagonal of the reference's bounding box: the mean
of ||F| - d|, d being the exact distance to the reference, over 5,000 places near it (its samples, jittered by 1% of the
diagonal) and over 5,000 anywhere in its bounding box, which is enlarged by a tenth of its longest side; then the mesh's
mean distance (Chamfer), the consistency of its normals, its number of parts and Euler number, and the CPU seconds of
the fit.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import trimesh

from art_levelset.recon import compare, read_points, reconstruct
from art_levelset.recon.inspect.metrics import distances_to_surface, sample_surface

PLACES = 5000
NEAR = 0.01
MARGIN = 0.1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="How good a signed distance the reconstruction is.")
    parser.add_argument("scan", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--eikonal", type=float, nargs="*", default=[0.0, 0.1])
    parser.add_argument("--curvature", type=float, nargs="*", default=[1e-5, 1e-4])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    points, reference = read_points(arguments.scan), trimesh.load(arguments.reference, force="mesh")
    generator = np.random.default_rng(0)
    low, high = reference.bounds
    diagonal, margin = np.linalg.norm(high - low), MARGIN * (high - low).max()
    near = sample_surface(reference, PLACES, generator) + NEAR * diagonal * generator.standard_normal((PLACES, 3))
    places = near, generator.uniform(low - margin, high + margin, (PLACES, 3))
    distances = [distances_to_surface(some, reference) for some in places]
    print(f"{arguments.scan.name}: Euler number {reference.euler_number}")
    columns = "eikonal", "curvature", "near", "anywhere", "Chamfer", "normals", "parts", "Euler", "seconds"
    print("".join(f"{name:>10}" for name in columns))
    weights = [(weight, 0.0) for weight in arguments.eikonal] + [(0.0, weight) for weight in arguments.curvature]
    for eikonal, curvature in weights:
        started = time.process_time()
        found = reconstruct(points, eikonal=eikonal, curvature=curvature, seed=arguments.seed, verbose=False)
        seconds = time.process_time() - started
        errors = [np.abs(np.abs(found.sdf(some)) - known).mean() for some, known in zip(places, distances, strict=True)]
        mesh = found.mesh()
        comparison = compare(mesh, reference)
        errors.append(comparison.chamfer_to_surface)
        cells = "".join(f"{1e3 * error / diagonal:>10.4f}" for error in errors)
        cells += f"{comparison.normal_consistency:>10.4f}{mesh.body_count:>10}{mesh.euler_number:>10}{seconds:>10.1f}"
        print(f"{eikonal:>10g}{curvature:>10g}{cells}", flush=True)


if __name__ == "__main__":
    main()
