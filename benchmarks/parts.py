"""
Parts of machines, and bones, that others have modelled: the reconstruction beside screened Poisson.

    pip install pymeshlab
    pip download --no-deps pybullet && unzip -q pybullet-*.whl "pybullet_data/*"
    OMP_NUM_THREADS=1 python benchmarks/parts.py pybullet_data -o parts.json [--parts NAME ...] [--qualities draft]
        [--meshes DIR --picture parts.png]
    pip download --no-deps dm_control && unzip -q dm_control-*.whl "dm_control/suite/dog_assets/*.stl"
    OMP_NUM_THREADS=1 python benchmarks/parts.py dm_control/suite/dog_assets --of bones [--smooth] -o bones.json

The machines are the closed meshes of one piece and 2,500 triangles or more among those that come with PyBullet: a
bicycle, a differential, robots. The bones are those of the dog that comes with dm_control, and its skin: of the
vertebrae one of each kind, of legs one, without toes; of skull and jaw the largest piece, without the teeth. Each is
sampled evenly by 40,000 points, with a normal noise of 0.2 spacings in each coordinate; the spacing is the root of the
area a point. `--smooth` rounds off the edges between its triangles: a femur of 1,580 has one every five points.
Methods, Betti numbers and distances are as in `families.py`. A killed call goes on: rows that the output file has are
kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from families import draw_pictures, is_right, measured, methods, parsed, pictures_of
from made_shapes import betti_of
from virtual_scans import Scan

from art_levelset.experiments.rows import Rows
from art_levelset.recon.inspect.metrics import sample_surface

MACHINES = (
    "bicycle/files/frame_scaled.stl",
    "bicycle/files/handlebar_scaled.stl",
    "bicycle/files/wheel_scaled.stl",
    "differential/diff_carrier.stl",
    "differential/diff_pinion.stl",
    "differential/diff_ring.stl",
    "differential/diff_side.stl",
    "differential/diff_spider.stl",
    "differential/diff_stand.stl",
    "laikago/chassis.stl",
    "laikago/lower_leg_3.stl",
    "mini_cheetah/meshes/mini_abad.obj",
    "xarm/xarm_description/meshes/xarm6/visual/link1.stl",
    "xarm/xarm_description/meshes/xarm6/visual/link3.stl",
    "xarm/xarm_description/meshes/xarm6/visual/link4.stl",
    "xarm/xarm_description/meshes/xarm6/visual/link6.stl",
)

BONES = (
    "BONEMergedSkull.stl",
    "BONEJaw.stl",
    "BONEC_1.stl",
    "BONEC_2.stl",
    "BONEC_5.stl",
    "BONEC_7.stl",
    "BONEL_4.stl",
    "BONESacrum.stl",
    "BONECa_2.stl",
    "BONEScapula_L.stl",
    "BONEPelvis.stl",
    "BONEhumerus_L.stl",
    "BONEUlna_L.stl",
    "BONEFemoris_L.stl",
    "BONETibia_L.stl",
    "SKINbody.stl",
)

PARTS = {"machines": MACHINES, "bones": BONES}

POINTS = 40_000
NOISE = 0.2
"""In spacings."""

ROUNDED = 2
"""Subdivisions."""


def scan_of(path: Path, *, largest: bool = False, smooth: bool = False) -> Scan:
    """
    Points of a part, in units of its diagonal.

    :param path: Its mesh.
    :param largest: Whether of several pieces the largest one is taken.
    :param smooth: Whether they are points of a smooth surface, by Loop's subdivision.
    :return: The points and the mesh.
    :raises ValueError: If it is not closed, or not of one piece.
    """
    mesh = trimesh.load(path, force="mesh", process=False)
    mesh.merge_vertices()
    if largest and mesh.body_count > 1:
        mesh = max(mesh.split(only_watertight=False), key=lambda piece: piece.area)
    if not mesh.is_watertight or mesh.body_count != 1:
        raise ValueError(f"{path} is no closed mesh of one piece")
    if smooth:
        mesh = mesh.subdivide_loop(ROUNDED)
    mesh.apply_scale(1 / float(np.linalg.norm(mesh.extents)))
    draw, spacing = np.random.default_rng(0), float(np.sqrt(mesh.area / POINTS))
    points = sample_surface(mesh, POINTS, draw) + NOISE * spacing * draw.standard_normal((POINTS, 3))
    return Scan(points, mesh, spacing, NOISE * spacing, 0.0)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """
    The results in Markdown, a line for each part.

    :param rows: The rows.
    :return: A table.
    """
    names = list(dict.fromkeys(row["method"] for row in rows))
    lines = ["| part | right | " + " | ".join(f"{name}: Betti numbers, Chamfer, seconds" for name in names) + " |"]
    lines.append("|---" * (2 + len(names)) + "|")
    for part in dict.fromkeys(row["part"] for row in rows):
        found = {row["method"]: row for row in rows if row["part"] == part}
        right = _numbers(next(iter(found.values()))["right"])
        cells = [_cell(found[name]) if name in found else "-" for name in names]
        lines.append(f"| {part} | {right} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: Mapping[str, Any]) -> str:
    return row.get("failed") or f"{_numbers(row['betti'])}, {row['chamfer']:.3f}, {row['seconds']:.0f}"


def _numbers(betti: Sequence[int]) -> str:
    return " ".join(map(str, betti))


def main(argv: list[str] | None = None) -> None:
    """Measure what is missing, print the table, and draw it."""
    parser = argparse.ArgumentParser(description="Reconstructions of parts of machines, and of bones.")
    parser.add_argument("folder", type=Path, help="PyBullet's data, or dm_control's of the dog")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the results, JSON")
    parser.add_argument("--of", choices=PARTS, default="machines", help="what they are of; default: %(default)s")
    parser.add_argument("--smooth", action="store_true", help="without edges between their triangles")
    parser.add_argument("--parts", nargs="+", choices=(*MACHINES, *BONES), metavar="NAME", help="these only")
    arguments = parsed(parser, argv, "of the parts whose meshes are kept")
    settings = {"points": POINTS, "noise": NOISE, **({"smooth": True} if arguments.smooth else {})}
    rows = Rows(arguments.output, settings, keys=("part", "method"))
    missing: set[str] = set()
    shown = []
    for part in arguments.parts or PARTS[arguments.of]:
        scan = scan_of(arguments.folder / part, largest=arguments.of == "bones", smooth=arguments.smooth)
        files = {}
        for name, build in methods(arguments.qualities, 0).items():
            if rows.find(part=part, method=name) is None and name not in missing:
                try:
                    found, mesh = measured(build, scan)
                except ImportError as error:
                    print(f"{name}: left out: {error}", flush=True)
                    missing.add(name)
                    continue
                row = {"part": part, "method": name, "right": betti_of(scan.reference), **found}
                rows.add(row)
                verdict = "right" if is_right(row) else "not right"
                print(f"{part}, {name}: {verdict}, {found['seconds']:.0f} s", flush=True)
                if arguments.meshes is not None and mesh is not None:
                    mesh.export(_mesh_path(arguments.meshes, part, name))
            if arguments.meshes is not None and _mesh_path(arguments.meshes, part, name).exists():
                files[name] = trimesh.load_mesh(_mesh_path(arguments.meshes, part, name))
        if arguments.picture is not None:
            shown.append(pictures_of(Path(part).stem, scan, files))
    print(table(rows.rows))
    if arguments.picture is not None:
        draw_pictures(arguments.picture, shown)


def _mesh_path(folder: Path, part: str, method: str) -> Path:
    """Where a part's mesh is kept."""
    return folder / f"{part.replace('/', '-')}-{method.replace(' ', '_')}.ply"


if __name__ == "__main__":
    main()
