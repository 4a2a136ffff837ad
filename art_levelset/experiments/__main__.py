"""`python -m art_levelset.experiments NAME ...`: the experiments that take longer than the demonstration."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from art_levelset.experiments import (
    batchnorm,
    curvature,
    equal_budget,
    figure1,
    figure2,
    figure3,
    figure_a1,
    figure_a2,
    layers,
    released_weights,
    table1,
    table2,
    transfer_tables,
    universality,
)
from art_levelset.experiments.rows import default_output

EXPERIMENTS: dict[str, Any] = {
    "batchnorm": batchnorm,
    "curvature": curvature,
    "equal-budget": equal_budget,
    "figure1": figure1,
    "figure2": figure2,
    "figure3": figure3,
    "figureA1": figure_a1,
    "figureA2": figure_a2,
    "layers": layers,
    "released-weights": released_weights,
    "table1": table1,
    "table2": table2,
    "tableB3": transfer_tables.B3,
    "tableB4": transfer_tables.B4,
    "universality": universality,
}


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run an experiment.

    :param argv: The arguments; those of the process by default.
    :return: The exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m art_levelset.experiments")
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, experiment in EXPERIMENTS.items():
        summary = (experiment.__doc__ or "").strip().partition("\n")[0]
        experiment.add_parser(names.add_parser(name, help=summary, description=summary))
    arguments = parser.parse_args(argv)
    if getattr(arguments, "fast", False) and arguments.output == default_output(arguments.name):
        arguments.output = default_output(arguments.name, fast=True)
    try:
        print(EXPERIMENTS[arguments.name].run(arguments))
    except (ValueError, OSError, ImportError) as error:
        print(f"{parser.prog} {arguments.name}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
