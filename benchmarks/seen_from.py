"""
What the positions of the sensors are worth: scenes made with code, seen by virtual depth cameras.

    OMP_NUM_THREADS=1 python benchmarks/seen_from.py

A ball before a wall, from one camera; a room with a table, by a scanner that turns in one corner; a slab with four
holes and a torus, each from three cameras around it. A camera keeps the first of many points of the surfaces in each
pixel, with a noise of 0.1% of the scene's diagonal. Printed are, for the mesh without and with the positions: how much
of it lies in what was seen to be free, nearer to the sensor than what it saw there by more than 2% of the diagonal; the
mean distance of the mesh to the true surfaces and of the scan to the mesh, in thousandths of the diagonal; and the
Euler number. Where nobody looked a mesh is a guess, so its distance is never small.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from skimage import measure

from art_levelset.recon import reconstruct
from art_levelset.recon.fitting.quality import QUALITIES

Points = NDArray[np.float64]

NOISE, MARGIN = 0.001, 0.02
"""In parts of the diagonal."""

DENSE, MESH_SAMPLES = 600_000, 100_000


@dataclass(frozen=True, eq=False)
class Scan:
    """
    A scene and what was seen of it.

    :param truth: Points of its surfaces, (m, 3).
    :param points: The scan, (n, 3).
    :param sensors: Where each point was seen from, (n, 3).
    """

    truth: Points
    points: Points
    sensors: Points


def on_surface(parts: Sequence[trimesh.Trimesh]) -> Points:
    """Dense points of the outer surfaces of solids that do not meet."""
    return np.concatenate([np.asarray(trimesh.sample.sample_surface(part, DENSE, seed=0)[0]) for part in parts])


def seen(truth: Points, sensor: Points, step: float) -> Points:
    """The first point in each direction, in pixels of equal angles."""
    ways = truth - sensor
    lengths = np.linalg.norm(ways, axis=1)
    pixel = np.rint(ways / lengths[:, None] / step).astype(np.int64)
    number = (pixel - pixel.min(axis=0)) @ np.array([1 << 42, 1 << 21, 1])
    order = np.lexsort((lengths, number))
    first = np.concatenate([[True], np.diff(number[order]) != 0])
    return truth[order[first]]


def scan_of(parts: Sequence[trimesh.Trimesh], sensors: Sequence[Sequence[float]], step: float) -> Scan:
    """A scene seen from some places, by cameras whose pixels are so many radians wide."""
    truth, generator = on_surface(parts), np.random.default_rng(0)
    noise = NOISE * float(np.linalg.norm(np.ptp(truth, axis=0)))
    found = [seen(truth, np.array(sensor), step) for sensor in sensors]
    places = [np.tile(sensor, (len(points), 1)) for sensor, points in zip(sensors, found, strict=True)]
    points = np.concatenate(found)
    return Scan(truth, points + noise * generator.standard_normal(points.shape), np.concatenate(places))


def box(size: Sequence[float], centre: Sequence[float]) -> trimesh.Trimesh:
    """An axis-aligned box."""
    made = trimesh.creation.box(size)
    made.apply_translation(centre)
    return made


def slab() -> trimesh.Trimesh:
    """A plate of 4 x 4 x 0.5 with four square holes, as wide as the bars between them."""
    cell = 0.0437
    places = np.moveaxis(np.mgrid[-50:51, -50:51, -10:11] * cell, 0, -1)
    outside = (np.abs(places) - [2.0, 2.0, 0.25]).max(axis=-1)
    into_hole = 0.4 - np.abs(np.abs(places[..., :2]) - 0.9).max(axis=-1)
    vertices, faces, _, _ = measure.marching_cubes(np.maximum(outside, into_hole), 0.0, spacing=(cell, cell, cell))
    return trimesh.Trimesh(vertices + places[0, 0, 0], faces)


def scenes() -> dict[str, Scan]:
    """The scans by name."""
    ball = trimesh.creation.icosphere(4, 0.5)
    around = [(9.0 * np.cos(t), 9.0 * np.sin(t), 7.0 * (-1) ** k) for k, t in enumerate((0.3, 2.4, 4.5))]
    return {
        "ball before a wall": scan_of([ball, box((0.1, 4, 4), (-1.5, 0, 0))], [(3.0, 0.5, 0.4)], 0.012),
        "room": scan_of([box((5, 4, 2.5), (0, 0, 0)), box((1.2, 0.8, 0.1), (0.5, 0.3, -0.5))], [(-2, -1.5, 0.6)], 0.02),
        "slab": scan_of([slab()], around, 0.006),
        "torus": scan_of([trimesh.creation.torus(2.0, 0.6)], around, 0.006),
    }


def in_free_space(found: Points, scan: Scan, margin: float) -> float:
    """The part of points that are nearer to a sensor than what it saw in their direction."""
    astray = np.zeros(len(found), dtype=bool)
    for sensor in np.unique(scan.sensors, axis=0):
        own = scan.points[(scan.sensors == sensor).all(axis=1)] - sensor
        lengths, ways = np.linalg.norm(own, axis=1), found - sensor
        distances = np.linalg.norm(ways, axis=1)
        angles, nearest = cKDTree(own / lengths[:, None]).query(ways / distances[:, None])
        astray |= (angles < 0.01) & (distances < lengths[nearest] - margin)
    return float(astray.mean())


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--quality", choices=tuple(QUALITIES), default="draft", help="default: draft")
    parser.add_argument("--scenes", nargs="+", default=list(scenes()), metavar="NAME", help="default: all")
    arguments = parser.parse_args(argv)
    print("| scene | points | sensors | in free space | mesh to truth | scan to mesh | Euler number | CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    for name in arguments.scenes:
        scan = scenes()[name]
        size = float(np.linalg.norm(np.ptp(scan.truth, axis=0)))
        for given in (None, scan.sensors):
            start = time.process_time()
            mesh = reconstruct(scan.points, sensors=given, quality=arguments.quality, verbose=False).mesh(192)
            seconds = time.process_time() - start
            found = np.asarray(trimesh.sample.sample_surface(mesh, MESH_SAMPLES, seed=0)[0])
            to_truth, to_mesh = cKDTree(scan.truth).query(found)[0], cKDTree(found).query(scan.points)[0]
            print(
                f"| {name} | {len(scan.points)} | {'no' if given is None else 'yes'} "
                f"| {100 * in_free_space(found, scan, MARGIN * size):.1f}% | {1e3 * to_truth.mean() / size:.2f} "
                f"| {1e3 * to_mesh.mean() / size:.2f} | {mesh.euler_number} | {seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
