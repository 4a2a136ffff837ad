"""`python -m art_levelset.recon --curve cloud.xyz`, or `... recon.curves cloud.xyz`: raw clouds in, curves out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from art_levelset.cli.console import PROGRAM, SEVERAL, Parser, add_execution, add_scans, exit_status
from art_levelset.cli.recon.command import work_on_all
from art_levelset.cli.recon.curve_scan import arguments_of_each, reconstruct_scan
from art_levelset.recon.curves.fit import STEPS

EXAMPLES = f"""examples:
  {PROGRAM} --curve cloud.xyz
      writes cloud.curve.ply
  {PROGRAM} --curve cloud.xyz -o knot.obj --csv knot.csv --preview knot.png
      writes the lines, a table of their vertices and a picture
  {PROGRAM} --curve wire.las --closed --json figures.json
      closes every piece over whatever gap, and says how long it is
  {PROGRAM} --curve a.xyz b.xyz c.csv --jobs 2 --output-dir curves --preview curves/{{stem}}.png
      three scans, two at a time; under torchrun every rank has its share of them

{SEVERAL}"""


def build_parser() -> argparse.ArgumentParser:
    """
    Build the parser of what follows `--curve`.

    :return: The parser.
    """
    parser = Parser(
        prog=f"{PROGRAM} --curve",
        description="Reconstruct curves from a raw, unordered point cloud (eq. 13).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_scans(parser, "LINES", "a .ply, .obj or .csv file", ".curve.ply")
    parser.add_argument("--csv", type=Path, metavar="CSV", help="also a table: piece, closed, s, x, y, z")
    parser.add_argument("--preview", type=Path, metavar="PNG", help="also draw the two surfaces and the curves")
    parser.add_argument("--json", type=Path, help="settings, seconds and figures as a file")
    parser.add_argument("--save", type=Path, metavar="FILE", help="the fitted network, for load_curve")
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--closed", action="store_const", const=True, help="close every piece, over whatever gap")
    ends.add_argument("--open", dest="closed", action="store_const", const=False, help="leave every piece open")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimisation steps (default: %(default)s)")
    add_execution(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: The arguments without `--curve`; those of the process by default.
    :return: The exit status: 0; 1 if one of several scans failed; 2 after bad input, which one line on stderr names;
             130 after an interrupt.
    """
    arguments = build_parser().parse_intermixed_args(argv)
    return exit_status(partial(work_on_all, arguments, arguments_of_each, reconstruct_scan))


if __name__ == "__main__":
    sys.exit(main())
