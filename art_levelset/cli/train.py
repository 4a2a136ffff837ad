"""`art-levelset train`: a classifier with controlled level sets, on one process or, started by torchrun, on several."""

from __future__ import annotations

import argparse
import logging
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from art_levelset.arguments import Verbs
from art_levelset.cli import output as what_is_printed
from art_levelset.cli.options import PRESETS, add_data, add_network, add_seed_and_device, in_words, seconds
from art_levelset.cli.output import Output
from art_levelset.cli.places import keep_all, outputs
from art_levelset.cli.python_path import json_arguments
from art_levelset.cli.samples import options_of_test
from art_levelset.cli.train_settings import AUGMENTATIONS, as_document, as_file, norm_of, radius_of, settings_of
from art_levelset.files import beside

if TYPE_CHECKING:
    import torch

    from art_levelset.attacks.protocol import Attack
    from art_levelset.cli.train_settings import Settings
    from art_levelset.cli.trained import Trained
    from art_levelset.trainers import Callback, LoopTrainer

TRAINERS = (
    "levelset",
    "madry",
    "trades",
    "geometric-svm",
    "n-fgsm",
    "fgsm-pgi",
    "madry-awp",
    "trades-awp",
    "mma",
    "nuat",
)
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULERS = ("trapezoid", "cosine", "steps", "constant")
NORMS = ("Linf", "L2")

VALIDATION_STEPS = 20
"""Steps of the attack on validation images."""


logger = logging.getLogger(__name__)

EXAMPLES = (
    (
        "art-levelset train --data digits --arch convnet2a --eps 0.15 -o robust.pth",
        "a first robust network, in a minute; writes its curves to robust.png and prints the command that attacks it",
    ),
    (
        "art-levelset train --preset mnist --data mnist.npz --device cuda --checkpoint-dir run -o mnist.pth",
        "a known run; the same command goes on from the checkpoints when it was stopped",
    ),
    (
        "art-levelset train --trainer trades --data mine.npz --arch resnet18 --eps 8/255 --csv epochs.csv",
        "another trainer, on images of your own",
    ),
    (
        "art-levelset train --arch nets.py:make --arch-args '{\"width\":8}' --data nets.py:training_set --eps 8/255 "
        "--checkpoint-dir run",
        "a network and images of your own: make(width=8) returns a module, training_set() a Dataset",
    ),
    (
        "art-levelset train --config robust.yaml --seed 1 -o again.pth",
        "a run's own settings, which it wrote beside its weights, with another seed",
    ),
    (
        "art-levelset train --trainer geometric-svm --data digits --arch convnet2a -o wide.pth",
        "a wide margin in input space instead of a radius",
    ),
)


