"""
Make the scan that comes with the package: a toy dog, seen by eight virtual depth cameras.

    python tools/make_demo_scan.py

The dog is a smooth union of rounded cones. The cameras stand around it; each casts rays on a square lattice, finds the
surface by sphere tracing and errs along the ray by a normal error of 0.2% of the diagonal of the bounding box. The
result is a binary PLY file of 12,000 positions in float32, without normals.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

OUTPUT = Path(__file__).resolve().parent.parent / "art_levelset" / "data" / "dog_raw.ply"
COUNT = 12_000
NOISE = 0.002
ELEVATIONS = (-15, 30, -10, 55, 0, 25, -20, 60)
"""Of the cameras in degrees; they stand 45 degrees apart."""

DISTANCE = 4.0
LATTICE = 200

# Centre and radius of the two ends of each part; x is forward, y to the left, z up. Paired parts exist on both sides.
SINGLE_PARTS = (
    ((-0.38, 0.00, 0.00), 0.23, (0.25, 0.00, 0.04), 0.26),  # trunk
    ((0.30, 0.00, 0.15), 0.17, (0.50, 0.00, 0.42), 0.15),  # neck
    ((0.52, 0.00, 0.50), 0.22, (0.58, 0.00, 0.48), 0.20),  # head
    ((0.60, 0.00, 0.43), 0.14, (0.84, 0.00, 0.38), 0.09),  # snout
    ((-0.55, 0.00, 0.08), 0.08, (-0.80, 0.00, 0.40), 0.05),  # tail
)
PAIRED_PARTS = (
    ((0.27, 0.15, -0.10), 0.12, (0.30, 0.17, -0.58), 0.09),  # front leg
    ((-0.42, 0.14, -0.06), 0.14, (-0.46, 0.17, -0.58), 0.09),  # hind leg
    ((0.30, 0.17, -0.60), 0.085, (0.38, 0.17, -0.61), 0.075),  # front paw
    ((-0.46, 0.17, -0.60), 0.085, (-0.38, 0.17, -0.61), 0.075),  # hind paw
    ((0.48, 0.19, 0.64), 0.07, (0.40, 0.30, 0.40), 0.06),  # ear
)
FILLET = 0.07


def dog(points: Array) -> Array:
    """
    A lower bound of the distance to the dog's surface, negative inside.

    :param points: (n, 3).
    :return: (n,).
    """
    mirrored = points * [1, -1, 1]
    parts = [rounded_cone(points, *part) for part in SINGLE_PARTS]
    parts += [rounded_cone(places, *part) for part in PAIRED_PARTS for places in (points, mirrored)]
    solid = parts[0]
    for part in parts[1:]:
        solid = smooth_union(solid, part)
    return solid


def rounded_cone(points: Array, start: tuple[float, ...], first: float, end: tuple[float, ...], last: float) -> Array:
    """The distance to a segment less a radius that changes linearly along it."""
    axis = np.subtract(end, start)
    along = np.clip((points - start) @ axis / (axis @ axis), 0, 1)
    distances: Array = np.linalg.norm(points - start - along[:, None] * axis, axis=1) - (first + (last - first) * along)
    return distances


def smooth_union(one: Array, other: Array) -> Array:
    """The union of two solids with a fillet between them."""
    overlap = np.maximum(FILLET - np.abs(one - other), 0) / FILLET
    union: Array = np.minimum(one, other) - overlap**2 * FILLET / 4
    return union


def scan(seed: int = 0) -> NDArray[np.float32]:
    """
    Look at the dog from all cameras.

    :param seed: Seed of the errors and of the choice of the points, >= 0.
    :return: COUNT points in random order, (COUNT, 3).
    """
    generator = np.random.default_rng(seed)
    lattice = np.linspace(-1.1, 1.1, LATTICE)
    across, up = (grid.reshape(-1, 1) for grid in np.meshgrid(lattice, lattice))
    exact, rays_of_exact = [], []
    for camera, elevation in enumerate(np.deg2rad(ELEVATIONS)):
        azimuth = 2 * np.pi * camera / len(ELEVATIONS)
        right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
        eye = DISTANCE * np.array(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )
        rays = across * right + up * np.cross(eye / DISTANCE, right) - eye
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        reach = np.full(len(rays), DISTANCE - 1.5)
        for _ in range(100):
            reach += dog(eye + reach[:, None] * rays)
        hit = np.abs(dog(eye + reach[:, None] * rays)) < 1e-4
        exact.append(eye + reach[hit, None] * rays[hit])
        rays_of_exact.append(rays[hit])
    points, rays = np.concatenate(exact), np.concatenate(rays_of_exact)
    diagonal = float(np.linalg.norm(np.ptp(points, axis=0)))
    chosen = generator.choice(len(points), COUNT, replace=False)
    errors = NOISE * diagonal * generator.standard_normal((COUNT, 1))
    return (points[chosen] + errors * rays[chosen]).astype("<f4")


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Make the scan that comes with the package.")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, help="the file (default: %(default)s)")
    output: Path = parser.parse_args().output
    points = scan()
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    output.write_bytes(header.encode("ascii") + points.tobytes())
    print(f"Wrote {output}: {len(points)} points")


if __name__ == "__main__":
    main()
