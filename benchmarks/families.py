"""
Topology on families of made shapes: the reconstruction beside screened Poisson, shape by shape.

    pip install pymeshlab
    OMP_NUM_THREADS=1 python benchmarks/families.py -o families.json [--families plate gear ...] [--seeds 0 1]
        [--scans even cameras] [--noise 0.3] [--qualities draft] [--meshes DIR --picture families.png]

Each seed is a shape of each family (`made_shapes.py`), scanned evenly and by virtual cameras (`virtual_scans.py`), with
8,000 to 30,000 points and a noise given in spacings of these. A result is *right* if the Betti numbers of its surface,
components, twice the handles and closed components, are those of the construction. A shape is *wide* if its smallest
feature is wider than three spacings and twice the noise.

Others: screened Poisson reconstruction of PyMeshLab as in `recon.py`, and that of Open3D, of the same depth, on normals
estimated from the same number of neighbours and made consistent along a tree; each is left out where it is not
installed. Poisson adds crumbs where the sides of normals contradict each other: what it would be without all components
of less than 1% of the area is counted as well, for all methods.

Chamfer distances are as in `recon.py`, in thousandths of the diagonal. A killed call goes on: rows that the output file
has are kept.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from made_shapes import FAMILIES, FEWEST, MOST, Shape, betti_of, made
from numpy.typing import NDArray
from recon import DEPTH, NEIGHBOURS, level_set, poisson
from virtual_scans import SCANS, Scan, scanned

from art_levelset.experiments.rows import Rows
from art_levelset.files import check_place, replacing
from art_levelset.recon import compare
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.fitting.quality import QUALITIES
from art_levelset.recon.inspect.preview import PIXELS, VIEWS, mesh_picture, points_picture, view
from art_levelset.recon.meshing.topology import label_components

KEYS = "family", "seed", "scan", "noise", "method"
SAMPLES = 10_000
NOISES = 0.1, 0.3, 0.6
"""In spacings."""

WIDE, NOISY = 3.0, 2.0
"""Features are wide that are wider than so many spacings and so many standard deviations of the noise."""

CRUMB = 0.01
"""A component of a smaller part of the area is a crumb."""

POISSON, OPEN3D = "screened Poisson", "Open3D Poisson"
BLOCKS = 2
"""So many families stand beside each other in the picture."""


def open3d_poisson(points: Points) -> trimesh.Trimesh:
    """
    Open3D's Poisson reconstruction of a cloud without normals.

    :param points: (n, 3).
    :return: The mesh.
    :raises ImportError: If Open3D is missing.
    """
    try:
        import open3d
    except ImportError as error:
        raise ImportError("this comparison needs Open3D: pip install open3d") from error
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.estimate_normals(open3d.geometry.KDTreeSearchParamKNN(NEIGHBOURS))
    cloud.orient_normals_consistent_tangent_plane(NEIGHBOURS)
    mesh, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=DEPTH, n_threads=1)
    return trimesh.Trimesh(np.asarray(mesh.vertices), np.asarray(mesh.triangles), process=False)


def methods(qualities: Sequence[str], seed: int) -> dict[str, Callable[[Points], trimesh.Trimesh]]:
    """
    What makes meshes of clouds.

    :param qualities: Those of the reconstruction.
    :param seed: Its seed.
    :return: The functions by their names.
    """
    ours = {quality: partial(level_set, seed=seed, quality=quality) for quality in qualities}
    return {**ours, POISSON: poisson, OPEN3D: open3d_poisson}


def without_crumbs(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """
    The larger connected components of a mesh.

    :param mesh: The mesh, with at least one face.
    :return: Those of at least :data:`CRUMB` of its area.
    """
    count, component = label_components(np.asarray(mesh.faces, dtype=np.int32))
    areas = np.bincount(component, weights=mesh.area_faces, minlength=count)
    return trimesh.Trimesh(mesh.vertices, mesh.faces[(areas >= CRUMB * areas.sum())[component]], process=False)


def measured(build: Callable[[Points], trimesh.Trimesh], scan: Scan) -> tuple[dict[str, Any], trimesh.Trimesh | None]:
    """
    Make a mesh of a scan and compare it with the surface.

    :param build: Makes it.
    :param scan: The scan.
    :return: What there is to say of it, and the mesh; None where there is none.
    :raises ImportError: If its library is missing.
    """
    started = time.process_time()
    try:
        mesh = build(scan.points)
        seconds = time.process_time() - started
        chamfer = compare(mesh, scan.reference, samples=SAMPLES).relative()["chamfer_to_surface"]
    except ImportError:
        raise
    except Exception as error:  # other libraries have exceptions of their own
        return {"failed": f"{type(error).__name__}: {error}", "seconds": time.process_time() - started}, None
    found = {"betti": betti_of(mesh), "betti_without_crumbs": betti_of(without_crumbs(mesh))}
    return {**found, "chamfer": chamfer, "seconds": seconds}, mesh


def facts(shape: Shape, scan: Scan) -> dict[str, Any]:
    """
    What there is to say of a scan, whatever is made of it.

    :param shape: Its shape.
    :param scan: The scan.
    :return: The right Betti numbers, the number of points, the name of the smallest feature, all features and the
             distance of what was not seen in spacings.
    """
    return {
        "right": shape.betti,
        "points": len(scan.points),
        "feature": min(shape.widths, key=shape.widths.__getitem__),
        "widths": {name: width / scan.spacing for name, width in shape.widths.items()},
        "unseen": scan.unseen / scan.spacing,
    }


def is_wide(row: Mapping[str, Any]) -> bool:
    """
    Whether the topology of a row's shape should be found.

    :param row: The row.
    :return: Whether its smallest feature is wide.
    """
    return min(row["widths"].values()) > WIDE + NOISY * row["noise"]


def is_right(row: Mapping[str, Any], betti: str = "betti") -> bool:
    """
    Whether the topology of a row's mesh is that of its shape.

    :param row: The row.
    :param betti: The name of its Betti numbers.
    :return: Whether they are the right ones.
    """
    return betti in row and list(row[betti]) == list(row["right"])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """
    The results in Markdown: of each family, each kind of scan and each method how many of the wide shapes are right,
    how many of all, how many of all without crumbs, and the mean Chamfer distance.

    :param rows: The rows.
    :return: A table.
    """
    names = list(dict.fromkeys(row["method"] for row in rows))
    lines = ["| shapes | " + " | ".join(f"{name}: wide, all, no crumbs, Chamfer" for name in names) + " |"]
    lines.append("|---" * (1 + len(names)) + "|")
    groups = {
        row[key]: [other for other in rows if other[key] == row[key]] for key in ("family", "scan") for row in rows
    }
    for group, members in {**groups, "all": rows}.items():
        cells = [_cell([row for row in members if row["method"] == name]) for name in names]
        lines.append(f"| {group} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(rows: Sequence[Mapping[str, Any]]) -> str:
    """A method's part of a line."""
    wide = [row for row in rows if is_wide(row)]
    clean = sum(is_right(row, "betti_without_crumbs") for row in rows)
    distances = [row["chamfer"] for row in rows if "chamfer" in row]
    mean = f"{np.mean(distances):.2f}" if distances else "-"
    return (
        f"{sum(map(is_right, wide))}/{len(wide)}, {sum(map(is_right, rows))}/{len(rows)}, {clean}/{len(rows)}, {mean}"
    )


