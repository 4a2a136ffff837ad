"""
Table 2 for one's own scans: level sets and charts fitted to a cloud in the same time, compared by nearest samples.

Each row is fitted to the cloud alone for the same processor time on one thread; the mesh comes on top. As in the paper,
30,000 points x_i are drawn uniformly from its surface and as many y_j from the reference, and with the norms p = 1, 2

    L_p = 1/2 (mean_i min_j |x_i - y_j|_p + mean_j min_i |x_i - y_j|_p),

in thousandths of the unit of the files. The paper does not say what its columns L1 and L2 are; their ratio there is
1.463 in both of its rows, and that of the L_p of two samplings of one human body is 1.46. These are not at distance
zero: the *floor* is what the reference has to itself, drawn twice. Beside it is what our other tables have, the mean
exact distance of the samples to the other surface's triangles, in thousandths of the diagonal of the reference's
bounding box.

The paper's own setting gets batches of 1,000 points, for in a minute its 10,000 are too few steps, and a mesh of 128
cells, since its network is about a hundred times slower to evaluate than ours. A killed run goes on: rows whose mesh
and metrics are there are kept.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from trimesh import Trimesh
from trimesh.creation import icosphere
from trimesh.visual import ColorVisuals

from art_levelset.experiments.atlas import fit_atlas
from art_levelset.experiments.rows import Rows, add_common_arguments
from art_levelset.files import beside, replacing
from art_levelset.recon import compare, read_points, reconstruct
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.inspect.metrics import SAMPLES, sample_surface
from art_levelset.recon.inspect.preview import draw_beside
from art_levelset.recon.io.meshes import read_mesh, write_mesh
from art_levelset.recon.meshing.topology import label_components
from art_levelset.recon.paper import reconstruct_as_paper

RESOLUTION, PAPER_RESOLUTION = 256, 128
PAPER_BATCH = 1000
FLOOR = "floor"

Fit = Callable[[Points, float, int], Trimesh]
"""Fits a surface to a cloud in so many processor seconds, with a seed."""


def level_sets(points: Points, seconds: float, seed: int, resolution: int | None = None) -> Trimesh:
    """
    The package's default.

    :param points: The cloud, (n, 3).
    :param seconds: Processor seconds of the fit.
    :param seed: The seed.
    :param resolution: Cells along the longest side; :data:`RESOLUTION` by default.
    :return: The mesh.
    """
    fitted = reconstruct(points, time_budget=seconds, clock=time.process_time, seed=seed, verbose=False)
    return fitted.mesh(resolution or RESOLUTION)


def level_sets_of_the_paper(points: Points, seconds: float, seed: int) -> Trimesh:
    """
    The paper's own setting, in smaller batches.

    :param points: The cloud, (n, 3).
    :param seconds: Processor seconds of the fit.
    :param seed: The seed.
    :return: The mesh, with the vertices of marching cubes.
    """
    options: dict[str, Any] = {"clock": time.process_time, "batch_size": PAPER_BATCH, "seed": seed, "verbose": False}
    return reconstruct_as_paper(points, time_budget=seconds, **options).mesh(PAPER_RESOLUTION, polish=False)


def _charts(points: Points, seconds: float, seed: int, **options: Any) -> Trimesh:
    return fit_atlas(points, time_budget=seconds, clock=time.process_time, seed=seed, verbose=False, **options)


CHARTS: dict[str, Fit] = {
    "AtlasNet-style, 1 sphere": partial(_charts, charts=1, domain="sphere"),
    "AtlasNet-style, 1 patch": partial(_charts, charts=1),
    "AtlasNet-style, 25 patches": partial(_charts, charts=25),
}
ROWS: dict[str, Fit] = {**CHARTS, "level sets, paper": level_sets_of_the_paper, "level sets": level_sets}
FAST: dict[str, Fit] = {
    "AtlasNet-style, 1 patch": CHARTS["AtlasNet-style, 1 patch"],
    "level sets": partial(level_sets, resolution=24),
}
FAST_SAMPLES = 1000
"""Rows and samples of `--fast`."""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    add_common_arguments(parser, "table2")
    parser.add_argument("files", type=Path, nargs="*", metavar="SCAN REFERENCE", help="clouds, and surfaces as meshes")
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of a fit (default: 60)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: 0")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--work-dir", type=Path, metavar="DIR", help="the meshes (default: beside the rows)")


def run(arguments: argparse.Namespace) -> str:
    """
    Fit and compare what is not yet in the results, and draw the surfaces of the first seed side by side.

    :param arguments: As :func:`add_parser` declares them.
    :return: The table in Markdown.
    :raises ValueError: If a row is not known, a number out of range, a file unusable, or the results are of other
            settings.
    :raises OSError: If a file cannot be read or written.
    """
    fits = FAST if arguments.fast else ROWS
    names = list(fits) if arguments.rows is None else arguments.rows
    for name in names:
        if name not in fits:
            raise ValueError(f"rows: {name!r} is none of {', '.join(fits)}")
    if not 0 < arguments.seconds < math.inf:
        raise ValueError(f"seconds must be positive, got {arguments.seconds}")
    if min(arguments.seeds) < 0:
        raise ValueError(f"seeds must be >= 0, got {min(arguments.seeds)}")
    seconds = min(arguments.seconds, 1.0) if arguments.fast else arguments.seconds
    samples = FAST_SAMPLES if arguments.fast else SAMPLES
    pairs = {"sphere": _sphere()} if arguments.fast and not arguments.files else _read(arguments.files)
    rows = Rows(arguments.output, {"seconds": seconds, "samples": samples}, keys=("scan", "name", "seed"))
    folder = arguments.work_dir or arguments.output.parent / "meshes"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1)])  # imports seconds of what no fit is to be charged with
    for scan, (points, reference) in pairs.items():
        rows.add({"scan": scan, "name": FLOOR, "seed": 0, **nearest_samples(reference, reference, samples=samples)})
        for seed in arguments.seeds:
            for name in names:
                path = _mesh_path(folder, seconds, scan, name, seed)
                if not path.exists() or rows.find(scan=scan, name=name, seed=seed) is None:
                    row = _row(fits[name], points, reference, seconds, seed, path, samples)
                    rows.add({"scan": scan, "name": name, "seed": seed, **row})
    meshes = {
        scan: {name: _mesh_path(folder, seconds, scan, name, arguments.seeds[0]) for name in names} for scan in pairs
    }
    _draw(pairs, meshes, beside(arguments.output, ".png"))
    return table(rows.rows)


def nearest_samples(
    mesh: Trimesh, reference: Trimesh, seed: int = 0, *, samples: int | None = None
) -> dict[str, float]:
    """
    The distances of the paper's table: between samples of two surfaces and the nearest samples of the other one.

    :param mesh: One surface.
    :param reference: The other one; it may be the same, for the floor.
    :param seed: Seed of the samples, >= 0.
    :param samples: Samples of each surface; the paper's 30,000 by default.
    :return: "l1" and "l2" of this module's description, in the unit of the surfaces.
    :raises ValueError: If a surface has no area.
    """
    generator = np.random.default_rng(seed)
    ours, theirs = (sample_surface(surface, samples or SAMPLES, generator) for surface in (mesh, reference))
    trees = cKDTree(ours), cKDTree(theirs)
    return {
        f"l{p}": float(np.mean(trees[1].query(ours, p=p)[0]) + np.mean(trees[0].query(theirs, p=p)[0])) / 2
        for p in (1, 2)
    }


def colour_parts(mesh: Trimesh) -> None:
    """
    Give every connected component, such as a chart, a colour of its own.

    :param mesh: The mesh, whose vertices get the colours.
    """
    from matplotlib import colormaps

    palette = (255 * colormaps["tab20"](np.arange(20))).astype(np.uint8)
    parts = np.zeros(len(mesh.vertices), dtype=np.int64)
    parts[mesh.faces] = label_components(np.asarray(mesh.faces))[1][:, None]
    mesh.visual = ColorVisuals(mesh, vertex_colors=palette[parts % len(palette)])


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """
    The means over the seeds, for each scan.

    :param found: The rows that :func:`run` has written.
    :return: Tables in Markdown, all metrics times 10^3.
    """
    lines = []
    for scan in dict.fromkeys(row["scan"] for row in found):
        rows = [row for row in found if row["scan"] == scan]
        lines += ["", f"| {scan} | L1 | L2 | to the surface / diagonal | seconds | seeds |", "|---" * 6 + "|"]
        for name in dict.fromkeys(row["name"] for row in rows):
            runs = [row for row in rows if row["name"] == name]
            metrics = [_mean(runs, column) for column in ("l1", "l2", "exact")]
            cells = ["" if mean is None else f"{1e3 * mean:.3f}" for mean in metrics]
            seconds = _mean(runs, "seconds")
            cells.append("" if seconds is None else f"{seconds:.0f}")
            lines.append(f"| {name} | {' | '.join(cells)} | {len(runs)} |")
    return "\n".join(lines[1:])


def _mean(rows: Sequence[Mapping[str, Any]], column: str) -> float | None:
    found = [row[column] for row in rows if column in row]
    return float(np.mean(found)) if found else None


def _row(
    fit: Fit, points: Points, reference: Trimesh, seconds: float, seed: int, path: Path, samples: int
) -> dict[str, float]:
    """Fit a surface, write its mesh and compare it."""
    started = time.process_time()
    mesh = fit(points, seconds, seed)
    spent = time.process_time() - started
    found = compare(mesh, reference, samples=samples)
    nearest = nearest_samples(mesh, reference, samples=samples)
    metrics = {**nearest, "exact": found.chamfer_to_surface / found.diagonal, "seconds": spent}
    with replacing(path) as temporary:
        write_mesh(mesh, temporary)
    return metrics


def _read(files: Sequence[Path]) -> dict[str, tuple[Points, Trimesh]]:
    """Clouds and references by the clouds' names."""
    if not files or len(files) % 2:
        raise ValueError(f"files: every scan needs a reference, got {len(files)} files")
    pairs = {
        scan.stem: (read_points(scan), read_mesh(path, "files"))
        for scan, path in zip(files[::2], files[1::2], strict=True)
    }
    if 2 * len(pairs) < len(files):
        raise ValueError("files: two scans have the same name")
    return pairs


def _sphere() -> tuple[Points, Trimesh]:
    """A cloud of the unit sphere, and the sphere."""
    directions = np.random.default_rng(0).standard_normal((400, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True), icosphere(subdivisions=4)


def _mesh_path(folder: Path, seconds: float, scan: str, name: str, seed: int) -> Path:
    return folder / f"{scan}_{seconds:g}s_{name.replace(',', '').replace(' ', '_')}_{seed}.ply"


def _draw(pairs: Mapping[str, tuple[Points, Trimesh]], meshes: Mapping[str, Mapping[str, Path]], path: Path) -> None:
    """The cloud, the meshes and the reference of each scan side by side; every chart in a colour of its own."""
    rows = []
    for scan, (points, reference) in pairs.items():
        shown: dict[str, Points | Trimesh] = {scan: points}
        for name, file in meshes[scan].items():
            mesh = read_mesh(file, "work_dir")
            if name in CHARTS:
                colour_parts(mesh)
            shown[name] = mesh
        rows.append({**shown, "reference": reference})
    with replacing(path) as temporary:
        draw_beside(temporary, rows)