def add_parser(verbs: Verbs) -> None:
    """
    Declare the verb and its arguments.

    :param verbs: The verbs of the command line.
    """
    parser = verbs.add_parser(
        "train",
        help="train a classifier that withstands attacks, or for a wide margin",
        usage="art-levelset train (--preset NAME | --data DATA --arch ARCH --eps R) [options]",
        description="Train a network, show what each epoch brings, and write its weights and a picture of the curves.",
        examples=EXAMPLES,
        remarks="With torchrun --nproc-per-node N -m art_levelset train ... N processes share the work.",
        add_help=False,
    )
    group = parser.add_argument_group("data and network")
    group.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a YAML file of these options, such as a run writes beside its weights; options of the command line win",
    )
    presets = list(dict.fromkeys(name for names in PRESETS.values() for name in names))
    group.add_argument(
        "--preset",
        choices=presets,
        metavar="NAME",
        help=f"settings of a known run, which other options change: {in_words(PRESETS['levelset'])}; of geometric-svm: "
        f"{in_words(PRESETS['geometric-svm'])}",
    )
    add_data(group, "x_train and y_train", required=False)
    add_network(group, required=False)
    group = parser.add_argument_group("training")
    group.add_argument(
        "--trainer",
        choices=TRAINERS,
        default=TRAINERS[0],
        metavar="NAME",
        help=f"how to train: {in_words(TRAINERS)} (default: %(default)s); those after geometric-svm are baselines with "
        "the defaults of their papers, and --eps of mma is the margin that is enough",
    )
    group.add_argument(
        "--eps",
        metavar="R",
        help="radius of the ball around an image in [0, 1] that the network shall withstand: 0.3 or 8/255 "
        "(default: the preset's; with another one its training distances and steps change in proportion); "
        "geometric-svm has no radius and only attacks validation images with it",
    )
    group.add_argument(
        "--threat-model",
        choices=NORMS,
        help="norm of the ball, 2 or infinity (default: Linf); of geometric-svm that of the margin as well (default: "
        "L2, or the preset's)",
    )
    group.add_argument("--nb-epochs", type=int, metavar="N", help="passes over the data (default: 20 or the preset's)")
    group.add_argument(
        "--time-budget",
        type=seconds,
        metavar="TIME",
        help="train for this long, such as 20m or 1h30m, in place of a number of epochs, or for --nb-epochs at most",
    )
    group.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="images a step, of all processes (default: 128, 32 for geometric-svm, or the preset's)",
    )
    group.add_argument(
        "--optimizer", choices=OPTIMIZERS, help="default: adam, sgd (Nesterov, 0.9) for geometric-svm, or the preset's"
    )
    group.add_argument(
        "--lr",
        type=float,
        metavar="RATE",
        help="the learning rate, at its peak (default: the preset's; or 0.005 of adam and adamw, 0.1 of sgd, 0.02 for "
        "geometric-svm)",
    )
    group.add_argument(
        "--weight-decay",
        type=float,
        metavar="W",
        help="the optimizer's (default: 0, 0.0001 for geometric-svm, or the preset's)",
    )
    group.add_argument(
        "--scheduler",
        choices=SCHEDULERS,
        help="how the learning rate changes: trapezoid grows, is held and falls; cosine falls; steps divides by ten "
        "after a half and three quarters (default: trapezoid, constant for geometric-svm, or the preset's)",
    )
    group.add_argument("--ema", type=float, metavar="DECAY", help="average the weights with this decay, such as 0.999")
    group.add_argument(
        "--augment",
        choices=AUGMENTATIONS,
        help="random changes of the images (default: crop-flip for cifar10, else none; or the preset's)",
    )
    group.add_argument(
        "--nb-validation",
        type=int,
        metavar="N",
        help="training images to hold out and attack after each epoch (default: a tenth, at most 1000)",
    )
    group.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="stop when the validation accuracy (under attack, with a radius) has not grown for N epochs; keep the "
        "best epoch's weights",
    )
    group = parser.add_argument_group("the computation")
    add_seed_and_device(group)
    group.add_argument("--bf16", action="store_true", help="compute in bfloat16 where precision allows, channels last")
    group.add_argument("--compile", action="store_true", help="compile the network; pays for itself on GPUs")
    group.add_argument(
        "--checkpoint-dir",
        type=Path,
        metavar="DIR",
        help="keep the training's state here, and go on from it when run again",
    )
    group = parser.add_argument_group("files")
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("weights.pth"),
        metavar="FILE",
        help="the weights to write (default: %(default)s)",
    )
    group.add_argument("--plot", type=Path, metavar="FILE", help="the picture (default: the weights' name with .png)")
    group.add_argument("--csv", type=Path, metavar="FILE", help="write the epochs' metrics as a table")
    group.add_argument("--tensorboard", type=Path, metavar="DIR", help="write the epochs' metrics for TensorBoard")
    what_is_printed.add_options(parser, "settings, the metrics of the epochs and the command that evaluates")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """
    Train, write the weights and the picture, and print the command that evaluates them.

    :param arguments: As :func:`add_parser` declares them.
    :param output: What lets the results out.
    :return: The exit status.
    """
    plot = arguments.plot or beside(arguments.output, ".png")
    own = beside(arguments.output, ".yaml")
    files = {"--output": arguments.output, "--plot": plot, "--csv": arguments.csv, "the settings beside it": own}
    folders = {"--checkpoint-dir": arguments.checkpoint_dir, "--tensorboard": arguments.tensorboard}
    try:
        with outputs(files, folders, {"--data": arguments.data}):
            from art_levelset.distributed import process_group

            settings = settings_of(arguments)
            with process_group(_device(arguments.device)) as device:
                _train(arguments, settings, device, plot, own, output)
    except KeyboardInterrupt:
        kept = arguments.checkpoint_dir
        raise KeyboardInterrupt(
            "nothing is kept without --checkpoint-dir"
            if kept is None
            else f"the same command goes on from the checkpoints in {kept}"
        ) from None
    return 0


