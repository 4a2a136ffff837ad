"""`art-levelset evaluate`: what a model withstands, as a table and as a record for the leaderboard."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from art_levelset.arguments import Parser, Verbs
from art_levelset.cli import output as what_is_printed
from art_levelset.cli import subjects
from art_levelset.cli.console import PROGRAM, number, print_error
from art_levelset.cli.options import ATTACKS, THREAT_MODELS, add_seed_and_device
from art_levelset.cli.output import Output
from art_levelset.cli.places import keep_all, outputs
from art_levelset.cli.processes import (
    add_shard,
    finished_shards,
    leave_mark,
    place_among_ranks,
    shared_memo,
    status_of_rank,
)
from art_levelset.files import beside
from art_levelset.untrusted import printable

if TYPE_CHECKING:
    from art_levelset.attacks.memo import Memo
    from art_levelset.evaluation.record import Record

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "quick": {"attacks": ["guided"]},
    "standard": {"attacks": ["pgd-ce", "pgd-margin", "guided"], "autoattack": "estimate", "masking": True},
    "autoattack": {"attacks": ["guided", "autoattack"], "masking": True},
}
"""What `--preset` stands for."""

MAX_ITER = 40
"""Steps of PGD."""

INTERVAL = 0.005
"""Half the length of the estimate's interval."""

EXAMPLES = (
    (
        "art-levelset evaluate --model robust.pth --arch convnet2a --data digits --eps 0.15",
        "attacks the test images with PGD, prints a table and writes record.json",
    ),
    (
        "art-levelset evaluate --model cifar.pth --arch resnet18 --data cifar10.npz --eps 8/255 "
        "--attacks pgd-margin autoattack --nb-examples 1000 --masking --device cuda -o board/cifar.json",
        "with AutoAttack, and checks whether masked gradients make the model look better than it is",
    ),
    (
        "art-levelset evaluate --arch nets.py:make --arch-args '{\"width\":8}' --model own.safetensors "
        "--data nets.py:test_set --mean 0.5 --std 0.25 --eps 8/255",
        "a network and images of your own: make(width=8) returns a module, test_set() a Dataset",
    ),
    (
        "art-levelset evaluate --model robust.pth --arch convnet2a --data digits --eps 0.15 --resume work --margins",
        "can be stopped and run again; measures the accuracy for every radius, too",
    ),
    (
        "art-levelset evaluate --model mnist.pth --arch convnet4a --data mnist.npz --eps 0.3 --preset quick",
        "with the guided ensemble, in L_inf nearly as strong as AutoAttack at a twenty-fifth of its cost",
    ),
    (
        "art-levelset evaluate --model mnist.pth --arch convnet4a --data mnist.npz --eps 0.3 --preset standard "
        "--interval 0.005 --resume work",
        "estimates AutoAttack's accuracy on all images to half a point, from AutoAttack on a part of them",
    ),
    (
        "art-levelset evaluate --model robust.pth --arch convnet2a --data digits --eps 0.15 --resume work --shard 2/8",
        "does the second of eight shares of the work; art-levelset merge work makes the record of all",
    ),
)


