"""
What the simplification of meshes costs: the whole mesh of a scan beside the one that the command line writes, and
beside a whole one with sharp edges.

    OMP_NUM_THREADS=1 python benchmarks/simplification.py SCAN REFERENCE [SCAN REFERENCE ...] [--quality draft]

The columns: triangles; Chamfer distance to the reference in thousandths of its diagonal, from more samples than in
`recon.py`, since small differences are of interest; Euler number; the share of triangles that are lower than a fiftieth
of their longest side; how many are turned by more than 90 degrees from the normals of F; processor seconds of `mesh`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from art_levelset.cli.recon import RESOLUTION
from art_levelset.recon import compare, read_points, reconstruct
from art_levelset.recon.fitting.quality import QUALITIES

SAMPLES = 200_000
THIN = 1 / 50


def thin(mesh: trimesh.Trimesh) -> float:
    """
    The share of slivers.

    :param mesh: The mesh.
    :return: How many of its triangles are lower than :data:`THIN` of their longest side, from 0 to 1.
    """
    longest = mesh.edges_unique_length[mesh.faces_unique_edges].max(axis=1)
    return float((2 * mesh.area_faces < THIN * longest**2).mean())


def folded(mesh: trimesh.Trimesh) -> int:
    """
    The number of triangles that are turned the wrong way.

    :param mesh: The mesh, with vertex normals of its own.
    :return: How many have normals of more than 90 degrees from the mean of their vertices'.
    """
    means = mesh.vertex_normals[mesh.faces].mean(axis=1)
    return int((np.einsum("ni,ni->n", mesh.face_normals, means) < 0).sum())


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description="What the simplification of meshes costs.")
    parser.add_argument("files", type=Path, nargs="+", help="scan, reference, scan, reference ...")
    parser.add_argument("--quality", choices=tuple(QUALITIES), default="draft")
    arguments = parser.parse_args()
    if len(arguments.files) % 2:
        parser.error("every scan needs a reference")
    print("| scan | triangles | Chamfer | Euler | thin | folded | seconds |\n|---|---|---|---|---|---|---|")
    for scan, path in zip(arguments.files[::2], arguments.files[1::2], strict=True):
        reference = trimesh.load(path, force="mesh")
        result = reconstruct(read_points(scan), quality=arguments.quality, verbose=False)
        tolerance = result.noise_tolerance
        kinds: dict[str, dict[str, Any]] = {
            "whole": {},
            "simplified": {"tolerance": tolerance},
            "sharp": {"sharp": True},
        }
        for what, options in kinds.items():
            started = time.process_time()
            mesh = result.mesh(RESOLUTION, **options)
            seconds = time.process_time() - started
            found = compare(mesh, reference, samples=SAMPLES)
            distance = 1e3 * found.chamfer_to_surface / found.diagonal
            shape = f"{mesh.euler_number} | {100 * thin(mesh):.1f}% | {folded(mesh)}"
            row = f"| {scan.stem}, {what} | {len(mesh.faces):,} | {distance:.4f} | {shape} | {seconds:.1f} |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
