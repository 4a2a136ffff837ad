"""
Figure 3: surfaces and curves from raw clouds, as level sets of networks with one output and with two.

Surfaces: (a) the cloud, (b) the charts of an AtlasNet-style baseline fitted to it in the same processor time, (c) ours,
and (d) a blow-up of both where the charts are farthest from the cloud.

Curves: the truth is the closed cubic spline through six random points; 300 points of it are chosen by farthest-point
sampling and get Gaussian noise. (f) Small noise, with the two hypersurfaces {F_1 = 0} and {F_2 = 0} whose intersection
the curve is. (g) Large noise, and data of a part of the curve only. A zero set of two smooth functions has no ends, so
partial data is completed in any case, and what differs is the way: with `closed=True` the shortest smooth way from end
to end, which is compared with the part of the truth that was left out; by default the curve is taken for an open one,
the zero set returns far from the data, and what is reported ends where the data end.

A killed run goes on: what has been fitted is kept in the work folder, what has been measured in the file of rows.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from trimesh import Trimesh

from art_levelset.checks import check_positive, check_seed
from art_levelset.experiments.atlas import fit_atlas
from art_levelset.experiments.known_curves import diagonal, errors, spread_out, through_points
from art_levelset.experiments.rows import Rows, add_common_arguments
from art_levelset.experiments.table2 import colour_parts
from art_levelset.files import beside, replacing
from art_levelset.recon import compare, read_points, reconstruct
from art_levelset.recon.cloud.clouds import Points, demo_scan_path
from art_levelset.recon.curves import CurveReconstruction, Polyline, load_curve, reconstruct_curve
from art_levelset.recon.curves.fit import SPACING
from art_levelset.recon.curves.loops import WALL
from art_levelset.recon.curves.polylines import distance_to
from art_levelset.recon.curves.preview import COLOURS, hypersurfaces, widest_view
from art_levelset.recon.curves.trace import trace
from art_levelset.recon.inspect.metrics import distances_to_surface
from art_levelset.recon.inspect.preview import VIEWS, face_colours, mesh_picture, pixels, points_picture, view
from art_levelset.recon.io.meshes import read_mesh, write_mesh
from art_levelset.recon.meshing.topology import label_components

CHARTS, OURS = "AtlasNet-style, 25 patches", "level sets"
POINTS = 300
DENSE = 4000
GAP = 0.2
"""The part of the curve that partial data lack."""

BLOW_UP = 0.13
"""Half of the side of a blow-up, in diagonals of the cloud's bounding box."""

NEIGHBOURS = 100
"""So many points of the cloud together tell where the charts are far from it."""

STEP = 3 * SPACING
"""Of tracing the whole zero set, in the unit frame."""

MARGIN = 0.12


@dataclass(frozen=True)
class Size:
    """
    How much is computed.

    :param points: Of a scan, at most.
    :param resolution: Cells of our mesh along its longest side.
    :param surface: Options of both surface fits: seconds, or steps.
    """

    points: int | None
    resolution: int
    surface: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Case:
    """
    A cloud of a known curve, and how it is taken.

    :param name: The row's name.
    :param noise: Standard deviation of each coordinate, in diagonals of the curve's bounding box.
    :param gap: The part of the curve without data, from its beginning on.
    :param closed: As :func:`reconstruct_curve` takes it.
    :param seed: Picks the curve and the noise.
    """

    name: str
    noise: float
    gap: float
    closed: bool | None
    seed: int

    @cached_property
    def curve(self) -> Polyline:
        """The whole curve."""
        return through_points(self.seed, closed=True)

    @property
    def truth(self) -> Polyline:
        """What the result is compared with: the whole curve, or if it is taken for open the part with data."""
        return self.curve if self.closed or not self.gap else self.curve.part(self.gap * self.curve.length, self._end)

    @property
    def missing(self) -> Polyline | None:
        """The part without data."""
        return self.curve.part(0.0, self.gap * self.curve.length) if self.gap else None

    @cached_property
    def cloud(self) -> Points:
        """The points, (300, 3)."""
        places = np.linspace(self.gap * self.curve.length, self._end, DENSE, endpoint=self.gap > 0)
        chosen = spread_out(self.curve.at(places), POINTS)
        noise = np.random.default_rng(self.seed).standard_normal(chosen.shape)
        return np.asarray(chosen + self.noise * diagonal(self.curve) * noise)

    @property
    def _end(self) -> float:
        return self.curve.length * (1 - 1e-12)


