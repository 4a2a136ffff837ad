"""
Clouds of many millions of points: all of them, as `recon` uses them, against a random million.

    OMP_NUM_THREADS=1 python benchmarks/millions.py REFERENCE.ply -o millions.json [--points 5 20] [--noise 0.1 0.3 1]

The points are drawn evenly from the reference, with normal noise in percent of the diagonal of its bounding box, and
written to a binary PLY file in a temporary folder, in parts. Of the other way only a random million of them is written.
Both files are reconstructed by the command line in a process of its own. Rows have the seconds of reading and in all,
the most memory that the process ever had, how many points or means stood for the cloud, and the Chamfer distance to the
reference (mean exact distances, both ways), in thousandths of the diagonal. A killed call goes on: runs that the output
file has are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from art_levelset.files import check_place, write_text
from art_levelset.recon.cloud.cells import MOST_POINTS
from art_levelset.recon.inspect.metrics import sample_surface

PART = 500_000
"""So many points are drawn at once."""

WAYS = "all", "a random million"


def write_scan(path: Path, reference: trimesh.Trimesh, count: int, noise: float, share: float) -> None:
    """
    Write points of a surface, or a random part of them.

    :param path: The file, a binary PLY.
    :param reference: The surface.
    :param count: Number of points, a multiple of :data:`PART`.
    :param noise: Its standard deviation, in percent of the diagonal.
    :param share: The part that is written, in (0, 1].
    """
    generator, chooser = np.random.default_rng(0), np.random.default_rng(1)
    deviation = noise / 100 * float(np.linalg.norm(reference.extents))
    kept = round(share * PART)
    header = "ply\nformat binary_little_endian 1.0\nelement vertex {}\n{}end_header\n"
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    with path.open("wb") as file:
        file.write(header.format(count // PART * kept, axes).encode())
        for _ in range(count // PART):
            points = sample_surface(reference, PART, generator)
            points = points + generator.normal(0, deviation, points.shape)
            file.write(points[chooser.permutation(PART)[:kept]].astype("<f4").tobytes())


def measured(scan: Path, reference: Path, quality: str, *options: str) -> dict[str, Any]:
    """
    Reconstruct a scan by the command line.

    :param scan: The file.
    :param reference: The file of the true surface.
    :param quality: How much work it is.
    :param options: Others of the command line.
    :return: The figures of the row.
    """
    report, mesh = scan.with_suffix(".json"), scan.with_name("mesh.ply")
    command = [sys.executable, "-m", "art_levelset", "recon", scan, "--quality", quality, "--reference", reference]
    process = subprocess.Popen([*map(str, command), *options, "--quiet", "-o", str(mesh), "--json", str(report)])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 3):
        raise RuntimeError(f"the command line ended with status {process.returncode}")
    found = json.loads(report.read_text())
    return {
        "used": found["means"] or found["points"],
        "read_seconds": found["seconds"]["read"],
        "seconds": found["seconds"]["total"],
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "peak_megabytes": usage.ru_maxrss / 1024,
        "chamfer": found["relative"]["chamfer_to_surface"],
        "within_95": found["relative"]["within_95"],
        "hausdorff": found["relative"]["hausdorff_to_surface"],
        "normal_consistency": found["distances"]["normal_consistency"],
        "parts": found["mesh"]["parts"],
        "genus": found["mesh"]["genus"],
        "rejected": found["rejected"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """
    The results in Markdown.

    :param rows: The rows.
    :return: A table.
    """
    lines = [
        "| millions of points | noise % | used | seconds of reading | in all | peak MB | Chamfer | parts, genus |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        used = f"{row['way']}: {row['used']:,}"
        seconds = f"{row['read_seconds']:.0f} | {row['seconds']:.0f}"
        end = f"{row['peak_megabytes']:,.0f} | {row['chamfer']:.3f} | {row['parts']}, {row['genus']}"
        lines.append(f"| {row['millions']} | {row['noise']:g} | {used} | {seconds} | {end} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description="Clouds of many millions of points.")
    parser.add_argument("reference", type=Path, help="the true surface")
    parser.add_argument("--points", type=int, nargs="+", default=[5, 20], help="in millions")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.1, 0.3, 1.0], help="in percent of the diagonal")
    parser.add_argument("--quality", default="draft")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the results, JSON")
    arguments = parser.parse_args(argv)
    check_place(arguments.output)
    reference = trimesh.load(arguments.reference, force="mesh")
    settings = {"reference": arguments.reference.stem, "quality": arguments.quality}
    results: dict[str, Any] = {**settings, "rows": []}
    if arguments.output.exists():
        results = json.loads(arguments.output.read_text())
        if {**results, **settings} != results:
            parser.error(f"{arguments.output} has the results of another reference or quality")
    known = {(row["millions"], row["noise"], row["way"]) for row in results["rows"]}
    for millions, noise, way in product(arguments.points, arguments.noise, WAYS):
        if (millions, noise, way) in known:
            continue
        count = 1_000_000 * millions
        with tempfile.TemporaryDirectory() as folder:
            scan = Path(folder) / "scan.ply"
            write_scan(scan, reference, count, noise, 1.0 if way == WAYS[0] else MOST_POINTS / count)
            row = measured(scan, arguments.reference, arguments.quality)
        results["rows"].append({"millions": millions, "noise": noise, "way": way, **row})
        write_text(json.dumps(results, indent=2) + "\n", arguments.output)
        print(table(results["rows"][-1:]).splitlines()[-1], flush=True)
    print(table(results["rows"]))


if __name__ == "__main__":
    main()
