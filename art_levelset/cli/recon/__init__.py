"""`art-levelset recon`: the same as `python -m art_levelset.recon`, which has all the options."""

from __future__ import annotations

import argparse

from art_levelset.cli import Verbs


def add_parser(verbs: Verbs) -> None:
    """
    Declare the verb; its arguments are passed on as they are.

    :param verbs: The verbs of the command line.
    """
    parser = verbs.add_parser("recon", help="reconstruct a surface from a raw point cloud", add_help=False)
    parser.set_defaults(run=run, rest=[])


def run(arguments: argparse.Namespace) -> int:
    """
    Reconstruct.

    :param arguments: `rest`, the arguments of `python -m art_levelset.recon`.
    :return: The exit status.
    """
    from art_levelset.cli.recon.surfaces import main

    return main(arguments.rest)
