"""`python -m art_levelset.experiments NAME ...`: the experiments that take longer than the demonstration."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from art_levelset.arguments import Parser

PROGRAM = "python -m art_levelset.experiments"


class Experiment(NamedTuple):
    """
    What is known of an experiment before its module, and with it PyTorch, is imported.

    :param module: The module in this folder, and its attribute after a colon where it has several experiments;
           either has `add_parser(parser)` and `run(arguments)`, which returns what is printed.
    :param summary: What it finds out.
    :param example: The options of a command.
    :param purpose: What that command does.
    """

    module: str
    summary: str
    example: str
    purpose: str

    def load(self) -> Any:
        """
        Import it.

        :return: The module, or its attribute.
        """
        name, _, attribute = self.module.partition(":")
        module = import_module(f"art_levelset.experiments.{name}")
        return getattr(module, attribute) if attribute else module


FAST = "shows in seconds that all of it works"

EXPERIMENTS: dict[str, Experiment] = {
    "table1": Experiment(
        "table1",
        "attacks on networks trained plainly, by Madry's method, TRADES and level sets",
        "--mnist mnist.npz --seconds 240 --nb-examples 300",
        "the rows of MNIST, each network trained for four minutes of processor time",
    ),
    "table2": Experiment(
        "table2",
        "level sets and charts fitted to scans in the same time",
        "scan.ply surface.ply --seconds 60",
        "compares them on a scan whose surface is known",
    ),
    "tableB3": Experiment(
        "transfer_tables:B3",
        "attacks made on one network and tried on the others, MNIST",
        "--mnist mnist.npz --seconds 240",
        "trains the networks first",
    ),
    "tableB4": Experiment(
        "transfer_tables:B4",
        "attacks made on one network and tried on the others, CIFAR10",
        "--cifar10 cifar10.npz --seconds 60 --nb-examples 200",
        "trains the networks first",
    ),
    "figure1": Experiment(
        "figure1",
        "decision boundaries between 16 points in the plane, trained with four losses",
        "--panels c d --seeds 0",
        "two of the four panels, from one random start",
    ),
    "figure2": Experiment(
        "figure2", "generalisation from small fractions of the data, with four losses", "--data digits --fast", FAST
    ),
    "figure3": Experiment(
        "figure3", "surfaces and curves from raw clouds", "--seconds 60", "the scan of the demonstration"
    ),
    "figureA1": Experiment("figure_a1", "how well projected samples cover a level set", "--fast", FAST),
    "figureA2": Experiment("figure_a2", "how much level sets are like those of a signed distance", "--fast", FAST),
    "universality": Experiment(
        "universality",
        "Theorem 1: how large exact networks of meshes are",
        "--scan mesh.ply",
        "in several sizes",
    ),
    "batchnorm": Experiment(
        "batchnorm",
        "BatchNorm in a level-set trainer, treated in different ways",
        "--data digits --network convnet --seeds 0 -o results/batchnorm",
        "one seed",
    ),
    "curvature": Experiment(
        "curvature",
        "penalties on curvature: noisy scans and decision boundaries",
        "--parts moons --seeds 0",
        "one part",
    ),
    "equal-budget": Experiment(
        "equal_budget",
        "robust trainers at the same processor time",
        "--data-file mnist.npz --seconds 300 --work-dir work -o results/budget.json",
        "five minutes for each network",
    ),
    "layers": Experiment(
        "layers",
        "control of a hidden layer: networks whose robustness can be proved",
        "--seeds 0 -o results/layers/layers.json",
        "one seed",
    ),
    "released-weights": Experiment(
        "released_weights",
        "the MNIST weights that the paper's authors released, evaluated",
        "transfer --weights DIR --data mnist.npz --resume work -o results/released_weights",
        "Table B3 of their networks; goes on from finished work",
    ),
}

EXAMPLES = (
    (f"{PROGRAM} figure2 --data digits --fast", f"the short version of an experiment, which {FAST}"),
    (f"{PROGRAM} table1 --mnist mnist.npz --seconds 240", "writes results/table1/table1.json and prints the table"),
    (f"{PROGRAM} table1 --help", "the options of an experiment"),
)


def build_parser(name: str | None = None) -> Parser:
    """
    Build the parser of all experiments.

    :param name: The experiment that shall have its options, which its module must be imported for.
    :return: The parser.
    """
    parser = Parser(
        PROGRAM,
        description="The paper's tables and figures, and what else was measured. docs/results has what came of them.",
        examples=EXAMPLES,
        add_help=False,
    )
    names = parser.add_subparsers(title="experiments", dest="name", metavar="NAME", required=True, prog=PROGRAM)
    for known, experiment in EXPERIMENTS.items():
        own = names.add_parser(
            known,
            help=experiment.summary,
            description=f"{experiment.summary[0].upper()}{experiment.summary[1:]}.",
            examples=[(f"{PROGRAM} {known} {experiment.example}", experiment.purpose)],
            add_help=False,
        )
        if known == name:
            experiment.load().add_parser(own)
            _add_help(own)
    _add_help(parser)
    return parser


def _add_help(parser: Parser) -> None:
    parser.add_argument("-h", "--help", action="help", help="show this help and exit")


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run an experiment.

    :param argv: The arguments; those of the process by default.
    :return: The exit status.
    """
    given = sys.argv[1:] if argv is None else argv
    parser = build_parser(next((word for word in given if not word.startswith("-")), None))
    arguments = parser.parse_args(given)
    from art_levelset.experiments.rows import default_output

    if getattr(arguments, "fast", False) and arguments.output == default_output(arguments.name):
        arguments.output = default_output(arguments.name, fast=True)
    try:
        print(EXPERIMENTS[arguments.name].load().run(arguments))
    except (ValueError, OSError, ImportError) as error:
        print(f"{parser.prog} {arguments.name}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
