"""`art-levelset merge`: the record of an evaluation that shards have done."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from art_levelset.arguments import Parser, Verbs
from art_levelset.cli import evaluate
from art_levelset.cli.console import PROGRAM, check_device, number
from art_levelset.cli.output import Output
from art_levelset.cli.places import outputs
from art_levelset.cli.processes import marks_of
from art_levelset.cli.python_path import json_arguments

logger = logging.getLogger(__name__)

EXAMPLES = (
    ("art-levelset merge work -o robust.json", "writes the record of the shards that were kept in one folder"),
    ("art-levelset merge node1 node2 node3 -o robust.json", "of shards that were kept in several"),
    ("art-levelset merge work --device cpu --json", "of shards that a GPU has done; prints the record as JSON"),
)

_OF_EACH = {"device", "given", "json", "output", "preset", "quiet", "resume", "shard", "verbose"}
"""In what the command lines of shards may differ; what a preset stands for is compared."""


def add_parser(verbs: Verbs) -> None:
    """
    Declare the verb and its arguments.

    :param verbs: The verbs of the command line.
    """
    parser = verbs.add_parser(
        "merge",
        help="make the record of an evaluation that shards have done",
        description="Write the record that evaluate --shard leaves to do when all shards are finished. The model and "
        "the data are read again, from where the command lines of the shards say, and nothing is attacked.",
        examples=EXAMPLES,
        intermixed=True,
        add_help=False,
    )
    group = parser.add_argument_group("what is merged")
    group.add_argument(
        "folders", type=Path, nargs="+", metavar="DIR", help="the folders of --resume that the shards have kept"
    )
    group.add_argument(
        "--device",
        default=argparse.SUPPRESS,
        metavar="DEVICE",
        help="cpu, cuda or cuda:1, ... (default: that of the shards)",
    )
    evaluate.add_record(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """
    Write the record, and print the table.

    :param arguments: `folders`, `output` and `device`.
    :param output: What lets the results out.
    :return: The exit status.
    """
    with outputs({"--output": arguments.output, "the outcomes beside it": evaluate.beside_of(arguments.output)}):
        from art_levelset.attacks.memo import Memo, Share
        from art_levelset.attacks.work import MissingPieces

        evaluation, size = _evaluation(marks_of(arguments.folders))
        evaluation.output = arguments.output
        evaluation.device = getattr(arguments, "device", evaluation.device)
        check_device(evaluation.device)
        first, *others = arguments.folders
        try:
            return evaluate.evaluated(
                evaluation, output, Memo(first, share=Share(None, size, fixed=True), others=others)
            )
        except MissingPieces as missing:
            hint = "" if missing.found else "; those of other versions of a library or of this program do not count"
            raise ValueError(f"{missing}{hint}") from None


def _evaluation(marks: Mapping[tuple[int, int], Sequence[str]]) -> tuple[argparse.Namespace, int]:
    """What all shards have been asked for, and how many they are."""
    (_, size), *_ = marks
    missing = sorted({*range(1, size + 1)} - {shard for shard, _ in marks})
    if any(of != size for _, of in marks):
        raise ValueError(f"the shards are not those of one evaluation: they are of {sorted({of for _, of in marks})}")
    parsed = {shard: _parsed(given) for (shard, _), given in marks.items()}
    asked = {shard: _asked(one) for shard, one in parsed.items()}
    first, *rest = sorted(asked)
    for other in rest:
        different = sorted(name for name, value in asked[first].items() if asked[other].get(name) != value)
        if different:
            raise ValueError(
                f"the shards are not those of one evaluation: {first} and {other} differ in {', '.join(different)}"
            )
    if missing:
        logger.warning("%d of %d shards are not finished: %s", len(missing), size, ", ".join(map(str, missing)))
    evaluation = parsed[first]
    evaluation.shard = evaluation.resume = None
    evaluation.batch_size = evaluate.batch_size_of(evaluation)
    return evaluation, size


def _asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a shard has been asked for, as values: there are several words for one."""
    asked = {**vars(evaluate.settled(arguments)), "batch_size": evaluate.batch_size_of(arguments)}
    for name, read in (
        ("eps", number),
        ("eps_step", number),
        ("arch_args", json_arguments),
        ("data_args", json_arguments),
    ):
        if asked[name] is not None:
            asked[name] = read(f"--{name.replace('_', '-')}", asked[name])
    return {name: value for name, value in asked.items() if name not in _OF_EACH}


def _parsed(given: Sequence[str]) -> argparse.Namespace:
    parser = Parser(PROGRAM, add_help=False)
    evaluate.add_parser(parser.add_subparsers(dest="verb", required=True, prog=PROGRAM))
    parsed: Any = parser.parse_args(given)
    return argparse.Namespace(**vars(parsed))
