"""`art-levelset evaluate`: what a model withstands, as a table and as a record for the leaderboard."""

from __future__ import annotations

import argparse
import hashlib
import logging
from pathlib import Path

from art_levelset.arguments import Verbs
from art_levelset.cli import output as what_is_printed
from art_levelset.cli.console import PROGRAM, number, print_error
from art_levelset.cli.options import (
    ARCHITECTURES,
    ATTACKS,
    THREAT_MODELS,
    add_data,
    add_seed_and_device,
    in_words,
)
from art_levelset.cli.output import Output
from art_levelset.cli.places import keep_all, outputs
from art_levelset.untrusted import printable

logger = logging.getLogger(__name__)

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
        "art-levelset evaluate --model robust.pth --arch convnet2a --data digits --eps 0.15 --resume work --margins",
        "can be stopped and run again; measures the accuracy for every radius, too",
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
        add_help=False,
    )
    group = parser.add_argument_group("model and data")
    group.add_argument("--model", type=Path, required=True, metavar="FILE", help="weights saved by torch.save")
    group.add_argument(
        "--arch",
        required=True,
        choices=ARCHITECTURES,
        metavar="NAME",
        help=f"the network: {in_words(ARCHITECTURES)}; convnet4a-released has no ReLU between the fully connected "
        "layers, as the paper's authors trained it",
    )
    add_data(group, "x_test and y_test")
    group.add_argument("--nb-examples", type=int, metavar="N", help="evaluate the first N images (default: all)")
    group.add_argument("--name", metavar="NAME", help="the model's name in the record (default: that of its file)")
    group = parser.add_argument_group("attacks")
    group.add_argument(
        "--eps", required=True, metavar="R", help="radius of the ball around an image in [0, 1]: 0.3 or 8/255"
    )
    group.add_argument(
        "--threat-model", choices=THREAT_MODELS, default="Linf", help="norm of the ball (default: %(default)s)"
    )
    group.add_argument(
        "--attacks",
        nargs="+",
        choices=ATTACKS,
        default=["pgd-ce", "pgd-margin"],
        metavar="NAME",
        help="pgd-ce, pgd-margin or pgd-dlr; autoattack, or its versions autoattack-plus, autoattack-rand and, for few "
        "classes or vectors, autoattack-partial; or PGD of another library, {art,advertorch,torchattacks}-pgd-{ce,"
        "margin} (default: pgd-ce pgd-margin)",
    )
    group.add_argument("--eps-step", metavar="S", help="length of a step of PGD (default: 2.5 eps / max-iter)")
    group.add_argument("--max-iter", type=int, default=40, metavar="N", help="steps of PGD (default: %(default)s)")
    group.add_argument("--repeats", type=int, default=1, metavar="N", help="runs of each attack (default: %(default)s)")
    group = parser.add_argument_group("more measurements")
    group.add_argument("--masking", action="store_true", help="check for masked gradients")
    group.add_argument("--margins", action="store_true", help="measure the robust accuracy for every radius")
    group = parser.add_argument_group("the computation")
    group.add_argument(
        "--batch-size", type=int, default=500, metavar="N", help="images attacked at a time (default: %(default)s)"
    )
    add_seed_and_device(group)
    group.add_argument(
        "--resume", type=Path, metavar="DIR", help="keep finished work here, and go on from it when run again"
    )
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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """
    Evaluate, write the record and print the table.

    :param arguments: As :func:`add_parser` declares them.
    :param output: What lets the results out.
    :return: The exit status.
    """
    try:
        with outputs({"--output": arguments.output}, {"--resume": arguments.resume}):
            return _evaluate(arguments, output)
    except KeyboardInterrupt:
        kept = arguments.resume
        raise KeyboardInterrupt(
            "nothing is kept without --resume"
            if kept is None
            else f"the same command goes on from the finished work in {kept}"
        ) from None


def _evaluate(arguments: argparse.Namespace, output: Output) -> int:
    from art_levelset.attacks.memo import Memo
    from art_levelset.core import balls
    from art_levelset.evaluation import IncompleteEvaluation, evaluate
    from art_levelset.evaluation.datasets import load
    from art_levelset.evaluation.record import FORMAT, VERSION, write_record
    from art_levelset.models import load_classifier

    if arguments.margins and arguments.threat_model == "L1":
        raise ValueError("--margins must have a --threat-model Linf or L2, got L1")
    data = load(arguments.data, data_root=arguments.data_root)
    logger.info("%d test images of %s, %d classes", len(data.x), data.name, data.classes)
    count = len(data.x) if arguments.nb_examples is None else arguments.nb_examples
    if not 1 <= count <= len(data.x):
        raise ValueError(f"--nb-examples must be in [1, {len(data.x)}], got {count}")
    shape = data.x.shape[1:]
    model = load_classifier(arguments.arch, arguments.model, input_shape=shape, least_classes=int(data.y.max()) + 1)
    logger.info("read %s, a %s", arguments.model, arguments.arch)
    failed = None
    try:
        report = evaluate(
            model.to(arguments.device),
            data.x[:count],
            data.y[:count],
            arguments.attacks,
            eps=number("--eps", arguments.eps),
            norm=balls.THREAT_MODELS[arguments.threat_model],
            eps_step=None if arguments.eps_step is None else number("--eps-step", arguments.eps_step),
            max_iter=arguments.max_iter,
            masking=arguments.masking,
            margins=arguments.margins,
            repeats=arguments.repeats,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
            memo=Memo(arguments.resume),
            verbose=output.bars,
        )
    except IncompleteEvaluation as error:
        failed, report = error, error.report
    record = report.record(
        name=printable(arguments.name or arguments.model.stem).strip() or "model",
        dataset=data.name,
        architecture=arguments.arch,
        eps=arguments.eps,
        threat_model=arguments.threat_model,
        weights={"sha256": hashlib.sha256(arguments.model.read_bytes()).hexdigest()},
    )
    output.result(report.text())
    keep_all([(arguments.output, lambda path: write_record(record, path))])
    output.wrote(arguments.output)
    output.remark(printable(f"wrote {arguments.output}"))
    contents = {"format": FORMAT, "version": VERSION, **record.model_dump(mode="json")}
    output.document({"record": contents, "failed": None if failed is None else str(failed)})
    if failed is not None:
        print_error(f"{PROGRAM} evaluate", f"the record has no {failed}")
        return 1
    return 0
