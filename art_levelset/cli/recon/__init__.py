"""`art-levelset recon`: surfaces or, with `--curve`, curves from raw point clouds, one scan or several."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from art_levelset.cli.console import PROGRAM, Parser, Verbs

STEPS = 800
PAPER_STEPS = 5000
CURVE_STEPS = 1000
RESOLUTION = 256

FORMATS = ".asc .csv .las .laz .npy .npz .obj .off .pcd .ply .pts .stl .txt .xyz .xyzn .xyzrgb"
"""What :func:`art_levelset.recon.io.reading.read_cloud` reads."""

SEVERAL = """\
Of several scans a failed one does not stop the others; a table comes at the end, and exit status 1 if one failed.
In paths, {stem} stands for the name of the scan without its suffix: files of several scans need it.
"""

SURFACE_EXAMPLES = f"""examples:
  art-levelset recon scan.ply
      writes scan.mesh.ply
  art-levelset recon scan.xyz -o part.stl --preview part.png --html part.html
      writes a file for printing and two for looking at it
  art-levelset recon survey.csv --columns 3,2,4
      of number, northing, easting and elevation takes easting, northing and elevation for x, y and z
  art-levelset recon facade.las --trim 0.05 --faces 20000
      leaves open what no point is near, and makes a small file
  art-levelset recon scan.ply --reference truth.ply --heat-map errors.ply --json metrics.json
      says and shows how far the mesh is from a known surface
  art-levelset recon a.ply b.ply c.csv --jobs 2 --output-dir meshes --preview meshes/{{stem}}.png
      three scans, two at a time; under torchrun every rank has its share of them

{SEVERAL}"""

CURVE_EXAMPLES = f"""examples:
  art-levelset recon --curve cloud.xyz
      writes cloud.curve.ply
  art-levelset recon --curve cloud.xyz -o knot.obj --csv knot.csv --preview knot.png
      writes the lines, a table of their vertices and a picture
  art-levelset recon --curve wire.las --closed --json metrics.json
      closes every piece over whatever gap, and says how long it is
  art-levelset recon --curve a.xyz b.xyz c.csv --jobs 2 --output-dir curves --preview curves/{{stem}}.png
      three scans, two at a time; under torchrun every rank has its share of them

{SEVERAL}"""


def add_parser(verbs: Verbs, *, curve: bool = False) -> None:
    """
    Declare the verb and its arguments.

    :param verbs: The verbs of the command line.
    :param curve: Whether to declare the options of curves rather than those of surfaces.
    """
    what = "curves from a raw, unordered" if curve else "a surface from a raw, unoriented"
    parser = verbs.add_parser(
        "recon",
        prog=f"{PROGRAM} recon --curve" if curve else None,
        help="reconstruct a surface from a raw point cloud",
        description=f"Reconstruct {what} point cloud (eq. 13).",
        epilog=CURVE_EXAMPLES if curve else SURFACE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.intermixed = True
    other = argparse.SUPPRESS if curve else "reconstruct curves instead (options: --curve --help)"
    parser.add_argument("--curve", action="store_true", help=other)
    if curve:
        _add_curve_options(parser)
    else:
        _add_surface_options(parser)
    _add_execution(parser)
    parser.set_defaults(run=run)


def wants_curves(argv: Sequence[str]) -> bool:
    """
    Whether a command line has `--curve`, on which it depends what the other options are.

    :param argv: The arguments.
    :return: Whether it is there, or an abbreviation of it that is one of no other option.
    """
    return any(len(argument) > len("--c") and "--curve".startswith(argument) for argument in argv)


def run(arguments: argparse.Namespace) -> int:
    """
    Reconstruct, write the files and print a report.

    :param arguments: As :func:`add_parser` declares them.
    :return: The exit status: 0, or 1 if one of several scans failed.
    :raises ValueError: If an argument or the contents of a single file are bad.
    :raises OSError: If a single file cannot be read or written.
    :raises ImportError: If a library is missing.
    """
    from art_levelset.cli.recon import curves, surfaces
    from art_levelset.cli.recon.batch import work_on_all

    options = argparse.Namespace(
        **{name: value for name, value in vars(arguments).items() if name not in ("verb", "run")}
    )
    if options.curve:
        return work_on_all(options, curves.arguments_of_each, curves.reconstruct_scan)
    if options.steps is None and options.time_budget is None:
        options.steps = PAPER_STEPS if options.preset == "paper" else STEPS
    return work_on_all(options, surfaces.arguments_of_each, surfaces.reconstruct_scan)


def _add_surface_options(parser: Parser) -> None:
    _add_scans(parser, "MESH", "in any format of trimesh", ".mesh.ply")
    parser.add_argument("--preview", type=Path, metavar="PNG", help="also draw the cloud and the mesh")
    parser.add_argument("--reference", type=Path, metavar="MESH", help="also report the distances to this surface")
    parser.add_argument(
        "--heat-map", type=Path, metavar="PLY", help="the mesh in the colours of its distances to the reference"
    )
    parser.add_argument("--html", type=Path, help="a page that shows the mesh, the cloud and the errors in a browser")
    parser.add_argument("--json", type=Path, help="settings, seconds and metrics as a file")
    parser.add_argument("--save", type=Path, metavar="FILE", help="the fitted network, for Reconstruction.load")
    parser.add_argument(
        "--trim", type=float, metavar="DISTANCE", help="cut away what is further from the data, in the scan's units"
    )
    parser.add_argument("--faces", type=int, help="simplify to about so many triangles")
    parser.add_argument("--parts", type=int, help="keep so many connected components, the largest ones (default: all)")
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


def _add_curve_options(parser: Parser) -> None:
    _add_scans(parser, "LINES", "a .ply, .obj or .csv file", ".curve.ply")
    parser.add_argument("--csv", type=Path, metavar="CSV", help="also a table: piece, closed, s, x, y, z")
    parser.add_argument("--preview", type=Path, metavar="PNG", help="also draw the two surfaces and the curves")
    parser.add_argument("--json", type=Path, help="settings, seconds and metrics as a file")
    parser.add_argument("--save", type=Path, metavar="FILE", help="the fitted network, for load_curve")
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--closed", action="store_const", const=True, help="close every piece, over whatever gap")
    ends.add_argument("--open", dest="closed", action="store_const", const=False, help="leave every piece open")
    parser.add_argument("--steps", type=int, default=CURVE_STEPS, help="optimisation steps (default: %(default)s)")


def _add_scans(parser: Parser, metavar: str, formats: str, suffix: str) -> None:
    """The scans, and where their results go: the name and formats of a result, and what follows the scan's name."""
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN", help=f"point clouds: {FORMATS}")
    parser.add_argument(
        "--columns",
        metavar="X,Y,Z",
        help="which columns of the scans are x, y and z, by their numbers, counted from 1, or their names: 3,2,4 for "
        "number, northing, easting, elevation; easting,northing,elevation",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("-o", "--output", type=Path, metavar=metavar, help=f"{formats} (default: SCAN{suffix})")
    output.add_argument("--output-dir", type=Path, metavar="DIR", help=f"write SCAN{suffix} there; made if missing")


def _add_execution(parser: Parser) -> None:
    """How the work on the scans is done."""
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="where to compute (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="so many scans at once, each with its share of the threads (default: 1)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


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
