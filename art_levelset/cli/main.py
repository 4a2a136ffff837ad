"""
`art-levelset VERB ...`: finds the verb and runs it; :mod:`art_levelset.cli.console` says what becomes of errors.

A verb is a module with `add_parser(verbs)`, which declares its arguments, and `run(arguments)`, which does the work and
returns the exit status. Status 0 is success, 1 that a part of the work failed, 2 bad input, 130 an interrupt.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from art_levelset import __version__
from art_levelset.checks import check_seed
from art_levelset.cli import demo, evaluate, exact, leaderboard, recon, train
from art_levelset.cli.console import PROGRAM, Parser, check_device, exit_status


def build_parser(*, curve: bool = False) -> Parser:
    """
    Build the parser of the whole command line.

    :param curve: Whether `recon` has the options of curves rather than those of surfaces.
    :return: The parser; parsed arguments have the verb's `run`.
    """
    parser = Parser(prog=PROGRAM, description="Direct control over the level sets of neural networks.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in (demo, train, evaluate, leaderboard, exact):
        verb.add_parser(verbs)
    recon.add_parser(verbs, curve=curve)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: The arguments; those of the process by default.
    :return: The exit status.
    """
    given = sys.argv[1:] if argv is None else argv
    arguments = build_parser(curve=recon.wants_curves(given)).parse_args(given)
    return exit_status(f"{PROGRAM} {arguments.verb}", partial(_run, arguments))


def _run(arguments: argparse.Namespace) -> int:
    """Check what many verbs have, and do the work."""
    if "seed" in arguments:
        check_seed(arguments.seed, "--seed")
    if "device" in arguments:
        check_device(arguments.device)
    status: int = arguments.run(arguments)
    return status
