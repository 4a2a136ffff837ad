"""
A phone's scan becomes a model for a 3D printer: watertight, in millimetres, standing on the plate, as STL.

    python examples/scan_to_print.py                              # the dog that comes with the package, a minute
    python examples/scan_to_print.py scan.ply --height 80 -o statue.stl
"""

import argparse
import sys
from pathlib import Path

from art_levelset import read_cloud, reconstruct
from art_levelset.recon import demo_scan_path, draw
from art_levelset.recon.io.meshes import write_mesh

parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
parser.add_argument("scan", nargs="?", default=demo_scan_path(), help="any point cloud, without normals")
parser.add_argument("--height", type=float, default=100.0, help="of the model in mm")
parser.add_argument("-o", "--output", type=Path, default=Path("print.stl"))
parser.add_argument("--fast", action="store_true", help="coarse: only shows that it works")
arguments = parser.parse_args()

points = read_cloud(arguments.scan).points
points = points[::8] if arguments.fast else points
steps, batch_size, resolution = (99, 128, 24) if arguments.fast else (None, 4096, 192)

# One closed surface: holes of the scan (an object's underside, say) are closed smoothly.
reconstruction = reconstruct(points, steps=steps, batch_size=batch_size, verbose=not arguments.fast)
mesh = reconstruction.mesh(resolution, parts=1)
if not mesh.is_watertight:
    sys.exit("the surface leaves the scan's box: scan the object from all sides, or cut the ground away")

# The scan's unit is unknown to a printer: give the model its height, and put it on the plate, z upwards from 0.
scale = arguments.height / mesh.extents[2]
mesh.apply_scale(scale)
mesh.apply_translation(-mesh.bounds[0])
write_mesh(mesh, arguments.output)
picture = arguments.output.with_suffix(".png")
draw(picture, mesh, (points - points.min(axis=0)) * scale, title=f"{mesh.extents[2]:.0f} mm")

size = " x ".join(f"{side:.1f}" for side in mesh.extents)
print(f"{len(mesh.faces):,} triangles, watertight, {size} mm, {mesh.volume / 1000:.1f} cm³, {mesh.body_count} part")
print(f"wrote {arguments.output} and {picture}")
