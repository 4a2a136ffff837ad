"""
Attacks of Foolbox, within a ball and for the nearest misclassified point.

| Paper link: https://arxiv.org/abs/1707.04131
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from art_levelset.adapters.libraries import (
    REQUESTS,
    accepted_parameters,
    attack_named,
    kept_within,
    library,
    step_length,
    walls_as_samples,
)
from art_levelset.attacks.inputs import ClipValues
from art_levelset.attacks.protocol import LibraryAttack
from art_levelset.core.balls import NAMES, check_norm

_PGD = {math.inf: "LinfPGD", 2: "L2PGD", 1: "L1PGD"}
_SCIPY = "Please import `gaussian_filter` from the `scipy.ndimage` namespace"
_GIT = "GIT_PYTHON_REFRESH"


def foolbox_library() -> ModuleType:
    """
    Foolbox.

    :return: The module, imported also on a machine without git, which only its zoo of models needs.
    :raises ImportError: If Foolbox is missing or too old.
    """
    with _git_not_asked_for():
        return library("foolbox", "foolbox", "3.3.4", silence=[REQUESTS, _SCIPY])


def from_foolbox(
    name: str,
    *,
    eps: float,
    norm: float = math.inf,
    clip_values: ClipValues = (0.0, 1.0),
    batch_size: int = 500,
    seed: int = 0,
    **parameters: Any,
) -> LibraryAttack:
    """
    An attack of Foolbox. What one that looks for the nearest point finds beyond `eps` counts as nothing found.

    :param name: Its class in `foolbox.attacks`, or its short name there, for instance "LinfPGD" or "L2FMNAttack".
    :param eps: Radius of the ball, >= 0.
    :param norm: `math.inf`, 2 or 1: that of the attack, if it has one of these.
    :param clip_values: Smallest and largest valid input: numbers.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param parameters: The attack's parameters, by Foolbox's names.
    :return: The attack.
    :raises ImportError: If Foolbox is missing or too old.
    :raises TypeError: If the attack has no parameter of a given name.
    :raises ValueError: If there is no such attack, it has another norm, or a number is out of range.
    """
    foolbox = foolbox_library()
    attack_class = attack_named(name, foolbox.attacks, foolbox.attacks.base.AttackWithDistance)
    accepted_parameters(attack_class, parameters, first=0)
    attack = attack_class(**parameters)
    own = getattr(attack.distance, "p", None)
    if own in NAMES and own != norm:
        raise ValueError(f"norm must be {own} for foolbox.{name}, got {norm}")
    within = issubclass(attack_class, foolbox.attacks.base.FixedEpsilonAttack)
    run = partial(
        _run,
        attack_class=attack_class,
        given=parameters,
        eps=float(eps),
        norm=norm,
        clip_values=clip_values,
        within=within,
    )
    return LibraryAttack(
        f"foolbox.{name}", run, parameters, eps, norm, clip_values=clip_values, batch_size=batch_size, seed=seed
    )


def foolbox_pgd(
    *,
    eps: float,
    eps_step: float | None = None,
    max_iter: int = 40,
    norm: float = math.inf,
    clip_values: ClipValues = (0.0, 1.0),
    random_start: bool = True,
    batch_size: int = 500,
    seed: int = 0,
) -> LibraryAttack:
    """
    Foolbox' LinfPGD, L2PGD or L1PGD, which know the cross-entropy only.

    :param eps: Radius of the ball, >= 0.
    :param eps_step: Length of a step, > 0; 2.5 * eps / max_iter by default.
    :param max_iter: Number of steps, >= 1.
    :param norm: `math.inf`, 2 or 1.
    :param clip_values: Smallest and largest valid input: numbers.
    :param random_start: Whether to start at a random point of the ball rather than at the sample.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of the random starts, >= 0.
    :return: The attack.
    :raises ImportError: If Foolbox is missing or too old.
    :raises ValueError: If a number is out of range.
    """
    check_norm(norm, tuple(_PGD))
    return from_foolbox(
        _PGD[norm],
        eps=eps,
        norm=norm,
        clip_values=clip_values,
        batch_size=batch_size,
        seed=seed,
        abs_stepsize=step_length(eps, eps_step, max_iter),
        steps=max_iter,
        random_start=random_start,
    )


def _run(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    seed: int,
    *,
    attack_class: type[Any],
    given: Mapping[str, Any],
    eps: float,
    norm: float,
    clip_values: ClipValues,
    within: bool,
) -> Tensor:
    """The library's part of an attack; `within` tells whether it keeps to the ball by itself."""
    low, high = walls_as_samples(clip_values, x)
    if isinstance(low, Tensor):
        raise ValueError(f"clip_values must be numbers for foolbox.{attack_class.__name__}, which takes no arrays")
    model = foolbox_library().PyTorchModel(network, bounds=(low, high), device=x.device)
    attacked: Tensor
    attacked, clipped, _ = attack_class(**given)(model, x, y, epsilons=eps)
    return clipped if within else kept_within(attacked, x, eps, norm)


@contextmanager
def _git_not_asked_for() -> Iterator[None]:
    """Keep GitPython, which Foolbox imports, from failing where there is no git; the environment stays as it was."""
    if _GIT in os.environ:
        yield
        return
    os.environ[_GIT] = "quiet"
    try:
        yield
    finally:
        del os.environ[_GIT]
