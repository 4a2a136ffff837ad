"""
What is evaluated: the options that name a model and samples, and what they bring, ready to be attacked.

The attacked function is composed of what the options name: preprocessing, the network, and what of its outputs are the
logits (:mod:`art_levelset.attacks.wrappers`); in Python the same modules are composed by hand.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from art_levelset.arguments import Parser
from art_levelset.cli.console import number
from art_levelset.cli.networks import module_at, read_network
from art_levelset.cli.options import add_data, add_network
from art_levelset.cli.processes import own_device
from art_levelset.cli.python_path import errors_named, is_python_path, json_arguments, short_name
from art_levelset.cli.samples import is_own_data, read_data
from art_levelset.untrusted import printable

if TYPE_CHECKING:
    from torch import nn

    from art_levelset.attacks.protocol import Attack
    from art_levelset.attacks.wrappers import Adapted
    from art_levelset.evaluation.datasets import Dataset

FOUR_CLASSES = ("autoattack", "autoattack-plus", "autoattack-rand")
"""Attacks that need four classes."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Given:
    """
    A model and samples.

    :param network: From raw samples to logits, where it shall compute.
    :param data: The samples and labels.
    :param clip_values: Smallest and largest valid input.
    :param about: What a record says of them: `name`, `dataset`, `architecture`, `weights` and `footnote`.
    """

    network: nn.Module
    data: Dataset
    clip_values: tuple[float, float]
    about: Mapping[str, Any]


def add_options(parser: Parser) -> None:
    """
    Declare the options that name a model and samples.

    :param parser: The parser of a verb.
    """
    group = parser.add_argument_group("model")
    add_network(group, zoo=True)
    group.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="its weights: a state_dict or checkpoint of torch.save, or a .safetensors file; no code of it is run. Not "
        "needed where a callable of your own loads its own",
    )
    group.add_argument(
        "--model-root", type=Path, metavar="DIR", help="the folder of robustbench's files, DATASET/THREAT_MODEL/NAME.pt"
    )
    group.add_argument(
        "--mean", type=float, nargs="+", metavar="M", help="normalise inputs, by a number or one for each channel"
    )
    group.add_argument("--std", type=float, nargs="+", metavar="S", help="the same: (input - mean) / std")
    group.add_argument(
        "--preprocessing",
        metavar="PATH",
        help="a differentiable module of your own before the network, or a callable that returns one, as file.py:name",
    )
    group.add_argument(
        "--output-key",
        metavar="KEY",
        help="which output are the logits, where there are several: a dictionary's key, a tuple's place, an attribute",
    )
    group.add_argument("--name", metavar="NAME", help="the model's name in the record (default: that of its file)")
    group = parser.add_argument_group("data")
    add_data(group, "x_test and y_test")
    group.add_argument(
        "--clip-values",
        type=float,
        nargs=2,
        metavar=("LO", "HI"),
        help="smallest and largest valid input, of data of your own (default: 0 1)",
    )
    group.add_argument(
        "--nb-examples",
        type=int,
        metavar="N",
        help="evaluate the first N samples, of imagefolder N of all classes (default: all)",
    )


def read(arguments: argparse.Namespace) -> Given:
    """
    What the options name, read and composed.

    :param arguments: As :func:`add_options` declares them, with `attacks`, `device` and `seed`.
    :return: The model and the samples.
    :raises ValueError: If an option is wrong, or the network cannot be judged by the attacks; in one line.
    :raises OSError: If a file cannot be read.
    """
    box = _box(arguments)
    most = arguments.nb_examples
    most = most if most is None or most >= 1 else None  # refused later, with the number of samples
    data = read_data(arguments.data, arguments, most=most)
    logger.info("%d samples of %s, %d classes", len(data.x), data.name, data.classes)
    count = len(data.x) if arguments.nb_examples is None else arguments.nb_examples
    if not 1 <= count <= len(data.x):
        raise ValueError(f"--nb-examples must be in [1, {len(data.x)}], got {count}")
    known = read_network(
        arguments.arch,
        json_arguments("--arch-args", arguments.arch_args),
        arguments.model,
        shape=data.x.shape[1:],
        classes=int(data.y.max()) + 1,
        model_root=arguments.model_root,
        download=arguments.download,
    )
    logger.info("read %s, a %s", known.name, known.architecture)
    network, before = _behind_preprocessing(known.network.to(own_device(arguments.device)), arguments)
    adapted = _adapted(network.to(own_device(arguments.device)), data, arguments)
    for note in adapted.notes:
        logger.warning("%s", note)
    _check_attacks(arguments, adapted, data)
    has_file = known.sha256 or known.notes
    weights = [] if has_file else [f"no file of weights; the network's SHA-256 is {_sha256(network)}"]
    about = {
        "name": printable(arguments.name or known.name).strip() or "model",
        "dataset": printable(data.name),
        "architecture": printable(known.architecture),
        "weights": None if known.sha256 is None else {"sha256": known.sha256},
        "footnote": printable("; ".join([*before, *adapted.notes, *known.notes, *weights])),
    }
    return Given(adapted.network, _first(data, count), box, about)


