"""`art-levelset evaluate`: what a model withstands, as a table and as a record for the leaderboard."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from art_levelset.cli.console import PROGRAM, Verbs, number, print_error
from art_levelset.untrusted import printable


def add_parser(verbs: Verbs) -> None:
    """
    Declare the verb and its arguments.

    :param verbs: The verbs of the command line.
    """
    parser = verbs.add_parser(
        "evaluate",
        help="attack a trained model and write the record of what it withstands",
        description="Attacks the test images of a data set, prints the accuracies, and writes them as a record.",
    )
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="weights saved by torch.save")
    parser.add_argument(
        "--arch",
        required=True,
        metavar="NAME",
        help="the network: convnet2a, convnet2b, convnet4a, convnet4a-released (no ReLU between the fully connected "
        "layers, as the paper's authors trained it), convnet4b or resnet18",
    )
    parser.add_argument(
        "--data", required=True, help="an .npz file with x_test and y_test; mnist, fashion_mnist, cifar10 or digits"
    )
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="the folder of torchvision's data sets")
    parser.add_argument("--eps", required=True, help="radius of the ball around an image in [0, 1]: 0.3 or 8/255")
    parser.add_argument(
        "--threat-model", choices=("Linf", "L2", "L1"), default="Linf", help="norm of the ball (default: %(default)s)"
    )
    parser.add_argument(
        "--attacks",
        nargs="+",
        default=["pgd-ce", "pgd-margin"],
        metavar="NAME",
        help="pgd-ce, pgd-margin, pgd-dlr, autoattack, autoattack-plus, autoattack-rand, autoattack-partial (for "
        "few classes or vectors), or PGD of another library: art-pgd-ce, advertorch-pgd-margin, ... "
        "(default: pgd-ce pgd-margin)",
    )
    parser.add_argument("--eps-step", help="length of a step of PGD (default: 2.5 eps / max-iter)")
    parser.add_argument("--max-iter", type=int, default=40, help="steps of PGD (default: %(default)s)")
    parser.add_argument("--nb-examples", type=int, metavar="N", help="evaluate the first N images (default: all)")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each attack (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=500, help="images attacked at a time (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="where to compute: cpu, cuda, cuda:1 (default: %(default)s)")
    parser.add_argument("--masking", action="store_true", help="check for masked gradients as well")
    parser.add_argument("--margins", action="store_true", help="measure the robust accuracy for every radius as well")
    parser.add_argument("--name", help="the model's name in the record (default: the name of its file)")
    parser.add_argument(
        "--resume", type=Path, metavar="DIR", help="keep finished work here, and go on from it when run again"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("record.json"), help="the record to write (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """
    Evaluate, write the record and print the table.

    :param arguments: As :func:`add_parser` declares them.
    :return: The exit status.
    """
    from art_levelset.attacks.memo import Memo
    from art_levelset.core.balls import THREAT_MODELS
    from art_levelset.evaluation import IncompleteEvaluation, evaluate
    from art_levelset.evaluation.datasets import load
    from art_levelset.evaluation.record import write_record
    from art_levelset.files import check_place
    from art_levelset.models import CLASSIFIERS, load_classifier

    check_place(arguments.output)
    if arguments.arch not in CLASSIFIERS:
        raise ValueError(f"--arch must be one of {', '.join(CLASSIFIERS)}, got {arguments.arch!r}")
    data = load(arguments.data, data_root=arguments.data_root)
    count = len(data.x) if arguments.nb_examples is None else arguments.nb_examples
    if not 1 <= count <= len(data.x):
        raise ValueError(f"--nb-examples must be in [1, {len(data.x)}], got {count}")
    shape = data.x.shape[1:]
    model = load_classifier(arguments.arch, arguments.model, input_shape=shape, least_classes=int(data.y.max()) + 1)
    failed = None
    try:
        report = evaluate(
            model.to(arguments.device),
            data.x[:count],
            data.y[:count],
            arguments.attacks,
            eps=number("--eps", arguments.eps),
            norm=THREAT_MODELS[arguments.threat_model],
            eps_step=None if arguments.eps_step is None else number("--eps-step", arguments.eps_step),
            max_iter=arguments.max_iter,
            masking=arguments.masking,
            margins=arguments.margins,
            repeats=arguments.repeats,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
            memo=Memo(arguments.resume),
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
    write_record(record, arguments.output)
    print(report.text())
    print(printable(f"wrote {arguments.output}"))
    if failed is not None:
        print_error(f"{PROGRAM} evaluate", f"the record has no {failed}")
        return 1
    return 0