def add_parser(verbs: Verbs) -> None:
    """
    Declare the verb and its arguments.

    :param verbs: The verbs of the command line.
    """
    parser = verbs.add_parser(
        "evaluate",
        help="attack a trained model and write the record of what it withstands",
        description="Attack the test images of a data set, print the accuracies, and write them as a record, which "
        "the leaderboard ranks.",
        examples=EXAMPLES,
        remarks="With torchrun --nproc-per-node N -m art_levelset evaluate ... N processes share the work.",
        add_help=False,
    )
    subjects.add_options(parser)
    group = parser.add_argument_group("attacks")
    group.add_argument("--eps", required=True, metavar="R", help="radius of the ball around a raw input: 0.3 or 8/255")
    group.add_argument(
        "--threat-model", choices=THREAT_MODELS, default="Linf", help="norm of the ball (default: %(default)s)"
    )
    group.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        metavar="NAME",
        help="quick: the guided ensemble; standard: PGD, the guided ensemble, an estimate of AutoAttack and --masking; "
        "autoattack: that, AutoAttack itself and --masking. Other options add to it, --attacks replaces its own",
    )
    group.add_argument(
        "--attacks",
        nargs="+",
        choices=ATTACKS,
        metavar="NAME",
        help="pgd-ce, pgd-margin or pgd-dlr; guided, in Linf nearly as strong as autoattack at 1/25 of its cost; "
        "autoattack, or its versions autoattack-plus, autoattack-rand and, for few classes or vectors, "
        "autoattack-partial; PGD of another library, {art,advertorch,torchattacks}-pgd-{ce,margin} or foolbox-pgd-ce; "
        "or adv-lib-apgd-ce, adv-lib-apgd-dlr or adv-lib-fmn of adv-lib (default: pgd-ce "
        "pgd-margin)",
    )
    group.add_argument("--eps-step", metavar="S", help="length of a step of PGD (default: 2.5 eps / max-iter)")
    group.add_argument("--max-iter", type=int, metavar="N", help=f"steps of PGD (default: {MAX_ITER})")
    group.add_argument("--eot", type=int, metavar="N", help="by PGD, attack the mean of N passes of a random network")
    group.add_argument("--repeats", type=int, default=1, metavar="N", help="runs of each attack (default: %(default)s)")
    group = parser.add_argument_group("more measurements")
    group.add_argument("--masking", action="store_true", help="check for masked gradients")
    group.add_argument("--margins", action="store_true", help="measure the robust accuracy for every radius")
    group.add_argument(
        "--autoattack",
        choices=("estimate",),
        metavar="HOW",
        help="estimate: run standard AutoAttack on some of the images, drawn by how near the boundary they are, and "
        "estimate its accuracy on all of them",
    )
    group.add_argument(
        "--interval",
        type=float,
        metavar="R",
        help=f"half the length that the estimate's 95%% interval should have (default: {INTERVAL}, half a point)",
    )
    group = parser.add_argument_group("the computation")
    group.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="images attacked at a time, which is also what processes share (default: 100 on a CPU, else 500)",
    )
    add_seed_and_device(group)
    group.add_argument(
        "--resume", type=Path, metavar="DIR", help="keep finished work here, and go on from it when run again"
    )
    add_shard(group)
    add_record(parser)
    parser.set_defaults(run=run)


def add_record(parser: Parser) -> None:
    """
    Declare where the record goes, and what else is printed.

    :param parser: The parser of a verb that makes a record.
    """
    group = parser.add_argument_group("files")
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("record.json"),
        metavar="FILE",
        help="the record to write (default: %(default)s)",
    )
    what_is_printed.add_options(parser, "the record")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """
    Evaluate, write the record and print the table.

    :param arguments: As :func:`add_parser` declares them.
    :param output: What lets the results out.
    :return: The exit status.
    """
    try:
        files = {"--output": arguments.output, "the outcomes beside it": beside_of(arguments.output)}
        with (
            outputs(files, {"--resume": arguments.resume}, {"--model": arguments.model, "--data": arguments.data}),
            shared_memo(arguments.resume, arguments.shard) as memo,
        ):
            return status_of_rank(partial(evaluated, arguments, output, memo))
    except KeyboardInterrupt:
        kept = arguments.resume
        raise KeyboardInterrupt(
            "nothing is kept without --resume"
            if kept is None
            else f"the same command goes on from the finished work in {kept}"
        ) from None


def beside_of(record: Path) -> Path | None:
    """
    Where the outcomes go.

    :param record: Where the record goes.
    :return: The file beside it; None where that is a device or a pipe, which have none.
    """
    return beside(record, ".outcomes.npz") if record.is_file() or not record.exists() else None


