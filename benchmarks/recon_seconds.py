"""
Error against seconds: the reconstruction and the paper's setting at several time budgets, and what is used otherwise.

    pip install pymeshlab
    OMP_NUM_THREADS=1 python benchmarks/recon_seconds.py SCAN.ply REFERENCE.ply -o seconds.json --picture seconds.png

Seconds are processor seconds of all threads, from the points to the mesh. A budget is what a fit may use of them, its
set-up included; each is a run of its own, for the learning rate depends on it. The mesh comes on top: of 256 cells and
polished for the default, and of 128 cells, its vertices as marching cubes puts them, for the paper's network, which is
about a hundred times slower to evaluate. That network is fitted in batches of 1,000 points, for in minutes the 10,000
of the paper are too few steps.

Others, as in `recon.py`: screened Poisson reconstruction of depths 7, 8 and 9, ball pivoting, and marching cubes of
RIMLS (256 cells), all on normals that PyMeshLab estimates; without PyMeshLab they are left out.

The error is the Chamfer distance as in `recon.py`: the mean exact distance to the triangles, both ways, in thousandths
of the diagonal of the reference's bounding box. A run that makes no surface has what it said in place of figures. A
killed call goes on: runs that the output file has are kept.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import trimesh
from recon import NEIGHBOURS, RESOLUTION, ball_pivoting, current, loaded, poisson

from art_levelset.experiments.table2 import level_sets, level_sets_of_the_paper
from art_levelset.files import check_place, replacing, write_text
from art_levelset.recon import compare, read_points
from art_levelset.recon.cloud.clouds import Points

BUDGETS = (15.0, 30.0, 60.0, 120.0, 300.0)
DEPTHS = (7, 8, 9)
OTHERS = (*(f"Poisson {depth}" for depth in DEPTHS), "ball pivoting", "RIMLS")
OURS, PAPER = "level set", "the paper's setting"


@dataclass(frozen=True)
class Run:
    """
    One way to make a mesh.

    :param method: Its name.
    :param budget: The processor seconds that the fit may use; None for what takes its own time.
    :param build: Makes the mesh.
    """

    method: str
    budget: float | None
    build: Callable[[], trimesh.Trimesh]

    def __str__(self) -> str:
        return self.method if self.budget is None else f"{self.method}, {self.budget:g} s"


def all_runs(
    points: Points, others: Container[str], budgets: list[float], paper_budgets: list[float], seed: int
) -> list[Run]:
    """
    Those to compare, the shortest first.

    :param points: The cloud, (n, 3).
    :param others: Which of :data:`OTHERS`.
    :param budgets: Those of the default.
    :param paper_budgets: Those of the paper's setting.
    :param seed: The seed of both.
    :return: The runs.
    """
    runs = [Run(f"Poisson {depth}", None, partial(poisson, points, depth)) for depth in DEPTHS]
    runs += [Run("ball pivoting", None, partial(ball_pivoting, points)), Run("RIMLS", None, partial(rimls, points))]
    fits = [Run(OURS, budget, partial(level_sets, points, budget, seed)) for budget in budgets]
    fits += [Run(PAPER, budget, partial(level_sets_of_the_paper, points, budget, seed)) for budget in paper_budgets]
    return [run for run in runs if run.method in others] + sorted(fits, key=lambda run: run.budget or 0.0)


def rimls(points: Points) -> trimesh.Trimesh:
    """
    Marching cubes of robust implicit moving least squares on a cloud without normals.

    :param points: (n, 3).
    :return: The mesh.
    """
    meshes = loaded(points)
    meshes.compute_normal_for_point_clouds(k=NEIGHBOURS)
    meshes.generate_marching_cubes_rimls(resolution=RESOLUTION)
    return current(meshes)


def measured(run: Run, reference: trimesh.Trimesh) -> dict[str, Any]:
    """
    Make a mesh and compare it.

    :param run: What to do.
    :param reference: What to compare the mesh with.
    :return: The row of the results.
    :raises ImportError: If its library is missing.
    """
    started = time.process_time()
    row: dict[str, Any] = {"method": run.method, "budget": run.budget}
    try:
        mesh = run.build()
        row["seconds"] = time.process_time() - started
        found = compare(mesh, reference)
    except ValueError as error:
        return {**row, "seconds": time.process_time() - started, "failed": str(error)}
    row["chamfer"] = found.relative()["chamfer_to_surface"]
    return {**row, "euler": int(mesh.euler_number), "parts": int(mesh.body_count), "faces": len(mesh.faces)}


def table(results: Mapping[str, Any]) -> str:
    """
    The results in Markdown.

    :param results: What the output file holds.
    :return: A table.
    """
    lines = [
        f"| {results['scan']} | budget | seconds | Chamfer | Euler ({results['euler']}) | parts |",
        "|---" * 6 + "|",
    ]
    for row in results["rows"]:
        budget = "" if row["budget"] is None else f"{row['budget']:g}"
        figures = row.get("failed") or f"{row['chamfer']:.3f} | {row['euler']} | {row['parts']}"
        lines.append(f"| {row['method']} | {budget} | {row['seconds']:.1f} | {figures} |")
    return "\n".join(lines)


def draw(results: Mapping[str, Any], path: Path) -> None:
    """
    Draw the errors against the seconds, both in logarithmic scales.

    :param results: What the output file holds.
    :param path: The picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    methods: dict[str, list[tuple[float, float]]] = {}
    for row in results["rows"]:
        if "chamfer" in row:
            name = f"Poisson {DEPTHS}" if row["method"].startswith("Poisson") else row["method"]
            methods.setdefault(name, []).append((row["seconds"], row["chamfer"]))
    for method, places in methods.items():
        seconds, errors = zip(*sorted(places), strict=True)
        colour = {OURS: "#c0392b", PAPER: "#2264a8"}.get(method, "0.4")
        axes.loglog(seconds, errors, "o-", color=colour, markersize=5)
        place = seconds[0], errors[0]
        axes.annotate(method, place, (0, 9), textcoords="offset points", ha="center", color=colour, fontsize=9)
    axes.set(xlabel="processor seconds, from the points to the mesh", ylabel="Chamfer distance, 10⁻³ of the diagonal")
    axes.set_title(results["scan"], fontsize=10)
    axes.margins(x=0.1, y=0.1)
    axes.grid(which="both", alpha=0.25)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def main(argv: list[str] | None = None) -> None:
    """Measure what is missing, print the table and draw it."""
    parser = argparse.ArgumentParser(description="Error against seconds.")
    parser.add_argument("scan", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument(
        "--others", nargs="*", choices=OTHERS, default=OTHERS, help="of dense clouds not all in minutes"
    )
    parser.add_argument("--budgets", type=float, nargs="*", default=list(BUDGETS), help="of the default")
    parser.add_argument("--paper-budgets", type=float, nargs="*", help="of the paper's setting (default: the same)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the results, JSON")
    parser.add_argument("--picture", type=Path, help="PNG")
    arguments = parser.parse_args(argv)
    for path in filter(None, (arguments.output, arguments.picture)):
        check_place(path)
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1)])  # imports seconds of what no fit is to be charged with
    points, reference = read_points(arguments.scan), trimesh.load(arguments.reference, force="mesh")
    settings = {"scan": arguments.scan.stem, "euler": int(reference.euler_number), "seed": arguments.seed}
    results: dict[str, Any] = {**settings, "rows": []}
    if arguments.output.exists():
        results = json.loads(arguments.output.read_text())
        if {**results, **settings} != results:
            parser.error(f"{arguments.output} has the results of another scan or seed")
    paper_budgets = arguments.budgets if arguments.paper_budgets is None else arguments.paper_budgets
    known = {(row["method"], row["budget"]) for row in results["rows"]}
    for run in all_runs(points, arguments.others, arguments.budgets, paper_budgets, arguments.seed):
        if (run.method, run.budget) in known:
            continue
        try:
            results["rows"].append(measured(run, reference))
        except ImportError as error:
            print(f"{run}: left out: {error}", flush=True)
            continue
        write_text(json.dumps(results, indent=2) + "\n", arguments.output)
        print(f"{run}: done", flush=True)
    print(table(results))
    if arguments.picture is not None:
        draw(results, arguments.picture)


if __name__ == "__main__":
    main()
