"""
Large scenes with fine detail: by one network, and by blocks.

    OMP_NUM_THREADS=1 python benchmarks/blocks.py -o blocks.json [--reference ELEPHANT.ply] [--points 500000]
        [--blocks 1 4 8] [--resolution 512]

The scene is a plate with a field of small solids, pillars, rings and balls on stalks, whose thinnest parts are a
hundredth of the plate; or a given reference. Points are drawn evenly from its surface, with normal noise, and
reconstructed by the command line in a process of its own. Chamfer and Hausdorff distances to the reference are exact,
both ways, in thousandths of the diagonal. A killed call goes on: rows that the output file has are kept.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from millions import measured
from numpy.typing import NDArray
from solids import box, capsule, meshed, torus, union

from art_levelset.files import check_place, write_text
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.inspect.metrics import sample_surface

SOLIDS = 16
"""So many are along a side of the field."""

HALF, THICK = 1.0, 0.05
"""Halves of the sides of the plate."""

CELL = 1 / 256
"""Of the grid of which the reference is made."""


def field(points: Points) -> NDArray[np.float64]:
    """
    The plate with its solids, as in `solids.py`.

    :param points: (n, 3).
    :return: Negative inside, (n,).
    """
    pitch = 2 * HALF / SOLIDS
    places = np.clip(np.floor((points[:, :2] + HALF) / pitch), 0, SOLIDS - 1)
    own = points.copy()
    own[:, :2] -= (places + 0.5) * pitch - HALF
    kinds = (places[:, 0] + 2 * places[:, 1]) % 3
    top = THICK
    parts = (
        box((0.015, 0.025, 0.05), (0.0, 0.0, top + 0.04)),
        torus(0, 0.03, 0.01, (0.0, 0.0, top + 0.03)),
        union(capsule((0, 0, top), (0, 0, top + 0.06), 0.01), capsule((0, 0, top + 0.07), (0, 0, top + 0.07), 0.025)),
    )
    solids = np.select([kinds == 0, kinds == 1], [parts[0](own), parts[1](own)], parts[2](own))
    return np.minimum(box((HALF, HALF, THICK))(points), solids)


def main(argv: list[str] | None = None) -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description="Large scenes by blocks.")
    parser.add_argument("--reference", type=Path, help="a true surface, in place of the field of small solids")
    parser.add_argument("--points", type=int, default=500_000)
    parser.add_argument("--noise", type=float, default=0.01, help="in percent of the diagonal")
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--quality", default="draft")
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the results, JSON")
    arguments = parser.parse_args(argv)
    check_place(arguments.output)
    rows: list[dict[str, Any]] = json.loads(arguments.output.read_text()) if arguments.output.exists() else []
    scene = "field" if arguments.reference is None else arguments.reference.stem
    told = {name: getattr(arguments, name) for name in ("points", "noise", "quality", "resolution")}
    for number in arguments.blocks:
        settings = {"scene": scene, **told, "blocks": number}
        if any({**row, **settings} == row for row in rows):
            continue
        with tempfile.TemporaryDirectory() as folder:
            surface, scan = Path(folder) / "surface.ply", Path(folder) / "scan.ply"
            if arguments.reference is None:
                mesh = meshed(field, (HALF, HALF, THICK + 0.11), CELL)
            else:
                mesh = trimesh.load(arguments.reference, force="mesh")
            mesh.export(surface)
            generator = np.random.default_rng(0)
            points = sample_surface(mesh, arguments.points, generator)
            points += generator.normal(0, arguments.noise / 100 * np.linalg.norm(mesh.extents), points.shape)
            trimesh.PointCloud(points).export(scan)
            options = ["--blocks", str(number), "--resolution", str(arguments.resolution)]
            rows.append({**settings, **measured(scan, surface, arguments.quality, *options)})
        write_text(json.dumps(rows, indent=2) + "\n", arguments.output)
    print("| scene | points | blocks | Chamfer | 95% | Hausdorff | parts, genus | seconds | MB |\n" + "|---" * 9 + "|")
    for row in rows:
        errors = " | ".join(f"{row[name]:.3f}" for name in ("chamfer", "within_95", "hausdorff"))
        end = f"{row['processor_seconds']:.0f} | {row['peak_megabytes']:,.0f}"
        left = f"| {row['scene']} | {row['points']:,} | {row['blocks']}"
        print(f"{left} | {errors} | {row['parts']}, {row['genus']} | {end} |")


if __name__ == "__main__":
    main()
