"""
Attacks of AdverTorch.

AdverTorch 0.2.3 imports a function that PyTorch has removed: it is supplied while AdverTorch is imported.

| Paper link: https://arxiv.org/abs/1902.07623
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from art_levelset.adapters.libraries import (
    accepted_parameters,
    attack_named,
    library,
    loss_named,
    step_length,
    walls_as_samples,
)
from art_levelset.attacks.inputs import ClipValues
from art_levelset.attacks.protocol import LibraryAttack
from art_levelset.core.balls import check_norm

_PGD = {math.inf: "LinfPGDAttack", 2: "L2PGDAttack", 1: "L1PGDAttack"}


def advertorch_attacks() -> ModuleType:
    """
    The module `advertorch.attacks`.

    :return: The module, imported also under a PyTorch that lacks what it imports.
    :raises ImportError: If AdverTorch is missing or too old.
    """
    with _zero_gradients_supplied():
        return library("advertorch.attacks", "advertorch", "0.2.3")


def from_advertorch(
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
    An attack of AdverTorch.

    :param name: Its class in `advertorch.attacks`, for instance "LinfPGDAttack".
    :param eps: Radius of the ball, >= 0; given to the attack if it has such a parameter.
    :param norm: `math.inf`, 2 or 1; given to the attack as `ord` if it has that parameter.
    :param clip_values: Smallest and largest valid input.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param parameters: The attack's further parameters, by AdverTorch's names.
    :return: The attack.
    :raises ImportError: If AdverTorch is missing or too old.
    :raises TypeError: If the attack has no parameter of a given name.
    :raises ValueError: If there is no such attack or a number is out of range.
    """
    attacks = advertorch_attacks()
    attack_class = attack_named(name, attacks, attacks.Attack)
    accepted = accepted_parameters(attack_class, parameters)
    shared = {"eps": float(eps), "ord": norm}
    given = {parameter: value for parameter, value in shared.items() if parameter in accepted} | parameters
    walls = [parameter for parameter in ("clip_min", "clip_max") if parameter in accepted]
    run = partial(_run, attack_class=attack_class, given=given, walls=walls, clip_values=clip_values)
    return LibraryAttack(
        f"advertorch.{name}", run, parameters, eps, norm, clip_values=clip_values, batch_size=batch_size, seed=seed
    )


def advertorch_pgd(
    *,
    eps: float,
    eps_step: float | None = None,
    max_iter: int = 40,
    loss: str = "cross_entropy",
    norm: float = math.inf,
    clip_values: ClipValues = (0.0, 1.0),
    random_start: bool = True,
    batch_size: int = 500,
    seed: int = 0,
) -> LibraryAttack:
    """
    AdverTorch's LinfPGDAttack, L2PGDAttack or L1PGDAttack.

    :param eps: Radius of the ball, >= 0.
    :param eps_step: Length of a step, > 0; 2.5 * eps / max_iter by default.
    :param max_iter: Number of steps, >= 1.
    :param loss: "cross_entropy" or "margin".
    :param norm: `math.inf`, 2 or 1.
    :param clip_values: Smallest and largest valid input.
    :param random_start: Whether to start at a random point of the ball rather than at the sample.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of the random starts, >= 0.
    :return: The attack.
    :raises ImportError: If AdverTorch is missing or too old.
    :raises ValueError: If a number is out of range or the loss unknown.
    """
    check_norm(norm, tuple(_PGD))
    return from_advertorch(
        _PGD[norm],
        eps=eps,
        eps_iter=step_length(eps, eps_step, max_iter),
        nb_iter=max_iter,
        loss_fn=loss_named(loss),
        norm=norm,
        clip_values=clip_values,
        rand_init=random_start,
        batch_size=batch_size,
        seed=seed,
    )


def _run(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    seed: int,
    *,
    attack_class: type[Any],
    given: Mapping[str, Any],
    walls: Sequence[str],
    clip_values: ClipValues,
) -> Tensor:
    """The library's part of an attack; `walls` are the parameters of the box that it has."""
    low, high = walls_as_samples(clip_values, x)
    box = {name: wall for name, wall in {"clip_min": low, "clip_max": high}.items() if name in walls}
    refused = f"clip_values must be numbers for advertorch.{attack_class.__name__}, which takes no arrays"
    if isinstance(low, Tensor) and len(box) < 2:
        raise ValueError(refused)
    try:
        attacked: Tensor = attack_class(network, **{**box, **given}).perturb(x, y)
    except TypeError as error:
        if isinstance(low, Tensor) and "uniform_" in str(error):  # with which it draws a random start
            raise ValueError(refused) from error
        raise
    return attacked


@contextmanager
def _zero_gradients_supplied() -> Iterator[None]:
    """
    Give `torch.autograd.gradcheck`, where it has none, the function `zero_gradients` that AdverTorch imports.

    AdverTorch keeps the function; the module of PyTorch is left as it was.
    """
    # `import torch.autograd.gradcheck as ...` would give the function of that name, not the module.
    gradcheck = importlib.import_module("torch.autograd.gradcheck")
    if hasattr(gradcheck, "zero_gradients"):
        yield
        return
    gradcheck.zero_gradients = _zero_gradients  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del gradcheck.zero_gradients


def _zero_gradients(x: Tensor) -> None:
    x.grad = None
