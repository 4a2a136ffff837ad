"""`art-levelset demo`: the three jobs on real data, in about three minutes."""

from __future__ import annotations

import argparse
from pathlib import Path

from art_levelset.cli.console import Verbs
from art_levelset.cli.places import outputs


def add_parser(verbs: Verbs) -> None:
    """
    Declare the verb and its arguments.

    :param verbs: The verbs of the command line.
    """
    parser = verbs.add_parser(
        "demo",
        help="train robustly, draw decision boundaries and reconstruct a scan, on data that come along",
        description="Trains a network on handwritten digits plainly and with LevelSetMarginTrainer and attacks both, "
        "draws the paper's Figure 1, and reconstructs a scan. Takes about three minutes on two cores.",
    )
    parser.add_argument(
        "-o",
        "--output-dir",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="where the files go; created when missing (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """
    Run the demonstration and print its table and the files it wrote.

    :param arguments: `output_dir` and `seed`.
    :return: The exit status.
    """
    from art_levelset.experiments import demo

    with outputs({}, {"--output-dir": arguments.output_dir}):
        result = demo.run(arguments.output_dir, seed=arguments.seed)
    print(result.report())
    return 0
