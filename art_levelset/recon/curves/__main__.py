"""`python -m art_levelset.recon --curve cloud.xyz`, or `... recon.curves cloud.xyz`: a raw cloud in, curves out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from art_levelset.recon.console import FORMATS, PROGRAM, Parser, check_device, exit_status
from art_levelset.recon.curves.fit import STEPS, reconstruct_curve
from art_levelset.recon.curves.preview import draw_curve
from art_levelset.recon.curves.result import CurveReconstruction
from art_levelset.recon.curves.writing import SUFFIXES
from art_levelset.recon.files import check_files, write_files
from art_levelset.recon.reading import read_points

FILES = {"output": SUFFIXES, "csv": (".csv",), "preview": (".png",), "save": ()}
"""The options that name files to write, and the suffixes they may have."""


def build_parser() -> argparse.ArgumentParser:
    """
    Build the parser of what follows `--curve`.

    :return: The parser.
    """
    parser = Parser(prog=f"{PROGRAM} --curve", description="Reconstruct curves from a raw, unordered point cloud.")
    parser.add_argument("scan", type=Path, help=f"point cloud: {FORMATS}")
    parser.add_argument("-o", "--output", type=Path, help="the lines, .ply .obj .csv (default: SCAN.curve.ply)")
    parser.add_argument("--csv", type=Path, metavar="CSV", help="also a table: piece, closed, s, x, y, z")
    parser.add_argument("--preview", type=Path, metavar="PNG", help="also draw the two surfaces and the curves")
    parser.add_argument("--save", type=Path, metavar="FILE", help="the fitted network, for load_curve")
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--closed", action="store_const", const=True, help="close every piece, over whatever gap")
    ends.add_argument("--open", dest="closed", action="store_const", const=False, help="leave every piece open")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimisation steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="where to compute (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: The arguments without `--curve`; those of the process by default.
    :return: The exit status: 0, or 2 after bad input, which one line on stderr names, or 130 after an interrupt.
    """
    arguments = build_parser().parse_args(argv)
    return exit_status(partial(run, arguments))


def run(arguments: argparse.Namespace) -> int:
    """
    Reconstruct, write the files and print a report.

    :param arguments: What the parser returns.
    :return: The exit status, 0.
    :raises ValueError: If an argument or the contents of a file are bad.
    :raises OSError: If a file cannot be read or written.
    """
    started = time.perf_counter()
    scan: Path = arguments.scan
    arguments.output = arguments.output or scan.with_name(f"{scan.stem}.curve.ply")
    check_files(arguments, FILES, {scan.resolve(): "the scan itself"})
    check_device(arguments.device)
    points = read_points(scan)
    result = reconstruct_curve(
        points,
        steps=arguments.steps,
        seed=arguments.seed,
        closed=arguments.closed,
        device=arguments.device,
        verbose=not arguments.quiet,
    )
    if not result.pieces:
        raise ValueError("the reconstruction is empty: the network's zero level set is nowhere near the cloud")
    title = f"{scan.name}: {len(points):,} points, length {result.length:.6g}"
    writers: dict[str, Callable[[Path], object]] = {
        "output": result.export,
        "csv": result.export,
        "preview": lambda path: draw_curve(path, result, points, title=title),
        "save": result.save,
    }
    written = write_files(arguments, writers)
    seconds = time.perf_counter() - started
    print(*_report(result), f"Wrote in {seconds:.0f} s:", *(f"  {path}" for path in written), sep="\n")
    return 0


def _report(result: CurveReconstruction) -> list[str]:
    count = len(result.pieces)
    lines = [f"{count} {'piece' if count == 1 else 'pieces'}, length {result.length:.6g}, noise {result.noise:.3g}"]
    for number, piece in enumerate(result.pieces):
        kind = "closed" if piece.closed else "open"
        lines.append(f"  {number}: {kind}, length {piece.length:.6g}, {len(piece)} vertices")
    if len(result.junctions):
        lines.append(f"the zero level set can branch at {len(result.junctions)} points")
    return lines


if __name__ == "__main__":
    sys.exit(main())
