"""
Figure A2: how much the level sets of a fitted network are like those of a signed distance.

A scan is fitted by the paper's own setting, by the package's default, and by the default with the eikonal term. In the
unit frame, where the scan just fits into [-1, 1]^3, and for each level t,

    error(t) = | |d(x)| - |t| |     at points x of {F = t},

with the exact distance d from x to the triangles of the zero level set's mesh and, where there is one, to those of a
reference. The points are where random needles cross {F = t} in the box [-1.1, 1.1]^3, so they are uniform with respect
to its area, and nothing of it is left out because no projection leads there. The other measure is | |grad F| - 1 |,
near (offsets of up to 0.05 from uniform points of the mesh) and far (uniform points of the box at least 0.1 from it).

The picture has, for each fit, the lines F = t in equal steps of t in the plane through the middle that is orthogonal to
the scan's shortest side, and beside them those of the true distance to its mesh, with the sign of F.

Fits are kept in the work folder, and rows in the output: what is there is not computed again.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from art_levelset.checks import check_positive, check_seed
from art_levelset.core.fields import values_and_jacobians
from art_levelset.core.needles import drop_needles
from art_levelset.experiments.rows import Rows, add_common_arguments
from art_levelset.files import beside, replacing
from art_levelset.models import fc_2
from art_levelset.recon import read_points, reconstruct
from art_levelset.recon.cloud.clouds import Points, demo_scan_path
from art_levelset.recon.inspect.metrics import distances_to_surface, sample_surface
from art_levelset.recon.io.meshes import read_mesh
from art_levelset.recon.paper import reconstruct_as_paper
from art_levelset.recon.reconstruction import Reconstruction

if TYPE_CHECKING:
    from trimesh import Trimesh

LEVELS = (-0.1, -0.05, -0.02, 0.02, 0.05, 0.1, 0.2)
WALL = 1.1
NEAR, FAR = 0.05, 0.1
PAPER_BATCH = 1000
EIKONAL = 0.1

Fit = Callable[..., Reconstruction]


@dataclass(frozen=True)
class Size:
    """
    How much is computed.

    :param resolution: Cells of the mesh along its longest side.
    :param needles: For each level.
    :param points: For the slopes, near and far.
    :param grid: Points of a slice along an axis.
    """

    resolution: int
    needles: int
    points: int
    grid: int


FULL, FAST = Size(128, 60_000, 10_000, 161), Size(16, 2000, 100, 21)


def _paper(points: Points, **options: Any) -> Reconstruction:
    return reconstruct_as_paper(points, batch_size=PAPER_BATCH, **options)


ROWS: dict[str, Fit] = {
    "paper's setting": _paper,
    "default": reconstruct,
    f"default, eikonal {EIKONAL:g}": partial(reconstruct, eikonal=EIKONAL),
}


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    parser.add_argument("--scan", type=Path, metavar="FILE", help="a cloud (default: the scan of the demonstration)")
    parser.add_argument("--reference", type=Path, metavar="FILE", help="the true surface, a mesh")
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of a fit (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--work-dir", type=Path, default=Path("demo-output"), metavar="DIR", help="keeps the fits")
    add_common_arguments(parser, "figureA2")


def run(arguments: argparse.Namespace) -> str:
    """
    Fit what is not yet fitted, measure, and draw.

    :param arguments: As :func:`add_parser` declares them.
    :return: The tables in Markdown.
    :raises ValueError: If a number is out of range, a file unusable, or the output is of other settings.
    :raises OSError: If a file cannot be read or written.
    """
    check_positive("seconds", arguments.seconds)
    check_seed(arguments.seed)
    scan = demo_scan_path() if arguments.scan is None else arguments.scan
    points = read_points(scan)
    reference = None if arguments.reference is None else read_mesh(arguments.reference, "reference")
    size = FAST if arguments.fast else FULL
    settings = {
        "scan": scan.stem,
        "reference": arguments.reference is not None,
        "fast": arguments.fast,
        "seconds": None if arguments.fast else arguments.seconds,
    }
    rows = Rows(arguments.output, settings)
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    drawn = {}
    for name, fit in ROWS.items():
        fitted, seconds = _fitted(name, fit, points, scan.stem, arguments)
        mesh = _unit_mesh(fitted, fitted.mesh(size.resolution, polish=name != "paper's setting"))
        if rows.find(name=name, seed=arguments.seed) is None:
            true = None if reference is None else _unit_mesh(fitted, reference)
            row = measure(fitted.surface, mesh, true, size, arguments.seed)
            rows.add({"name": name, "seed": arguments.seed, "seconds": seconds, **row})
        drawn[name] = (fitted, mesh)
    draw(drawn, size, beside(arguments.output, ".png"))
    return table([row for row in rows.select(seed=arguments.seed) if row["name"] in ROWS])


def measure(
    surface: torch.nn.Module, mesh: Trimesh, reference: Trimesh | None, size: Size, seed: int
) -> dict[str, Any]:
    """
    Compare F with a distance.

    :param surface: F, in the unit frame.
    :param mesh: The mesh of its zero level set, there.
    :param reference: The true surface there, if it is known.
    :param size: How much is computed.
    :param seed: Seed of all random points, >= 0.
    :return: "slope_near" and "slope_far", the means of | |grad F| - 1 |, and "levels": for each the number of points,
             the mean and the largest error, and the same for the reference.
    """
    random = np.random.default_rng(seed)
    starts = sample_surface(mesh, size.points, random)
    directions = random.standard_normal(starts.shape)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    near = starts + NEAR * random.random((size.points, 1)) * directions
    far = random.uniform(-WALL, WALL, (size.points, 3))
    far = far[distances_to_surface(far, mesh) >= FAR]
    levels = {}
    for i, level in enumerate(LEVELS):
        crossed = drop_needles(
            surface,
            (-WALL, WALL),
            size.needles,
            like=torch.zeros(3),
            nb_pieces=64,
            level=level,
            tol=1e-4,
            seed=1000 * seed + i,
        )
        places = crossed.points.double().numpy()
        found: dict[str, Any] = {"n": len(places), "area": crossed.area().value}
        for name, other in (("", mesh), ("_reference", reference)):
            if other is not None and len(places):
                errors = np.abs(distances_to_surface(places, other) - abs(level))
                found[f"mean{name}"], found[f"max{name}"] = float(errors.mean()), float(errors.max())
        levels[f"{level:g}"] = found
    return {"slope_near": _slope_error(surface, near), "slope_far": _slope_error(surface, far), "levels": levels}


def table(rows: list[dict[str, Any]]) -> str:
    """
    The figures as tables.

    :param rows: The rows of the fits.
    :return: Markdown.
    """
    lines = ["| fit | seconds | mean abs(abs(grad F) - 1), near | far |", "|---" * 4 + "|"]
    for row in rows:
        numbers = ((row["seconds"], 0), (row["slope_near"], 3), (row["slope_far"], 3))
        cells = ["" if number is None else f"{number:.{digits}f}" for number, digits in numbers]
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    for suffix, title in (("", "mesh of F = 0"), ("_reference", "reference")):
        if any(f"mean{suffix}" in level for row in rows for level in row["levels"].values()):
            lines += ["", f"| error to the {title}, mean (max) | " + " | ".join(f"t = {t:g}" for t in LEVELS) + " |"]
            lines.append("|---" * (1 + len(LEVELS)) + "|")
            for row in rows:
                cells = [_cell(row["levels"][f"{t:g}"], suffix) for t in LEVELS]
                lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(fits: Mapping[str, tuple[Reconstruction, Trimesh]], size: Size, path: Path) -> None:
    """
    Draw the level sets in a slice, those of F above and those of the distance below.

    :param fits: The fits and the meshes of their zero level sets in the unit frame, by name.
    :param size: How much is computed.
    :param path: The picture to write.
    """
    figure = Figure(figsize=(4 * len(fits), 8.2), layout="constrained")
    axes = figure.subplots(2, len(fits), squeeze=False)
    for column, (name, (fitted, mesh)) in enumerate(fits.items()):
        values, distances, sides = slice_of(fitted.surface, mesh, size)
        _draw_lines(axes[0, column], values, sides, f"{name}: F")
        _draw_lines(axes[1, column], distances, sides, "the distance to its zero level set")
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=80)
        with Image.open(unfinished) as image:
            image.quantize(64).save(unfinished)


def slice_of(
    surface: torch.nn.Module, mesh: Trimesh, size: Size
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[int, int]]:
    """
    F, and the signed distance, in the plane through the middle of a mesh that is orthogonal to its shortest side.

    :param surface: F.
    :param mesh: The mesh of F = 0, whose distance it is, with the sign of F.
    :param size: How much is computed.
    :return: Both, (grid, grid), rows along the second of the two axes, and the axes of the plane.
    """
    shortest = int(np.argmin(np.ptp(mesh.bounds, axis=0)))
    first, second = (axis for axis in range(3) if axis != shortest)
    ticks = np.linspace(-WALL, WALL, size.grid)
    places = np.full((size.grid**2, 3), mesh.bounds.mean(axis=0)[shortest])
    places[:, [first, second]] = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    values = _values(surface, places)
    distances = np.sign(values) * distances_to_surface(places, mesh)
    return values.reshape(size.grid, -1), distances.reshape(size.grid, -1), (first, second)


def _fitted(
    name: str, fit: Fit, points: Points, stem: str, arguments: argparse.Namespace
) -> tuple[Reconstruction, float | None]:
    """A fit, and the processor seconds that it took: none where it was in the work folder."""
    length = "fast" if arguments.fast else f"{arguments.seconds:g}s"
    label = name.replace("'", "").replace(",", "").replace(" ", "_")
    path = arguments.work_dir / f"{stem}_{label}_{length}_{arguments.seed}.pt"
    options: dict[str, Any] = {"seed": arguments.seed, "verbose": not arguments.fast}
    network = fc_2(radius=0.7) if name == "paper's setting" and not arguments.fast else None
    if arguments.fast:
        points, network = points[:: max(len(points) // 400, 1)], fc_2(width=16, radius=0.7)
        options |= {"steps": 10, "network": network}
    else:
        options |= {"time_budget": arguments.seconds, "clock": time.process_time}
    if path.exists():
        return Reconstruction.load(path, network), None
    started = time.process_time()
    fitted = fit(points, **options)
    seconds = time.process_time() - started
    fitted.save(path)
    return fitted, seconds


def _unit_mesh(fitted: Reconstruction, mesh: Trimesh) -> Trimesh:
    """A mesh in the unit frame."""
    moved = mesh.copy()
    moved.vertices = fitted.frame.to_unit(np.asarray(mesh.vertices))
    return moved


def _values(surface: torch.nn.Module, places: Points) -> NDArray[np.float64]:
    with torch.no_grad():
        parts = [surface(part).squeeze(1) for part in torch.split(torch.as_tensor(places, dtype=torch.float32), 8192)]
    return torch.cat(parts).double().numpy()


def _slope_error(surface: torch.nn.Module, places: Points) -> float | None:
    """The mean of | |grad F| - 1 |; none without points."""
    parts = torch.split(torch.as_tensor(places, dtype=torch.float32), 4096) if len(places) else ()
    slopes = [values_and_jacobians(surface, part)[1].flatten(1).norm(dim=1) for part in parts]
    return float((torch.cat(slopes) - 1).abs().mean()) if slopes else None


def _cell(level: Mapping[str, Any], suffix: str) -> str:
    if f"mean{suffix}" not in level:
        return "none"
    return f"{level[f'mean{suffix}']:.4f} ({level[f'max{suffix}']:.3f})"


def _draw_lines(axes: Axes, values: NDArray[np.float64], sides: tuple[int, int], title: str) -> None:
    ticks = np.linspace(-WALL, WALL, len(values))
    steps = np.arange(-0.5, 1.01, 0.05)
    axes.contourf(ticks, ticks, values, levels=[-np.inf, 0, np.inf], colors=["#dfe9f5", "#ffffff"])
    axes.contour(ticks, ticks, values, levels=steps[np.abs(steps) > 1e-9], colors="0.45", linewidths=0.7)
    axes.contour(ticks, ticks, values, levels=[0], colors="#c0392b", linewidths=1.6)
    axes.set_title(title, fontsize=10)
    axes.set(aspect="equal", xlabel="xyz"[sides[0]], ylabel="xyz"[sides[1]], xticks=[-1, 0, 1], yticks=[-1, 0, 1])
