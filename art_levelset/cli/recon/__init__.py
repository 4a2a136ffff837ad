"""`art-levelset recon`: surfaces or, with `--curve`, curves from raw point clouds, one scan or several."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from art_levelset.arguments import Group, Parser, Verbs
from art_levelset.cli import output as what_is_printed
from art_levelset.cli.console import PROGRAM
from art_levelset.cli.options import add_seed_and_device, seconds
from art_levelset.cli.output import STDOUT, Output

QUALITIES = {"draft": 100, "standard": 200, "fine": 800}
"""How much work a fit is, and its steps."""

PAPER_STEPS = 5000
RESOLUTION = 256
ALL = "all"

FORMATS = ".asc .conf .csv .e57 .las .laz .npy .npz .obj .off .pcd .ply .pts .stl .txt .xyz .xyzn .xyzrgb"
"""What :func:`art_levelset.recon.io.reading.read_cloud` reads."""

SEVERAL = (
    "Of several scans a failed one does not stop the others; a table comes at the end, and exit status 1 if one "
    "failed. In paths, {stem} stands for the name of the scan without its suffix: files of several scans need it. "
    "Under torchrun every rank has its share of the scans or, with --blocks, of the blocks of each."
)

REJECTED = (
    "Exit status 3 says that a fit was rejected, which misses its points or has the wrong sides or pieces: its files "
    "are written all the same."
)

SURFACE_EXAMPLES = (
    ("art-levelset recon scan.ply", "writes scan.mesh.ply"),
    (
        "art-levelset recon scan.xyz -o part.stl --preview part.png --html part.html",
        "writes a file for printing and two for looking at it",
    ),
    (
        "art-levelset recon survey.csv --columns 3,2,4",
        "of number, northing, easting and elevation takes easting, northing and elevation for x, y and z",
    ),
    (
        "art-levelset recon facade.las --trim 0.05 --faces 20000",
        "leaves open what no point is near, and makes a small file",
    ),
    (
        "art-levelset recon scan.ply --reference truth.ply --heat-map errors.ply --json metrics.json",
        "says and shows how far the mesh is from a known surface",
    ),
    (
        "art-levelset recon street.ply --blocks 16 --resolution 1024",
        "16 networks for a large scene; under torchrun its processes share them",
    ),
    (
        "art-levelset recon a.ply b.ply c.csv --jobs 2 --output-dir meshes --preview meshes/{stem}.png",
        "three scans, two at a time",
    ),
)

CURVE_EXAMPLES = (
    ("art-levelset recon --curve cloud.xyz", "writes cloud.curve.ply"),
    (
        "art-levelset recon --curve cloud.xyz -o knot.obj --csv knot.csv --preview knot.png",
        "writes the lines, a table of their vertices and a picture",
    ),
    (
        "art-levelset recon --curve wire.las --closed --json metrics.json",
        "closes every piece over whatever gap, and says how long it is",
    ),
    (
        "art-levelset recon --curve a.xyz b.xyz c.csv --jobs 2 --output-dir curves --preview curves/{stem}.png",
        "three scans, two at a time",
    ),
)


def add_parser(verbs: Verbs, *, curve: bool = False) -> None:
    """
    Declare the verb and its arguments.

    :param verbs: The verbs of the command line.
    :param curve: Whether to declare the options of curves rather than those of surfaces.
    """
    what = "curves from raw, unordered point clouds" if curve else "surfaces from raw, unoriented point clouds"
    name = f"{PROGRAM} recon --curve" if curve else f"{PROGRAM} recon"
    parser = verbs.add_parser(
        "recon",
        prog=name,
        help="reconstruct surfaces or, with --curve, curves from raw point clouds",
        description=f"Reconstruct {what}, one scan or several (eq. 13).",
        examples=CURVE_EXAMPLES if curve else SURFACE_EXAMPLES,
        remarks=f"{SEVERAL} {REJECTED}",
        intermixed=True,
        add_help=False,
    )
    scans = parser.add_argument_group("scans")
    scans.add_argument(
        "scans",
        type=Path,
        nargs="+",
        metavar="SCAN",
        help=f"point clouds: {FORMATS}, each but .conf also packed as .gz; a folder of scans with a .conf file, "
        "which says where they belong",
    )
    scans.add_argument(
        "--columns",
        metavar="X,Y,Z",
        help="which columns of the scans are x, y and z, by their numbers, counted from 1, or their names: 3,2,4 for "
        "number, northing, easting, elevation; easting,northing,elevation",
    )
    scans.add_argument(
        "--curve",
        action="store_true",
        help="reconstruct curves" if curve else "reconstruct curves instead (options: --curve --help)",
    )
    if curve:
        _add_curve_options(parser)
    else:
        _add_surface_options(parser, scans)
    _add_execution(parser)
    what_is_printed.add_options(parser, "settings, seconds and metrics")
    parser.set_defaults(run=run)


def wants_curves(argv: Sequence[str]) -> bool:
    """
    Whether a command line has `--curve`, on which it depends what the other options are.

    :param argv: The arguments.
    :return: Whether it is there.
    """
    return "--curve" in argv


def run(arguments: argparse.Namespace, output: Output) -> int:
    """
    Reconstruct, write the files and print a report.

    :param arguments: As :func:`add_parser` declares them.
    :param output: What lets the results out.
    :return: The exit status: 0, 1 if one of several scans failed, or else 3 if a fit was rejected.
    :raises ValueError: If an argument or the contents of a single file are bad.
    :raises OSError: If a single file cannot be read or written.
    :raises ImportError: If a library is missing.
    """
    from art_levelset.cli.recon import curves, surfaces
    from art_levelset.cli.recon.batch import work_on_all

    options = argparse.Namespace(
        **{name: value for name, value in vars(arguments).items() if name not in ("verb", "run")}
    )
    if options.json == STDOUT:
        options.json = None  # which is not a file of a scan
    if options.curve:
        return work_on_all(options, curves.arguments_of_each, curves.reconstruct_scan, curves.FILES, output)
    if options.quality is None and options.preset == "default":
        options.quality = "standard"
    if options.steps is None and options.time_budget is None:
        options.steps = PAPER_STEPS if options.preset == "paper" else QUALITIES[options.quality]
    each, work, helping = surfaces.arguments_of_each, surfaces.reconstruct_scan, surfaces.help_with_scan
    return work_on_all(options, each, work, surfaces.FILES, output, helping if options.blocks > 1 else None)


def _add_surface_options(parser: Parser, scans: Group) -> None:
    scans.add_argument("--use-normals", action="store_true", help="tell outside from inside by the normals of the file")
    scans.add_argument(
        "--viewpoint",
        type=float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="where the scan was seen from: the ways there are free, which tells outside from inside, and opens what "
        "the view went through",
    )
    scans.add_argument(
        "--use-sensors",
        action="store_true",
        help="the same, with the positions that the file has: the poses of .e57, the VIEWPOINT of .pcd, the array "
        "sensors of .npz",
    )
    group = parser.add_argument_group("the fit")
    group.add_argument(
        "--preset",
        choices=("default", "paper"),
        default="default",
        help="paper: its own network and loss, for hours (default: default)",
    )
    group.add_argument(
        "--quality",
        choices=tuple(QUALITIES),
        help="draft and standard start where the local planes are, and take about half of the time of fine, for a "
        "surface that is nearly as good (default: standard)",
    )
    steps = ", ".join(f"{number} of {name}" for name, number in QUALITIES.items())
    group.add_argument(
        "--steps", type=int, metavar="N", help=f"optimisation steps (default: {steps}, {PAPER_STEPS} of the paper)"
    )
    group.add_argument(
        "--time-budget",
        type=seconds,
        metavar="TIME",
        help="the most time for the fit, such as 60s or 2m, instead of steps; reading the scan, the last corrections "
        "and the mesh add some seconds",
    )
    group.add_argument(
        "--blocks",
        type=int,
        default=1,
        metavar="N",
        help="divide a large scene, and fit a network to each of so many parts; it takes so many times as long, and "
        "wants a finer --resolution (default: 1)",
    )
    group.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="keep the state of the fit there, and go on from it if it is there; removed when all files are written",
    )
    group = parser.add_argument_group("the mesh")
    group.add_argument(
        "--resolution",
        type=int,
        default=RESOLUTION,
        metavar="N",
        help="grid cells along the longest side (default: %(default)s)",
    )
    group.add_argument(
        "--trim",
        type=float,
        metavar="DISTANCE",
        help="cut away what is further from the data, in the scan's units (default: nothing)",
    )
    group.add_argument(
        "--open",
        action="store_true",
        help="a surface where there are data and nothing else; so it is anyway where they are an open sheet, such as "
        "terrain, and there is no --trim",
    )
    group.add_argument(
        "--smooth",
        action="store_true",
        help="round edges, as the network has them (default: sharp ones where faces meet and the points speak for it)",
    )
    group.add_argument(
        "--faces",
        type=_faces,
        metavar="N",
        help="simplify to about so many triangles; all keeps all of them (default: as many as change less than the "
        "noise of the scan does; all for a cloud with colours, which are those of the vertices)",
    )
    group.add_argument(
        "--parts", type=int, metavar="N", help="keep so many connected components, the largest ones (default: all)"
    )
    group = _add_outputs(parser, "MESH", "the mesh, in any format of trimesh", ".mesh.ply")
    group.add_argument("--preview", type=Path, metavar="PNG", help="also draw the cloud and the mesh")
    group.add_argument(
        "--html", type=Path, metavar="HTML", help="a page that shows the mesh, the cloud and the errors in a browser"
    )
    group.add_argument("--reference", type=Path, metavar="MESH", help="also report the distances to this surface")
    group.add_argument(
        "--heat-map", type=Path, metavar="PLY", help="the mesh in the colours of its distances to the reference"
    )
    group.add_argument("--save", type=Path, metavar="FILE", help="the fitted network, for Reconstruction.load")


def _add_curve_options(parser: Parser) -> None:
    ends = parser.add_argument_group("the curves").add_mutually_exclusive_group()
    ends.add_argument("--closed", action="store_const", const=True, help="close every piece, over whatever gap")
    ends.add_argument("--open", dest="closed", action="store_const", const=False, help="leave every piece open")
    group = _add_outputs(parser, "LINES", "the curves, a .ply, .obj or .csv file", ".curve.ply")
    group.add_argument("--csv", type=Path, metavar="CSV", help="also a table: piece, closed, s, x, y, z")
    group.add_argument("--preview", type=Path, metavar="PNG", help="also draw the two surfaces and the curves")
    group.add_argument("--save", type=Path, metavar="FILE", help="the fitted network, for load_curve")


def _faces(text: str) -> int | str:
    """A number of triangles, or all of them."""
    if text == ALL:
        return text
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a number of triangles or {ALL}, got {text!r}") from error


def _add_outputs(parser: Parser, metavar: str, what: str, suffix: str) -> Group:
    """Where results go: the name of one in the help, what it is, and what follows the scan's name."""
    group = parser.add_argument_group("files")
    output = group.add_mutually_exclusive_group()
    output.add_argument("-o", "--output", type=Path, metavar=metavar, help=f"{what} (default: SCAN{suffix})")
    output.add_argument("--output-dir", type=Path, metavar="DIR", help=f"write SCAN{suffix} there; made if missing")
    return group


def _add_execution(parser: Parser) -> None:
    """How the work on the scans is done."""
    group = parser.add_argument_group("the computation")
    add_seed_and_device(group)
    group.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="so many scans at once, each with its share of the threads (default: 1)",
    )
