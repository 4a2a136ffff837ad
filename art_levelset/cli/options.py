"""
The options that several verbs have, and the names that they may be given.

The names are written here once more, so that a help and the completion of a command need no PyTorch; the tests hold
them against those of the package.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path

from art_levelset.arguments import Group

ARCHITECTURES = ("convnet2a", "convnet2b", "convnet4a", "convnet4a-released", "convnet4b", "resnet18")

DATA_SETS = ("digits", "mnist", "fashion_mnist", "cifar10")

THREAT_MODELS = ("Linf", "L2", "L1")

ATTACKS = (
    "pgd-ce",
    "pgd-margin",
    "pgd-dlr",
    "guided",
    "autoattack",
    "autoattack-plus",
    "autoattack-rand",
    "autoattack-partial",
    "art-pgd-ce",
    "art-pgd-margin",
    "advertorch-pgd-ce",
    "advertorch-pgd-margin",
    "torchattacks-pgd-ce",
    "torchattacks-pgd-margin",
    "foolbox-pgd-ce",
    "adv-lib-apgd-ce",
    "adv-lib-apgd-dlr",
    "adv-lib-fmn",
)

PRESETS = {
    "levelset": (
        "mnist",
        "fashion_mnist",
        "cifar10",
        "cifar10-resnet18",
        "paper-mnist",
        "paper-cifar10-convnet4b",
        "paper-cifar10-resnet18",
    ),
    "geometric-svm": ("paper-mnist", "paper-fashion-mnist", "paper-cifar10"),
}
"""Known runs, by trainer."""


_PYTHON_PATH = "as package.module:callable or file.py:callable, which is run"


def add_network(group: Group, *, required: bool = True, zoo: bool = False) -> None:
    """
    Declare which networks a verb takes.

    :param group: What to add the options to.
    :param required: Whether one must be named.
    :param zoo: Whether it may be one of RobustBench's.
    """
    group.add_argument(
        "--arch",
        required=required,
        metavar="ARCH",
        help=f"the network: {in_words(ARCHITECTURES)}; torchvision:NAME{'; robustbench:NAME' if zoo else ''}; or a "
        f"callable of your own that returns a module, {_PYTHON_PATH}. convnet4a-released has no ReLU between the fully "
        "connected layers, as the paper's authors trained it",
    )
    group.add_argument(
        "--arch-args",
        metavar="JSON",
        help='what the callable is called with, as {"width": 8}; or num_classes of torchvision\'s'
        + (", dataset and threat_model of robustbench's" if zoo else ""),
    )


def add_data(group: Group, arrays: str, *, required: bool = True) -> None:
    """
    Declare which images a verb takes.

    :param group: What to add the options to.
    :param arrays: The arrays that a file must have.
    :param required: Whether they must be named.
    """
    group.add_argument(
        "--data",
        required=required,
        metavar="DATA",
        help=f"an .npz file with {arrays}, or {in_words(DATA_SETS)}; torchvision:NAME; imagefolder:DIR; or a callable "
        f"of your own that returns (x, y), a Dataset or a DataLoader, {_PYTHON_PATH}",
    )
    group.add_argument(
        "--data-args",
        metavar="JSON",
        help='what the callable is called with; of torchvision and imagefolder also {"resize": 256, "crop": 224}',
    )
    group.add_argument(
        "--data-root", type=Path, metavar="DIR", help="the folder of torchvision's data sets (mnist, ..., cifar10)"
    )
    group.add_argument("--download", action="store_true", help="fetch what is not in its folder; nothing else ever is")


def add_seed_and_device(group: Group) -> None:
    """
    Declare what a computation depends on besides its inputs.

    :param group: What to add the options to.
    """
    group.add_argument("--seed", type=int, default=0, metavar="N", help="seed of everything random (default: 0)")
    group.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu, cuda or cuda:1, ... (default: cpu)")


def in_words(names: Sequence[str]) -> str:
    """
    Names in a sentence.

    :param names: At least two.
    :return: They, as in "a, b or c".

    >>> in_words(["a", "b", "c"])
    'a, b or c'
    """
    return f"{', '.join(names[:-1])} or {names[-1]}"


def seconds(text: str) -> float:
    """
    A time, as the type of an option.

    :param text: Numbers with the units h, m and s, or of seconds: "90", "20m", "1.5m", "1h30m".
    :return: Seconds, > 0.
    :raises ArgumentTypeError: If it is none.

    >>> seconds("1h30m")
    5400.0
    """
    number = r"(\d+(?:\.\d*)?|\.\d+)"
    found = re.fullmatch(f"(?:{number}h)?(?:{number}m)?(?:{number}s?)?", text)
    parts = found.groups(default="0") if found else ()
    total = sum(float(part) * unit for part, unit in zip(parts, (3600.0, 60.0, 1.0), strict=False))
    if not 0 < total < math.inf:
        raise argparse.ArgumentTypeError(f"must be a time such as 60s, 2m or 1h, got {text!r}")
    return total