def evaluated(arguments: argparse.Namespace, output: Output, memo: Memo) -> int:
    """
    Evaluate together with the other processes; the first one writes the record and prints the table.

    :param arguments: As :func:`add_parser` declares them.
    :param output: What lets the results out.
    :param memo: The memory of finished work, with the share of this process.
    :return: The exit status.
    :raises MissingPieces: If this is no shard, and others have not done what they were to do.
    """
    from art_levelset.attacks.work import MissingPieces
    from art_levelset.core import balls
    from art_levelset.evaluation import IncompleteEvaluation, evaluate
    from art_levelset.evaluation.outcomes import write_outcomes
    from art_levelset.evaluation.record import FORMAT, VERSION, write_record

    arguments = settled(arguments)
    if arguments.margins and arguments.threat_model == "L1":
        raise ValueError("--margins must have a --threat-model Linf or L2, got L1")
    if arguments.autoattack and arguments.shard is not None:
        raise ValueError(
            "--autoattack cannot be estimated by a --shard, as it draws from what all of them find: run them without "
            "it, and then the same command with it and without --shard"
        )
    given = subjects.read(arguments)
    failed, report, rank = None, None, place_among_ranks()[0]
    try:
        report = evaluate(
            given.network,
            given.data.x,
            given.data.y,
            subjects.attacks_of(arguments, given),
            eps=number("--eps", arguments.eps),
            norm=balls.THREAT_MODELS[arguments.threat_model],
            clip_values=given.clip_values,
            eps_step=None if arguments.eps_step is None else number("--eps-step", arguments.eps_step),
            max_iter=arguments.max_iter,
            masking=arguments.masking,
            margins=arguments.margins,
            autoattack=arguments.autoattack,
            interval=arguments.interval,
            repeats=arguments.repeats,
            batch_size=batch_size_of(arguments),
            seed=arguments.seed,
            memo=memo,
            announce=None if rank or output.quiet or memo.share.fixed else lambda cost: output.remark(cost.text()),
            verbose=output.bars and rank == 0,
        )
    except IncompleteEvaluation as error:
        failed, report = error, error.report
    except MissingPieces:
        if arguments.shard is None:
            raise
    if arguments.shard is not None and failed is None:
        return _end_of_shard(arguments, output, memo)
    if report is None or rank != 0:
        return 0
    outcomes = beside_of(arguments.output)
    record = report.record(
        **given.about,
        eps=arguments.eps,
        threat_model=arguments.threat_model,
        outcomes_file=None if outcomes is None else outcomes.name,
    )
    output.result(f"{report.text()}\n\n{_closing(record)}")
    found = report.outcomes()
    files = [] if outcomes is None else [(outcomes, lambda path: write_outcomes(found, path))]
    keep_all([*files, (arguments.output, lambda path: write_record(record, path))])
    output.wrote(arguments.output)
    if outcomes is not None:
        output.wrote(outcomes)
    output.remark(printable(f"wrote {arguments.output}"))
    contents = {"format": FORMAT, "version": VERSION, **record.model_dump(mode="json")}
    output.document({"record": contents, "failed": None if failed is None else str(failed)})
    if failed is not None:
        print_error(f"{PROGRAM} evaluate", f"the record has no {failed}")
        return 1
    return 0


def settled(arguments: argparse.Namespace) -> argparse.Namespace:
    """
    The arguments with what the preset stands for, and the defaults of those that something must listen to.

    :param arguments: As :func:`add_parser` declares them.
    :return: Other ones.
    :raises ValueError: If nothing listens to one that is given.
    """
    preset = PRESETS.get(arguments.preset, {})
    found = argparse.Namespace(**vars(arguments))
    found.attacks = arguments.attacks or preset.get("attacks", ["pgd-ce", "pgd-margin"])
    found.autoattack = arguments.autoattack or preset.get("autoattack")
    found.masking = arguments.masking or preset.get("masking", False)
    if arguments.interval is not None and not found.autoattack:
        raise ValueError("--interval is for --autoattack estimate, which is not asked for")
    if arguments.attacks:
        _check_steps(found)
    found.max_iter = MAX_ITER if arguments.max_iter is None else arguments.max_iter
    found.interval = INTERVAL if arguments.interval is None else arguments.interval
    return found


def _check_steps(arguments: argparse.Namespace) -> None:
    """Refuse numbers of PGD where nothing makes its steps; attacks of adv-lib have their own lengths."""
    others = [name for name in arguments.attacks if name.startswith("adv-lib")]
    takes_lengths = arguments.masking or any("pgd" in name.split("-") for name in arguments.attacks)
    for option, value, is_used in (
        ("--eps-step", arguments.eps_step, takes_lengths),
        ("--max-iter", arguments.max_iter, takes_lengths or arguments.margins or others),
    ):
        if value is not None and not is_used:
            raise ValueError(f"{option} is for PGD, which is not among --attacks {' '.join(arguments.attacks)}")


def _closing(record: Record) -> str:
    """The evaluation in a sentence, what to doubt, and what to do next."""
    from art_levelset.evaluation.verdict import doubts, next_step, verdict

    lines = [verdict(record), *(f"  but {doubt}" for doubt in doubts(record))]
    more = next_step(record)
    lines += [] if more is None else [f"  next: the same command with {more}"]
    return "\n".join(map(printable, lines))


def batch_size_of(arguments: argparse.Namespace) -> int:
    """
    How many images are attacked at a time, whatever the number of processes.

    Small batches are no slower on a CPU, and can be shared evenly; a GPU needs large ones.

    :param arguments: As :func:`add_parser` declares them.
    :return: The number.
    """
    if arguments.batch_size is not None:
        return int(arguments.batch_size)
    return 100 if arguments.device == "cpu" else 500


def _end_of_shard(arguments: argparse.Namespace, output: Output, memo: Memo) -> int:
    number, count = arguments.shard
    leave_mark(arguments.resume, arguments.shard, arguments.given)
    pieces = memo.found[number - 1]
    output.result(printable(f"shard {number} of {count} is finished: {pieces} pieces of work in {arguments.resume}"))
    output.remark(printable(f"when all are, the record is made by: {finished_shards(arguments)}"))
    output.document({"shard": number, "of": count, "pieces": pieces})
    return 0
