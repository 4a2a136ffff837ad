"""`python -m art_levelset.recon scan.ply`: a raw point cloud in, a mesh out; or several of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from art_levelset.recon.console import FORMATS, PROGRAM, Parser, check_device, exit_status, print_error

STEPS = 800
PAPER_STEPS = 5000
RESOLUTION = 256

EXAMPLES = f"""examples:
  {PROGRAM} scan.ply
      writes scan.mesh.ply
  {PROGRAM} scan.xyz -o part.stl --preview part.png --html part.html
      writes a file for printing and two for looking at it
  {PROGRAM} facade.las --trim 0.05 --faces 20000
      leaves open what no point is near, and makes a small file
  {PROGRAM} scan.ply --reference truth.ply --heat-map errors.ply --json figures.json
      says and shows how far the mesh is from a known surface
  {PROGRAM} a.ply b.ply c.csv --jobs 2 --output-dir meshes --preview meshes/{{stem}}.png
      three scans, two at a time; under torchrun every rank has its share of them

Of several scans a failed one does not stop the others; a table comes at the end, and exit status 1 if one failed.
In paths, {{stem}} stands for the name of the scan without its suffix: files of several scans need it.
"""


def build_parser() -> argparse.ArgumentParser:
    """
    Build the parser.

    :return: The parser.
    """
    parser = Parser(
        prog=PROGRAM,
        description="Reconstruct a surface from a raw, unoriented point cloud (eq. 13).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN", help=f"point clouds: {FORMATS}")
    parser.add_argument("--curve", action="store_true", help="reconstruct curves instead (options: --curve --help)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "-o", "--output", type=Path, metavar="MESH", help="in any format of trimesh (default: SCAN.mesh.ply)"
    )
    output.add_argument("--output-dir", type=Path, metavar="DIR", help="write SCAN.mesh.ply there; made if missing")
    parser.add_argument("--preview", type=Path, metavar="PNG", help="also draw the cloud and the mesh")
    parser.add_argument("--reference", type=Path, metavar="MESH", help="also report the distances to this surface")
    parser.add_argument(
        "--heat-map", type=Path, metavar="PLY", help="the mesh in the colours of its distances to the reference"
    )
    parser.add_argument("--html", type=Path, help="a page that shows the mesh, the cloud and the errors in a browser")
    parser.add_argument("--json", type=Path, help="settings, seconds and figures as a file")
    parser.add_argument("--save", type=Path, metavar="FILE", help="the fitted network, for Reconstruction.load")
    parser.add_argument(
        "--trim", type=float, metavar="DISTANCE", help="cut away what is further from the data, in the scan's units"
    )
    parser.add_argument("--faces", type=int, help="simplify to about so many triangles")
    parser.add_argument("--parts", type=int, help="keep so many connected parts, the largest (default: all supported)")
    parser.add_argument(
        "--resolution", type=int, default=RESOLUTION, help="grid cells along the longest side (default: %(default)s)"
    )
    parser.add_argument(
        "--preset", choices=("default", "paper"), default="default", help="paper: its own network and loss, for hours"
    )
    parser.add_argument("--steps", type=int, help=f"optimisation steps (default: {STEPS}; of the paper: {PAPER_STEPS})")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="where to compute (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="so many scans at once, each with its share of the threads (default: 1)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: The arguments; those of the process by default.
    :return: The exit status: 0; 1 if one of several scans failed; 2 after bad input, which one line on stderr names;
             130 after an interrupt.
    """
    given = sys.argv[1:] if argv is None else argv
    if "--curve" in given:
        from art_levelset.recon.curves.__main__ import main as reconstruct_curves

        return reconstruct_curves([argument for argument in given if argument != "--curve"])
    return exit_status(partial(run, build_parser().parse_intermixed_args(argv)))


def run(arguments: argparse.Namespace) -> int:
    """
    Reconstruct, write the files and print a report.

    :param arguments: What the parser returns.
    :return: The exit status: 0, or 1 if one of several scans failed.
    :raises ValueError: If an argument or the contents of a single file are bad.
    :raises OSError: If a single file cannot be read or written.
    :raises ImportError: If a library is missing.
    """
    from art_levelset.recon.batch import outcomes, place_among_ranks, summary, wait_for_ranks
    from art_levelset.recon.scan import arguments_of_each, reconstruct_scan

    if arguments.steps is None:
        arguments.steps = PAPER_STEPS if arguments.preset == "paper" else STEPS
    if arguments.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {arguments.jobs}")
    check_device(arguments.device)
    rank, size = place_among_ranks()
    jobs = arguments_of_each(arguments)
    if len(jobs) == 1 and size == 1:
        print(*reconstruct_scan(jobs[0]).lines(), sep="\n")
        return 0
    share = jobs[rank::size]
    for job in share:
        job.quiet |= size > 1 or arguments.jobs > 1  # bars of several processes overwrite each other
    ends = []
    for end in outcomes(share, reconstruct_scan, arguments.jobs):
        ends.append(end)
        print(f"[{len(ends)} of {len(share)}] {end}", flush=True)
    if ends:
        print(*summary(ends), sep="\n", flush=True)
    failed = [end for end in ends if end.result is None]
    for end in failed:
        print_error(end.error if str(end.scan) in end.error else f"{end.scan}: {end.error}")
    wait_for_ranks()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