CASES: dict[str, dict[str, Any]] = {
    "(f) small noise": {"noise": 0.003, "gap": 0.0, "closed": None},
    "(g) large noise": {"noise": 0.015, "gap": 0.0, "closed": None},
    "(g) partial data, completed": {"noise": 0.003, "gap": GAP, "closed": True},
    "(g) partial data, as an open curve": {"noise": 0.003, "gap": GAP, "closed": False},
}


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    add_common_arguments(parser, "figure3")
    parser.add_argument(
        "--scans", type=Path, nargs="+", default=[demo_scan_path()], metavar="FILE", help="clouds (default: the demo's)"
    )
    parser.add_argument(
        "--references", type=Path, nargs="+", default=[], metavar="FILE", help="the surfaces of the scans, as meshes"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of a surface's fit (default: 60)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the curves (default: 0 1 2)")
    parser.add_argument(
        "--work-dir", type=Path, default=Path("build/figure3"), metavar="DIR", help="fits (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> str:
    """
    Fit and measure what is not yet there, and draw the figure.

    :param arguments: As :func:`add_parser` declares them.
    :return: The tables in Markdown.
    :raises ValueError: If a number is out of range, a file unusable, or the rows are of other settings.
    :raises OSError: If a file cannot be read or written.
    """
    check_positive("seconds", arguments.seconds)
    for seed in arguments.seeds:
        check_seed(seed, "seeds")
    if arguments.references and len(arguments.references) != len(arguments.scans):
        raise ValueError(f"references: need one for each of {len(arguments.scans)} scans or none")
    size = Size(None, 256, {"time_budget": arguments.seconds, "clock": time.process_time})
    seeds, settings = arguments.seeds, {"seconds": arguments.seconds, "points": POINTS, "gap": GAP}
    if arguments.fast:
        size = Size(1000, 24, {"steps": 30, "batch_size": 256})
        seeds, settings = arguments.seeds[:1], {"fast": True}
    rows = Rows(arguments.output, settings, keys=("name", "method", "seed"))
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    surfaces: list[tuple[Points, Trimesh, Trimesh]] = []
    for index, path in enumerate(arguments.scans):
        reference = read_mesh(arguments.references[index], "references") if arguments.references else None
        scan = read_points(path)
        cloud: Points = scan[np.random.default_rng(0).permutation(len(scan))[: size.points]]
        charts, ours = [_surface(path.stem, way, cloud, reference, size, rows, arguments) for way in (CHARTS, OURS)]
        surfaces.append((cloud, charts, ours))
    drawn = []
    for seed in seeds:
        for name, options in CASES.items():
            case = Case(name, seed=seed, **options)
            found = _curve(case, rows, arguments)
            if seed == seeds[0]:
                drawn.append((case, found))
    draw(surfaces, drawn, beside(arguments.output, ".png"))
    return table(rows.rows)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """
    What was measured.

    :param rows: The rows of :func:`run`.
    :return: A table of the surfaces, and one of the curves with means over the seeds and [smallest, largest].
    """
    lines = [
        "| scan | method | Chamfer to the reference | Hausdorff | mean from cloud to mesh | components | seconds |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in (row for row in rows if "components" in row):
        cells = [f"{row[key]:.3f}" if key in row else "" for key in ("chamfer", "hausdorff", "from_cloud")]
        lines.append(
            f"| {row['name']} | {row['method']} | {' | '.join(cells)} | {row['components']} | {row['seconds']:.0f} |"
        )
    lines += [
        "",
        "| curve | Chamfer | Hausdorff | length / true | pieces | missing part: mean, largest | seconds | seeds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    curves = [row for row in rows if "pieces" in row]
    for name in dict.fromkeys(row["name"] for row in curves):
        some = [row for row in curves if row["name"] == name]
        cells = [_spread([row[key] for row in some], ".2f") for key in ("chamfer", "hausdorff")]
        cells += [_spread([row["length"] for row in some], ".3f"), _spread([row["pieces"] for row in some], ".0f")]
        gaps = ("gap_mean", "gap_largest")
        cells.append(", ".join(_spread([row[key] for row in some], ".1f") for key in gaps if key in some[0]))
        cells += [f"{np.mean([row['seconds'] for row in some]):.0f}", str(len(some))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(
    surfaces: Sequence[tuple[Points, Trimesh, Trimesh]],
    curves: Sequence[tuple[Case, CurveReconstruction]],
    path: Path,
) -> None:
    """
    Draw a row for each scan, and one for the curves.

    :param surfaces: Cloud, charts and our mesh of each scan.
    :param curves: Cases and reconstructions; of the first one the two hypersurfaces are drawn too.
    :param path: The PNG file to write.
    """
    figure = Figure(figsize=(11, 2.7 * (len(surfaces) + 1)), dpi=66, layout="constrained")
    grid = figure.subplots(len(surfaces) + 1, 5, squeeze=False)
    for axes_row, (cloud, charts, ours) in zip(grid, surfaces, strict=False):
        colour_parts(charts)
        for axes, (title, picture) in zip(axes_row, _surface_pictures(cloud, charts, ours).items(), strict=True):
            rows, columns = (np.flatnonzero((picture < 1).any(axis=(2, across))) for across in (1, 0))
            axes.imshow(picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], origin="lower")
            axes.set_title(title, fontsize=9)
    (case, found), *_ = curves
    _draw_curve(grid[-1, 0], case, found, None)
    grid[-1, 0].set_title("(f) {F₁ = 0} and {F₂ = 0}", fontsize=9)
    for axes, (case, found) in zip(grid[-1, 1:], curves, strict=True):
        _draw_curve(axes, case, found, _zero_set(found))
        axes.set_title(case.name, fontsize=9)
    for axes in grid.ravel():
        axes.set_axis_off()
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format="png")


def _surface(
    scan: str,
    method: str,
    cloud: Points,
    reference: Trimesh | None,
    size: Size,
    rows: Rows,
    arguments: argparse.Namespace,
) -> Trimesh:
    """The mesh of a scan, fitted and measured unless it is there."""
    seed = 0
    path = arguments.work_dir / f"{scan}_{'fast' if arguments.fast else f'{arguments.seconds:g}s'}_{method[:5]}.ply"
    if path.exists() and rows.find(name=scan, method=method, seed=seed):
        return read_mesh(path, "work_dir")
    started = time.process_time()
    if method == CHARTS:
        mesh = fit_atlas(cloud, charts=25, seed=seed, **size.surface)
    else:
        mesh = reconstruct(cloud, seed=seed, **size.surface).mesh(size.resolution)
    row = {
        "name": scan,
        "method": method,
        "seed": seed,
        "seconds": time.process_time() - started,
        "components": label_components(np.asarray(mesh.faces))[0],
        "from_cloud": 1e3 * float(distances_to_surface(cloud, mesh).mean()) / _diagonal(cloud),
    }
    if reference is not None:
        found = compare(mesh, reference).relative()
        row |= {"chamfer": found["chamfer_to_surface"], "hausdorff": found["hausdorff_to_surface"]}
    with replacing(path) as unfinished:
        write_mesh(mesh, unfinished)
    rows.add(row)
    return mesh


def _curve(case: Case, rows: Rows, arguments: argparse.Namespace) -> CurveReconstruction:
    """The reconstruction of a case, fitted and measured unless it is there."""
    name = "".join(letter if letter.isalnum() else "_" for letter in case.name)
    path = arguments.work_dir / f"{name}_{case.seed}.pt"
    if path.exists() and rows.find(name=case.name, method=OURS, seed=case.seed):
        return load_curve(path)
    started = time.process_time()
    found = reconstruct_curve(case.cloud, closed=case.closed, seed=case.seed)
    seconds = time.process_time() - started
    distances = errors(found.pieces, case.truth)
    row = {
        "name": case.name,
        "method": OURS,
        "seed": case.seed,
        "seconds": seconds,
        "chamfer": 1e3 * distances.chamfer,
        "hausdorff": 1e3 * distances.hausdorff,
        "length": distances.length,
        "pieces": len(found.pieces),
        "spurious": found.spurious,
    }
    if case.missing is not None:
        # How far the zero set stays from what was left out, which no data tell.
        away = distance_to(case.missing.points, _zero_set(found))
        scale = 1e3 / diagonal(case.curve)
        row |= {"gap_mean": scale * float(away.mean()), "gap_largest": scale * float(away.max())}
    found.save(path)
    rows.add(row)
    return found


def _zero_set(found: CurveReconstruction) -> list[Polyline]:
    """All of the zero level set that the pieces are on, also where there are no data."""
    seeds = np.concatenate([found.frame.to_unit(piece.points) for piece in found.pieces])
    traced = trace(found.network, torch.as_tensor(seeds, dtype=torch.float32), step=STEP, wall=WALL)
    return [Polyline(found.frame.from_unit(line.points), line.closed) for line in traced.lines]


def _diagonal(points: Points) -> float:
    return float(np.linalg.norm(np.ptp(points, axis=0)))


def _spread(values: Sequence[float], form: str) -> str:
    return f"{np.mean(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


def _surface_pictures(cloud: Points, charts: Trimesh, ours: Trimesh) -> dict[str, NDArray[np.float64]]:
    low, high = cloud.min(axis=0), cloud.max(axis=0)
    turn, centre, scale = view(*VIEWS[1], high - low), (low + high) / 2, _diagonal(cloud) / 2

    def seen(points: Points) -> Points:
        return np.asarray((points - centre) @ turn.T / scale)

    def picture(mesh: Trimesh) -> NDArray[np.float64]:
        return mesh_picture(seen(np.asarray(mesh.vertices)), np.asarray(mesh.faces), face_colours(mesh))

    def hidden(candidate: Points) -> int:
        """How much of our surface is before the centre, seen from there."""
        across, up, depth = ((np.asarray(ours.vertices) - centre) @ candidate.T / scale).T
        return int(((across**2 + up**2 < 1) & (depth > 0)).sum())

    pictures = {
        "(a) cloud": points_picture(seen(cloud)),
        "(b) AtlasNet-style": picture(charts),
        "(c) ours": picture(ours),
    }
    centre, scale = _farthest(cloud, charts), BLOW_UP * _diagonal(cloud)
    turn = min((view(azimuth, VIEWS[1][1], high - low) for azimuth in range(0, 360, 30)), key=hidden)
    for title, mesh in (("(d) blow-up of (b)", charts), ("(d) blow-up of (c)", ours)):
        near = (np.abs(seen(np.asarray(mesh.triangles_center))[:, :2]) <= 1).all(axis=1)
        colours = face_colours(mesh)
        pictures[title] = mesh_picture(
            seen(np.asarray(mesh.vertices)), np.asarray(mesh.faces)[near], None if colours is None else colours[near]
        )
    return pictures


def _farthest(cloud: Points, mesh: Trimesh) -> Points:
    """The point of the cloud around which a mesh is farthest from it."""
    distances = distances_to_surface(cloud, mesh)
    near = cKDTree(cloud).query(cloud, k=min(NEIGHBOURS, len(cloud)))[1]
    return np.asarray(cloud[distances[near].mean(axis=1).argmax()])


def _draw_curve(axes: Axes, case: Case, found: CurveReconstruction, zeros: list[Polyline] | None) -> None:
    """The cloud (green), the zero level set (dashed) and the pieces (black); without it, them in the hypersurfaces."""
    every = np.concatenate([line.points for line in [*found.pieces, *(zeros or [])]] + [case.cloud])
    unit = found.frame.to_unit(every)
    low, high = unit.min(axis=0) - MARGIN, unit.max(axis=0) + MARGIN
    turn, centre = widest_view(found.frame.to_unit(case.cloud)), (low + high) / 2
    scale = float(np.abs((np.where(np.indices((2, 2, 2)).reshape(3, -1).T, high, low) - centre) @ turn.T)[:, :2].max())

    def seen(points: Points) -> Points:
        return np.asarray((points - centre) @ turn.T / scale)

    if zeros is None:
        pictures = []
        for triangles, colour in zip(hypersurfaces(found, low, high), COLOURS, strict=True):
            corners = seen(triangles.reshape(-1, 3))
            base = np.broadcast_to(colour, (len(triangles), 3))
            pictures.append(mesh_picture(corners, np.arange(len(corners)).reshape(-1, 3), base))
        axes.imshow(np.mean(pictures, axis=0), origin="lower")  # each is seen through the other
    else:
        cloud = pixels(seen(found.frame.to_unit(case.cloud)))
        axes.scatter(cloud[:, 0], cloud[:, 1], s=5, color=(0.2, 0.65, 0.25), linewidths=0)
        for line in zeros:
            axes.plot(*pixels(seen(found.frame.to_unit(line.chain))).T, color="0.5", linewidth=1.0, linestyle="--")
        if case.missing is not None:
            missing = pixels(seen(found.frame.to_unit(case.missing.points)))
            axes.plot(*missing.T, color=(0.8, 0.2, 0.2), linewidth=1.0, linestyle=":")
    for piece in found.pieces:
        axes.plot(*pixels(seen(found.frame.to_unit(piece.chain))).T, color="black", linewidth=1.4)
    axes.set_aspect("equal")
