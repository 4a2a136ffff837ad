"""`python -m art_levelset.recon scan.ply`: a raw point cloud in, a mesh out; or several of them."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from art_levelset.cli.console import PROGRAM, SEVERAL, Parser, add_execution, add_scans, exit_status

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

{SEVERAL}"""


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
    add_scans(parser, "MESH", "in any format of trimesh", ".mesh.ply")
    parser.add_argument("--curve", action="store_true", help="reconstruct curves instead (options: --curve --help)")
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
    parser.add_argument(
        "--time-budget",
        type=_seconds,
        metavar="TIME",
        help="the most time for the fit, such as 60s or 2m, instead of steps; reading the scan, the last corrections "
        "and the mesh add some seconds",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="keep the state of the fit there, and go on from it if it is there; removed when all files are written",
    )
    parser.add_argument(
        "--use-normals", action="store_true", help="tell outside from inside by the normals of the file"
    )
    add_execution(parser)
    return parser


def _seconds(text: str) -> float:
    """A time such as 90, 90s, 1.5m or 1h."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be a time such as 60s, 2m or 1h, got {text!r}")
    return seconds


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: The arguments; those of the process by default.
    :return: The exit status: 0; 1 if one of several scans failed; 2 after bad input, which one line on stderr names;
             130 after an interrupt.
    """
    given = sys.argv[1:] if argv is None else argv
    if "--curve" in given:
        from art_levelset.cli.recon.curves import main as reconstruct_curves

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
    from art_levelset.cli.recon.command import work_on_all
    from art_levelset.cli.recon.surface_scan import arguments_of_each, reconstruct_scan

    if arguments.steps is None and arguments.time_budget is None:
        arguments.steps = PAPER_STEPS if arguments.preset == "paper" else STEPS
    return work_on_all(arguments, arguments_of_each, reconstruct_scan)


if __name__ == "__main__":
    sys.exit(main())