def _device(name: str) -> torch.device:
    """Where to train; that it is there has been checked."""
    import torch

    device = torch.device(name)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device must be cpu, cuda or cuda:N, got {name!r}")
    return device


def _train(
    arguments: argparse.Namespace, settings: Settings, device: torch.device, plot: Path, own: Path, output: Output
) -> None:
    from art_levelset.cli.epochs import EpochTable, last_epoch
    from art_levelset.cli.trained import read
    from art_levelset.distributed import world
    from art_levelset.evaluation.figures import plot_history
    from art_levelset.files import write_text
    from art_levelset.trainers import EarlyStopping
    from art_levelset.trainers.checkpoints import pack

    given = read(settings.data, settings.architecture, arguments)
    data = given.data
    logger.info("%d training samples of %s, %d classes", len(data.x), data.name, data.classes)
    if settings.augmentation is not None and data.x.ndim != 4:
        raise ValueError(
            f"--augment must be none for samples that are no images (channels, height, width), got {data.x.shape[1:]}"
        )
    rows, held_out = _split(len(data.x), arguments.nb_validation, arguments.seed)
    trainer = _trainer(arguments, settings, device, given)
    scheduler, callbacks = settings.schedule(trainer.classifier.optimizer)
    metric = "validation_accuracy" if settings.eps is None else "validation_robust_accuracy"
    stopping = [] if arguments.patience is None else [EarlyStopping(metric, arguments.patience)]
    trainer.fit(
        data.x[rows],
        data.y[rows],
        validation_data=(data.x[held_out], data.y[held_out]),
        batch_size=settings.batch_size,
        nb_epochs=settings.nb_epochs,
        scheduler=scheduler,
        augmentation=settings.augmentation,
        validation_attack=None if settings.eps is None else _attack(settings.eps, norm_of(arguments)),
        callbacks=[*_budget(arguments), *callbacks, *given.callbacks, *stopping, EpochTable(quiet=output.quiet)],
        checkpoint_dir=arguments.checkpoint_dir,
        csv_file=arguments.csv,
        tensorboard_dir=arguments.tensorboard,
        verbose=output.bars,
    )
    if world().main:
        weights = {name: value.cpu() for name, value in trainer.classifier.model.state_dict().items()}
        title = f"{arguments.preset or arguments.trainer}: {data.name}, {given.architecture}"
        radius = radius_of(arguments, settings.eps)
        title = title if radius is None else f"{title}, ε = {radius}"
        keep_all(
            [
                (arguments.output, lambda path: path.write_bytes(pack(weights))),
                (plot, lambda path: plot_history(trainer.history, path, title=title)),
                (own, lambda path: write_text(as_file(arguments, settings), path)),
            ]
        )
        written = (arguments.output, plot, own, arguments.csv, arguments.tensorboard)
        output.wrote(*(path for path in written if path is not None))
        if output.quiet:
            output.result(last_epoch(trainer.history))
        evaluation, missing = _evaluation(arguments, settings)
        which = f", with {' and '.join(missing)}" if missing else ""
        output.remark(
            f"wrote {arguments.output}, {plot} and {own}; to see what the network withstands{which}:\n{evaluation}"
        )
        output.document(
            {
                "settings": as_document(arguments, settings),
                "history": trainer.history,
                "evaluation": shlex.split(evaluation),
            }
        )