def failures(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """
    What went wrong.

    :param rows: The rows.
    :return: A line for each one that is not right.
    """
    lines = []
    for row in rows:
        if is_right(row):
            continue
        what = row.get("failed") or f"{tuple(row['betti'])} instead of {tuple(row['right'])}"
        width = f"{row['feature']} {row['widths'][row['feature']]:.1f}"
        known = (
            f"{'wide, ' if is_wide(row) else ''}{width}, unseen {row['unseen']:.1f} spacings, {row['points']} points"
        )
        lines.append(
            f"{row['method']}, {row['family']} {row['seed']}, {row['scan']}, noise {row['noise']}: {what}; {known}"
        )
    return lines


def mesh_path(folder: Path, row: Mapping[str, Any]) -> Path:
    """
    Where a row's mesh is kept.

    :param folder: The folder.
    :param row: The row.
    :return: The file.
    """
    return folder / f"{'-'.join(str(row[key]) for key in KEYS).replace(' ', '_')}.ply"


def draw(path: Path, families: Sequence[str], names: Sequence[str], key: Mapping[str, Any], folder: Path) -> None:
    """
    Draw of each family a scan, what was made of it, and the surface.

    :param path: The picture, PNG.
    :param families: The families.
    :param names: The methods; those without a mesh are left out.
    :param key: Seed, scan and noise.
    :param folder: Where the meshes are.
    """
    shown = []
    for family in families:
        scan = scanned(made(family, key["seed"]), key["scan"], key["noise"], key["seed"])
        files = {name: mesh_path(folder, {**key, "family": family, "method": name}) for name in names}
        meshes = {name: trimesh.load_mesh(file) for name, file in files.items() if file.exists()}
        shown.append(pictures_of(family, scan, meshes))
    draw_pictures(path, shown)


def draw_pictures(path: Path, shown: Sequence[Mapping[str, NDArray[np.float64]]]) -> None:
    """
    Draw pictures by their titles, those of a shape beside each other.

    :param path: The picture, PNG.
    :param shown: The pictures of each shape.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(map(len, shown))
    height = -(-len(shown) // BLOCKS)
    figure = Figure(figsize=(1.5 * columns * BLOCKS, 1.7 * height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for place, pictures in enumerate(shown):
        row, block = divmod(place, BLOCKS)
        for column, (title, picture) in enumerate(pictures.items()):
            axes = figure.add_subplot(height, columns * BLOCKS, (row * BLOCKS + block) * columns + column + 1)
            axes.imshow(picture, origin="lower")
            axes.set_title(title, fontsize=7, parse_math=False)
            axes.set_axis_off()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def pictures_of(family: str, scan: Scan, meshes: Mapping[str, trimesh.Trimesh]) -> dict[str, NDArray[np.float64]]:
    """
    A scan, the meshes and the surface from one side.

    :param family: The title of the scan.
    :param scan: The scan.
    :param meshes: By their titles.
    :return: The pictures by their titles.
    """
    low, high = scan.reference.bounds
    centre, scale, turn = (low + high) / 2, float(np.linalg.norm(high - low)) / 2, view(*VIEWS[1], high - low)
    pictures = {family: points_picture((scan.points - centre) / scale @ turn.T)}
    for title, mesh in {**meshes, "right": scan.reference}.items():
        vertices = (np.asarray(mesh.vertices) - centre) / scale @ turn.T
        pictures[title] = mesh_picture(vertices, np.asarray(mesh.faces))
    margin = PIXELS // 12
    return {title: picture[margin:-margin, margin:-margin] for title, picture in pictures.items()}


def parsed(parser: argparse.ArgumentParser, argv: list[str] | None, drawn: str) -> argparse.Namespace:
    """
    Add the options of the methods and of what is kept, parse, and get ready to measure.

    :param parser: The parser.
    :param argv: The arguments; None for those of the program.
    :param drawn: What the picture is of.
    :return: What they say.
    """
    parser.add_argument("--qualities", nargs="*", choices=tuple(QUALITIES), default=["draft"])
    parser.add_argument("--meshes", type=Path, metavar="DIR", help="keep the meshes there")
    parser.add_argument("--picture", type=Path, help=f"PNG, {drawn}")
    arguments = parser.parse_args(argv)
    if arguments.picture is not None:
        if arguments.meshes is None:
            parser.error("--picture needs --meshes")
        check_place(arguments.picture)
    if arguments.meshes is not None:
        arguments.meshes.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1)])  # imports seconds of what no fit is to be charged with
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Measure what is missing, print the table and what went wrong, and draw some of it."""
    parser = argparse.ArgumentParser(description="Topology on families of made shapes.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the results, JSON")
    parser.add_argument("--families", nargs="+", choices=tuple(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--scans", nargs="+", choices=SCANS, default=list(SCANS))
    parser.add_argument("--noise", type=float, nargs="+", default=list(NOISES), help="in spacings")
    arguments = parsed(parser, argv, "of the first seed, the last scan and the first noise")
    rows = Rows(arguments.output, {"points": [FEWEST, MOST], "samples": SAMPLES}, keys=KEYS)
    missing: set[str] = set()
    wanted = list(methods(arguments.qualities, 0))
    for seed, noise, family, kind in product(arguments.seeds, arguments.noise, arguments.families, arguments.scans):
        key = {"family": family, "seed": seed, "scan": kind, "noise": noise}
        left = [name for name in wanted if name not in missing and rows.find(**key, method=name) is None]
        if not left:
            continue
        shape = made(family, seed)
        scan = scanned(shape, kind, noise, seed)
        for name in left:
            row = {**key, "method": name, **facts(shape, scan)}
            try:
                found, mesh = measured(methods(arguments.qualities, seed)[name], scan)
            except ImportError as error:
                print(f"{name}: left out: {error}", flush=True)
                missing.add(name)
                continue
            rows.add({**row, **found})
            if arguments.meshes is not None and mesh is not None:
                mesh.export(mesh_path(arguments.meshes, row))
            verdict = "right" if is_right({**row, **found}) else "not right"
            print(f"{family} {seed}, {kind}, noise {noise}, {name}: {verdict}, {found['seconds']:.0f} s", flush=True)
    asked = arguments.families, arguments.seeds, arguments.scans, arguments.noise, wanted
    chosen = [row for row in rows.rows if all(row[name] in some for name, some in zip(KEYS, asked, strict=True))]
    print(table(chosen))
    print("\n".join(failures(chosen)))
    if arguments.picture is not None:
        key = {"seed": arguments.seeds[0], "scan": arguments.scans[-1], "noise": arguments.noise[0]}
        draw(arguments.picture, arguments.families, wanted, key, arguments.meshes)


if __name__ == "__main__":
    main()
