"""`art-levelset demo`: the three jobs on real data, in about a minute."""

from __future__ import annotations

import argparse
from pathlib import Path

from art_levelset.arguments import Verbs
from art_levelset.cli import output as what_is_printed
from art_levelset.cli.output import Output
from art_levelset.cli.places import outputs

EXAMPLES = (
    ("art-levelset demo", "writes two pictures, a mesh and demo.json to demo-output"),
    ("art-levelset demo --seed 1 -o elsewhere", "the same from other random numbers"),
    ("art-levelset demo --quiet --json", "prints what is in demo.json, and nothing else"),
)


def add_parser(verbs: Verbs) -> None:
    """
    Declare the verb and its arguments.

    :param verbs: The verbs of the command line.
    """
    parser = verbs.add_parser(
        "demo",
        help="train robustly, draw decision boundaries and reconstruct a scan",
        description="Train a network on handwritten digits plainly and with LevelSetMarginTrainer and attack both, "
        "draw the paper's Figure 1, and reconstruct a scan: on data that come along, in about a minute on two "
        "cores.",
        examples=EXAMPLES,
        add_help=False,
    )
    group = parser.add_argument_group("the demonstration")
    group.add_argument(
        "-o",
        "--output-dir",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="where the files go; created when missing (default: %(default)s)",
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="seed of everything random (default: 0)")
    what_is_printed.add_options(parser, "the tables")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """
    Run the demonstration and print its table and the files it wrote.

    :param arguments: `output_dir` and `seed`.
    :param output: What lets the results out.
    :return: The exit status.
    """
    from art_levelset.experiments import demo

    with outputs({}, {"--output-dir": arguments.output_dir}):
        result = demo.run(arguments.output_dir, seed=arguments.seed, verbose=output.bars)
    output.wrote(*result.files)
    output.result(result.tables())
    output.remark(f"\n{result.written()}")
    output.document({**result.metrics, "seconds": result.seconds})
    return 0