def _split(count: int, nb_validation: int | None, seed: int) -> tuple[Any, Any]:
    """The rows to train on and those to hold out, at random."""
    import numpy as np

    held_out = min(count // 10, 1000) if nb_validation is None else nb_validation
    if not 1 <= held_out < count:
        raise ValueError(f"--nb-validation must be in [1, {count - 1}], got {held_out}")
    if seed < 0:
        raise ValueError(f"--seed must be >= 0, got {seed}")
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _trainer(arguments: argparse.Namespace, settings: Settings, device: torch.device, given: Trained) -> LoopTrainer:
    import torch
    from art.estimators.classification import PyTorchClassifier

    from art_levelset.trainers import (
        Execution,
        FGSMPGITrainer,
        GeometricSVMTrainer,
        LevelSetMarginTrainer,
        MadryAWPTrainer,
        MadryTrainer,
        MMATrainer,
        NFGSMTrainer,
        NuATTrainer,
        TRADESAWPTrainer,
        TRADESTrainer,
    )

    classifier = PyTorchClassifier(
        given.network,
        loss=torch.nn.CrossEntropyLoss(),
        optimizer=settings.optimizer(given.network.parameters()),
        input_shape=given.data.x.shape[1:],
        nb_classes=given.data.classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if device.type == "cuda" else "cpu",
    )
    kinds: tuple[Callable[..., LoopTrainer], ...] = (
        LevelSetMarginTrainer,
        MadryTrainer,
        TRADESTrainer,
        GeometricSVMTrainer,
        NFGSMTrainer,
        FGSMPGITrainer,
        MadryAWPTrainer,
        TRADESAWPTrainer,
        MMATrainer,
        NuATTrainer,
    )
    make = kinds[TRAINERS.index(arguments.trainer)]
    execution = Execution(bf16=arguments.bf16, channels_last=arguments.bf16, compile=arguments.compile)
    options: dict[str, Any] = {**settings.options, "execution": execution}
    if arguments.threat_model == "L2" or (arguments.threat_model and arguments.trainer == "geometric-svm"):
        options["norm"] = norm_of(arguments)
    return make(classifier, seed=arguments.seed, **options)


def _budget(arguments: argparse.Namespace) -> list[Callback]:
    """What ends the training by the clock, if anything."""
    from art_levelset.trainers import TimeBudget

    return [] if arguments.time_budget is None else [TimeBudget(arguments.time_budget)]


def _attack(eps: float, norm: float) -> Attack:
    """That on validation images."""
    from art_levelset.attacks.pgd import decaying_steps, pgd

    steps = decaying_steps(eps, VALIDATION_STEPS)
    return partial(pgd, eps=eps, norm=norm, eps_step=steps, max_iter=VALIDATION_STEPS, loss="margin")


def _evaluation(arguments: argparse.Namespace, settings: Settings) -> tuple[str, list[str]]:
    """The command that evaluates the weights, and what is to be put in the place of words in it."""
    radius = radius_of(arguments, settings.eps)
    data, unknown = options_of_test(settings.data, json_arguments("--data-args", arguments.data_args))
    options: dict[str, Any] = {
        "--model": arguments.output,
        "--arch": settings.architecture,
        "--arch-args": arguments.arch_args,
        **data,
        "--data-root": arguments.data_root,
        "--eps": radius or "EPS",
        "--threat-model": "L2" if arguments.threat_model == "L2" else None,
        "--device": arguments.device,
        "--output": beside(arguments.output, ".json"),
    }
    given = [str(part) for option, value in options.items() if value is not None for part in (option, value)]
    missing = [word for word in (None if radius else "a radius for EPS", unknown) if word is not None]
    return shlex.join(["art-levelset", "evaluate", *given, "--masking"]), missing