def attacks_of(arguments: argparse.Namespace, given: Given) -> Mapping[str, Attack] | Sequence[str]:
    """
    The attacks that the options name.

    :param arguments: Those of `evaluate`.
    :param given: What is attacked.
    :return: Their names; or, with `--eot`, the attacks on the mean of several passes.
    :raises ValueError: If an attack cannot be had so.
    """
    names: list[str] = arguments.attacks
    if arguments.eot is None:
        return names
    from art_levelset.adapters.catalogue import attack_by_name
    from art_levelset.attacks.wrappers import AveragedAttack
    from art_levelset.checks import check_count
    from art_levelset.core.balls import THREAT_MODELS

    check_count("--eot", arguments.eot)
    check_count("--max-iter", arguments.max_iter)
    make = partial(
        attack_by_name,
        eps=number("--eps", arguments.eps),
        norm=THREAT_MODELS[arguments.threat_model],
        eps_step=None if arguments.eps_step is None else number("--eps-step", arguments.eps_step),
        max_iter=arguments.max_iter,
        clip_values=given.clip_values,
    )
    for name in names:
        if name.startswith("autoattack"):
            raise ValueError(f"--eot is for PGD, got {name}: autoattack-rand averages gradients by itself")
    return {name: AveragedAttack(make(name), arguments.eot) for name in names}


def _box(arguments: argparse.Namespace) -> tuple[float, float]:
    if arguments.clip_values is None:
        return 0.0, 1.0
    if not is_own_data(arguments.data):
        raise ValueError(
            "--clip-values are for data of your own: images of files lie in [0, 1], and --mean and --std or "
            "--preprocessing bring them to what the network takes"
        )
    low, high = arguments.clip_values
    if not low < high:
        raise ValueError(f"--clip-values must be LO < HI, got {low:g} {high:g}")
    return low, high


def _first(data: Dataset, count: int) -> Dataset:
    from dataclasses import replace

    return replace(data, x=data.x[:count], y=data.y[:count])


def _behind_preprocessing(network: nn.Module, arguments: argparse.Namespace) -> tuple[nn.Module, list[str]]:
    """The network behind what happens to its inputs, and that in words."""
    from torch import nn

    from art_levelset.attacks.wrappers import Normalized

    if (arguments.mean is None) != (arguments.std is None):
        raise ValueError("--mean and --std must be given together")
    if arguments.mean is not None and arguments.preprocessing is not None:
        raise ValueError("--preprocessing must do what --mean and --std do, where it is given")
    if arguments.mean is not None:
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (arguments.mean, arguments.std))
        return Normalized(network, arguments.mean, arguments.std), [f"inputs normalised by mean {mean}, std {std}"]
    if arguments.preprocessing is not None:
        if not is_python_path(arguments.preprocessing):
            raise ValueError(
                "--preprocessing must be a Python path (package.module:callable, file.py:callable), "
                f"got {arguments.preprocessing!r}"
            )
        step = module_at("--preprocessing", arguments.preprocessing, {}).eval()
        return nn.Sequential(step, network).eval(), [f"inputs preprocessed by {short_name(arguments.preprocessing)}"]
    return network, []


def _adapted(network: nn.Module, data: Dataset, arguments: argparse.Namespace) -> Adapted:
    """The network with logits; what its own code raises is one line."""
    import torch

    from art_levelset.attacks.wrappers import LOOKED_AT, adapt

    given: str | None = arguments.output_key
    key = int(given) if given is not None and given.removeprefix("-").isdecimal() else given
    x = torch.from_numpy(data.x[:LOOKED_AT])
    try:
        return adapt(network, x, output_key=key, seed=arguments.seed)
    except Exception as error:
        known = str(error).startswith(("output_key", "model must", "mean and std"))
        if known or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            raise
        with errors_named("--arch", f"the network, given samples of the shape {tuple(data.x.shape[1:])},"):
            raise


def _check_attacks(arguments: argparse.Namespace, adapted: Adapted, data: Dataset) -> None:
    """Refuse what the attacks cannot judge, before the first of them."""
    if (shown := int(data.y.max()) + 1) > adapted.classes:
        option = "--arch" if arguments.model is None else "--model"
        raise ValueError(f"{option} has {adapted.classes} classes, but the labels show {shown}")
    for attack in arguments.attacks:
        if attack in FOUR_CLASSES and adapted.classes < 4:
            raise ValueError(
                f"--attacks: {attack} needs four classes, and the model has {adapted.classes}: autoattack-partial is "
                "what is left of it"
            )
        if attack == "pgd-dlr" and adapted.classes < 3:
            raise ValueError(f"--attacks: pgd-dlr needs three classes, and the model has {adapted.classes}: pgd-margin")
        if attack in FOUR_CLASSES and data.x.ndim != 4:
            raise ValueError(
                f"--attacks: {attack} is for images (channels, height, width), and the samples have the shape "
                f"{tuple(data.x.shape[1:])}: autoattack-partial is what is left of it"
            )
        if adapted.random and attack in ("autoattack", "autoattack-plus", "autoattack-partial"):
            raise ValueError(
                f"--attacks: the model is random, as a second pass gives other logits, and {attack} is for functions: "
                "autoattack-rand averages gradients over passes (EOT), and PGD with --eot"
            )


def _sha256(network: nn.Module) -> str:
    from art_levelset.identity import digest

    return digest(network)
