"""
Attacks of Torchattacks. Inputs are images with values in [0, 1].

| Paper link: https://arxiv.org/abs/2010.01950
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from art_levelset.adapters.libraries import (
    REQUESTS,
    MarginLoss,
    accepted_parameters,
    attack_named,
    library,
    loss_named,
    step_length,
)
from art_levelset.attacks.protocol import LibraryAttack
from art_levelset.core.balls import NAMES, check_norm
from art_levelset.core.fields import label_margin

_PGD = {math.inf: "PGD", 2: "PGDL2"}


def from_torchattacks(
    name: str,
    *,
    eps: float,
    norm: float = math.inf,
    batch_size: int = 500,
    seed: int = 0,
    **parameters: Any,
) -> LibraryAttack:
    """
    An attack of Torchattacks.

    :param name: Its class in `torchattacks`, for instance "APGD".
    :param eps: Radius of the ball, >= 0; given to the attack if it has such a parameter, as `norm` and `seed` are.
    :param norm: `math.inf`, 2 or 1.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param parameters: The attack's further parameters, by Torchattacks' names.
    :return: The attack.
    :raises ImportError: If Torchattacks is missing or too old.
    :raises TypeError: If the attack has no parameter of a given name.
    :raises ValueError: If there is no such attack or a number is out of range.
    """
    return _attack(name, _as_it_is, parameters, eps=eps, norm=norm, batch_size=batch_size, seed=seed)


def torchattacks_pgd(
    *,
    eps: float,
    eps_step: float | None = None,
    max_iter: int = 40,
    loss: str = "cross_entropy",
    norm: float = math.inf,
    random_start: bool = True,
    batch_size: int = 500,
    seed: int = 0,
) -> LibraryAttack:
    """
    Torchattacks' PGD or PGDL2. It has no other loss than cross-entropy: for the margin it faces other logits.

    :param eps: Radius of the ball, >= 0.
    :param eps_step: Length of a step, > 0; 2.5 * eps / max_iter by default.
    :param max_iter: Number of steps, >= 1.
    :param loss: "cross_entropy" or "margin".
    :param norm: `math.inf` or 2.
    :param random_start: Whether to start at a random point of the ball rather than at the sample.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of the random starts, >= 0.
    :return: The attack.
    :raises ImportError: If Torchattacks is missing or too old.
    :raises ValueError: If a number is out of range or the loss unknown.
    """
    check_norm(norm, tuple(_PGD))
    steps = {"alpha": step_length(eps, eps_step, max_iter), "steps": max_iter, "random_start": random_start}
    facing = _MarginLogits if isinstance(loss_named(loss), MarginLoss) else _as_it_is
    attack = _attack(_PGD[norm], facing, steps, eps=eps, norm=norm, batch_size=batch_size, seed=seed)
    return replace(attack, parameters={"loss": loss, **steps})


def _attack(
    name: str,
    facing: Callable[[nn.Module, Tensor], nn.Module],
    parameters: Mapping[str, Any],
    *,
    eps: float,
    norm: float,
    batch_size: int,
    seed: int,
) -> LibraryAttack:
    """The attack of that name on the network that `facing` makes of the attacked one and a batch's labels."""
    torchattacks = library("torchattacks", "torchattacks", "3.5.1", silence=[REQUESTS])
    attack_class = attack_named(name, torchattacks, torchattacks.attack.Attack)
    accepted = accepted_parameters(attack_class, parameters)
    shared = {"eps": float(eps), "norm": NAMES.get(norm)}
    given = {**{name: value for name, value in shared.items() if name in accepted}, **parameters}
    told = [name for name in ("seed", "n_classes") if name in accepted and name not in parameters]
    run = partial(_run, attack_class=attack_class, facing=facing, given=given, told=told)
    return LibraryAttack(f"torchattacks.{name}", run, parameters, eps, norm, batch_size=batch_size, seed=seed)


def _run(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    seed: int,
    *,
    attack_class: type[Any],
    facing: Callable[[nn.Module, Tensor], nn.Module],
    given: Mapping[str, Any],
    told: Sequence[str],
) -> Tensor:
    """The library's part of an attack, which is told the seed and the number of classes if it has these parameters."""
    own: dict[str, Any] = {}
    if "seed" in told:
        own["seed"] = seed
    if "n_classes" in told:
        with torch.no_grad():
            own["n_classes"] = network(x[:1]).shape[1]
    attacked: Tensor = attack_class(facing(network, y), **own, **given)(x, y)
    return attacked


def _as_it_is(network: nn.Module, y: Tensor) -> nn.Module:
    return network


class _MarginLogits(nn.Module):
    """
    Logits whose cross-entropy has the gradient of the margin loss, up to a factor that is the same everywhere.

    All are zero; that of the label varies as the margin does. They serve attacks that use nothing but gradients.
    """

    def __init__(self, network: nn.Module, y: Tensor) -> None:
        super().__init__()
        self.training = False
        self.network = network
        self.y = y

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x)
        margin = label_margin(logits, self.y)
        return torch.zeros_like(logits).scatter(1, self.y.unsqueeze(1), (margin - margin.detach()).unsqueeze(1))
