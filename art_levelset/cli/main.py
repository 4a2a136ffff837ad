"""
`art-levelset VERB ...`: finds the verb, runs it and turns errors into one line and an exit status.

A verb is a module with `add_parser(verbs)`, which declares its arguments, and `run(arguments)`, which does the work and
returns the exit status. Status 0 is success, 2 bad input, 130 an interrupt from the keyboard.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from art_levelset import __version__
from art_levelset.cli import demo, evaluate, leaderboard, recon, train

PROGRAM = "art-levelset"


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """
    Build the parser of the whole command line.

    :return: The parser; parsed arguments have the verb's `run`.
    """
    parser = _Parser(prog=PROGRAM, description="Direct control over the level sets of neural networks.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in (demo, train, evaluate, leaderboard, recon):
        verb.add_parser(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: The arguments; those of the process by default.
    :return: The exit status.
    """
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if "rest" in arguments:
        arguments.rest = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        status: int = arguments.run(arguments)
    except KeyboardInterrupt as interrupt:
        print(f"{PROGRAM} {arguments.verb}: {'; '.join(['interrupted', *map(str, interrupt.args)])}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        print(f"{PROGRAM} {arguments.verb}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return status
