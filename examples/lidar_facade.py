"""
A facade from a terrestrial laser scanner: LAS in, georeferenced coordinates of millions of metres, an open mesh out.

    pip install "art-levelset[las]"
    python examples/lidar_facade.py facade.las --scanner 691004 5335990 520.6     # yours
    python examples/lidar_facade.py                 # a made one, 8 x 5 m, 6 windows, 4 mm of noise: a minute
"""

import argparse
from pathlib import Path

import laspy
import numpy as np

from art_levelset import read_cloud, reconstruct
from art_levelset.recon import draw
from art_levelset.recon.io.meshes import write_mesh


def made_facade(count: int) -> np.ndarray:
    """Points of a wall with six windows that lie 0.25 m deep, in the coordinates of UTM zone 32, (n, 3)."""
    random = np.random.default_rng(0)
    across, up = random.uniform(0, 8, count), random.uniform(0, 5, count)
    inside = np.minimum(0.7 - np.abs(across % 2.6 - 1.4), 0.8 - np.abs(up % 2.4 - 1.3))  # from the windows' edges
    deep = 0.25 * np.clip(inside / 0.12, 0, 1)
    local = np.column_stack([across, deep, up]) + random.normal(0, 0.004, (count, 3))
    return local + np.array([691_000.0, 5_336_000.0, 519.0])


parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
parser.add_argument("scan", nargs="?", type=Path, help="a .las or .laz file")
parser.add_argument("--scanner", type=float, nargs=3, default=(691_004.0, 5_335_990.0, 520.6), help="where it stood")
parser.add_argument("-o", "--output", type=Path, default=Path("facade.mesh.ply"))
parser.add_argument("--fast", action="store_true", help="few points and steps: only shows that it works")
arguments = parser.parse_args()

if arguments.scan is None:
    arguments.scan = Path("facade.las")
    points = made_facade(2_000 if arguments.fast else 60_000)
    header = laspy.LasHeader(point_format=3, version="1.2")
    header.offsets, header.scales = points.min(axis=0), [0.001] * 3
    file = laspy.LasData(header)
    file.x, file.y, file.z = points.T
    file.write(arguments.scan)

points = read_cloud(arguments.scan).points
steps, batch_size, resolution = (99, 128, 24) if arguments.fast else (None, 4096, 256)
# A wall has no inside that its points could tell: the side that the scanner has seen is outside.
normals, quiet = np.array(arguments.scanner) - points, arguments.fast
reconstruction = reconstruct(points, normals=normals, steps=steps, batch_size=batch_size, verbose=not quiet)

# What no point is near is no wall: 0.1 m around the data stay. PLY keeps millimetres at five million metres.
mesh = reconstruction.mesh(resolution, trim=0.1)
write_mesh(mesh, arguments.output)
draw(arguments.output.with_suffix(".png"), mesh, points, title=f"{len(points):,} points")
off = 1000 * np.quantile(np.abs(reconstruction.sdf(points)), 0.95)
print(f"{len(points):,} points, {len(mesh.faces):,} triangles; 95% of the points are within {off:.0f} mm of them")
print(f"wrote {arguments.output} and {arguments.output.with_suffix('.png')}")
