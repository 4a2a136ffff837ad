"""Optional libraries: import one, find an attack in it by name, and bring what attacks share into the form it takes."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor, nn

from art_levelset.attacks.inputs import ClipValues, box_of
from art_levelset.checks import check_count, check_positive
from art_levelset.core.balls import Box, column
from art_levelset.core.distances import lp_distance
from art_levelset.core.fields import label_margin

REQUESTS = r"urllib3 \(.*\) or chardet \(.*doesn't match a supported version"
"""The warning of the library requests, which others import, about versions that it has not been tested with."""


def library(module: str, extra: str, minimum: str, *, silence: Sequence[str] = (), otherwise: str = "") -> ModuleType:
    """
    Import an optional library.

    :param module: What to import.
    :param extra: The extra of this package that installs it.
    :param minimum: The oldest version that works.
    :param silence: Beginnings (regular expressions) of the warnings that its import is known to give.
    :param otherwise: What else to do where the extra cannot be installed.
    :return: The module.
    :raises ImportError: If it is missing or too old; the message says what to install.
    """
    name = module.split(".")[0]
    remedy = f'pip install "art-levelset[{extra}]"{otherwise}'
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(f"{name} is not installed: {remedy}") from error
    if Version(found) < Version(minimum):
        raise ImportError(f"{name} {found} is too old, {minimum} or newer is needed: {remedy}")
    with warnings.catch_warnings():
        for beginning in silence:
            warnings.filterwarnings("ignore", message=beginning)
        return importlib.import_module(module)


def attack_named(name: str, module: ModuleType, base: type) -> type:
    """
    An attack of a library by its name.

    :param name: The class' name, or another one that the module has for it.
    :param module: Where it is.
    :param base: What all the library's attacks derive from.
    :return: The class.
    :raises ValueError: If there is no such attack; the message names those that there are.
    """
    known = {
        known_as: each
        for known_as, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, base) and not inspect.isabstract(each)
    }
    if name not in known or name == base.__name__:
        names = ", ".join(sorted(set(known) - {base.__name__}))
        raise ValueError(f"name must be one of {names}, got {name!r}")
    return known[name]


def accepted_parameters(
    attack: Callable[..., Any], given: Iterable[str], *, first: int = 1, without: Sequence[str] = ()
) -> list[str]:
    """
    The parameters that an attack takes, after a check of those that it is given.

    :param attack: The attack, a class or function.
    :param given: Names of parameters.
    :param first: How many of its parameters, from the first one (the network), are not for the caller to give, >= 0.
    :param without: Others that are not.
    :return: The names of its other parameters.
    :raises TypeError: If the attack does not take a given one.
    """
    accepted = [name for name in list(inspect.signature(attack).parameters)[first:] if name not in without]
    unknown = [name for name in given if name not in accepted]
    if unknown:
        raise TypeError(f"{attack.__name__} has no parameter {', '.join(unknown)}, but {', '.join(accepted)}")
    return accepted


def step_length(eps: float, eps_step: float | None, max_iter: int) -> float:
    """
    The length of a step of projected gradient descent.

    :param eps: Radius of the ball.
    :param eps_step: The length, or None for the default.
    :param max_iter: Number of steps, >= 1.
    :return: The length; 2.5 * eps / max_iter by default, as in :func:`art_levelset.attacks.pgd.pgd`.
    :raises ValueError: If a number is out of range.
    """
    check_count("max_iter", max_iter)
    if eps_step is None:
        return 2.5 * eps / max_iter
    check_positive("eps_step", eps_step)
    return eps_step


def walls_as_samples(clip_values: ClipValues, x: Tensor) -> Box:
    """
    The box in the form that libraries take.

    :param clip_values: Smallest and largest valid input, numbers or arrays for each feature or channel.
    :param x: Samples, (batch, ...).
    :return: (low, high): floats where the box is the same for all features, else tensors of the shape of a sample.
    """
    low, high = box_of(clip_values, x.shape[1:]) or (-torch.inf, torch.inf)
    if not isinstance(low, Tensor) and not isinstance(high, Tensor):
        return low, high
    first, second = (torch.as_tensor(wall).to(x).expand(x.shape[1:]).contiguous() for wall in (low, high))
    return first, second


def kept_within(points: Tensor, x: Tensor, eps: float, norm: float) -> Tensor:
    """
    What attacks that look for the nearest point found within a ball.

    :param points: Their results, (batch, ...).
    :param x: The samples, the balls' centres, of the same shape.
    :param eps: The radius, >= 0.
    :param norm: The ball's norm.
    :return: The results; the sample where a result lies outside of the ball or is not finite: it says nothing of it.
    """
    within = lp_distance(x, points, norm) <= eps
    return torch.where(column(within, x), points, x)


def loss_named(name: str) -> nn.Module:
    """
    A loss by its name, summed over the batch, so that a sample's gradient does not depend on the others.

    :param name: "cross_entropy" or "margin".
    :return: The loss of logits (batch, classes) and labels (batch,).
    :raises ValueError: If there is none of that name.
    """
    if name == "cross_entropy":
        return nn.CrossEntropyLoss(reduction="sum")
    if name == "margin":
        return MarginLoss()
    raise ValueError(f"loss must be cross_entropy or margin, got {name!r}")


class MarginLoss(nn.Module):
    """The margin loss max_{i != y} f_i - f_y, summed over the batch: the field of eq. 1 with its sign turned."""

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        """
        The loss.

        :param logits: (batch, classes).
        :param y: Labels, (batch,) integers or (batch, classes) one-hot.
        :return: A scalar.
        """
        return -label_margin(logits, y if y.dim() == 1 else y.argmax(dim=1)).sum()
