"""
Attacks of adv-lib, most of which look for the nearest misclassified point. Inputs have values in [0, 1].

adv-lib imports visdom, a server for plots that it uses only where a `callback` is given; the adapter gives none. Where
visdom is not installed, an empty module stands in while adv-lib is imported.

| Paper link: https://arxiv.org/abs/2011.11857
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from art_levelset.adapters.libraries import accepted_parameters, kept_within, library
from art_levelset.attacks.protocol import LibraryAttack
from art_levelset.core.balls import NAMES, check_norm

RADIUS = {"apgd": "eps", "apgd_targeted": "eps", "pgd_linf": "ε"}
"""What the attacks within a ball call its radius. All others look for the nearest point."""

NORMS: dict[str, tuple[float, ...]] = {
    "alma": (2, 1),
    "carlini_wagner_l2": (2,),
    "carlini_wagner_linf": (math.inf,),
    "ddn": (2,),
    "df": (math.inf, 2),
    "pgd_linf": (math.inf,),
    "sdf": (2,),
    "tr": (math.inf, 2),
}
"""The norms of the attacks that do not have all. Those that change few values (L0) face a ball of any."""

_GIVEN = ("targeted", "callback")
_CALLED_WITH = 3  # the network, the inputs and the labels


def adv_lib_attacks() -> ModuleType:
    """
    The module `adv_lib.attacks`.

    :return: The module, imported also where visdom is missing.
    :raises ImportError: If adv-lib is missing or too old.
    """
    with _visdom_supplied():
        return library(
            "adv_lib.attacks",
            "adv-lib",
            "0.2.6",
            silence=["distutils Version classes are deprecated"],
            otherwise=", or, where its dependency visdom cannot be built, pip install --no-deps adv-lib setuptools",
        )


def from_adv_lib(
    name: str,
    *,
    eps: float,
    norm: float = math.inf,
    batch_size: int = 500,
    seed: int = 0,
    **parameters: Any,
) -> LibraryAttack:
    """
    An attack of adv-lib. What one that looks for the nearest point finds beyond `eps` counts as nothing found.

    :param name: A function of `adv_lib.attacks`, for instance "fmn".
    :param eps: Radius of the ball, >= 0; given to the attacks within a ball.
    :param norm: `math.inf`, 2 or 1; given to the attack if it has a parameter for it.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param parameters: The attack's further parameters, by adv-lib's names.
    :return: The attack.
    :raises ImportError: If adv-lib is missing or too old.
    :raises TypeError: If the attack has no parameter of a given name, or lacks one that it needs.
    :raises ValueError: If there is no such attack, it has another norm, or a number is out of range.
    """
    attack = _attack_named(name, adv_lib_attacks())
    check_norm(norm, tuple(NAMES))
    own = NORMS.get(name, (norm,))
    if norm not in own:
        raise ValueError(f"norm must be {' or '.join(map(str, own))} for adv_lib.{name}, got {norm}")
    accepted = accepted_parameters(attack, parameters, first=_CALLED_WITH, without=_GIVEN)
    shared = {"norm": norm, "p": norm, "distance": NAMES[norm].lower(), RADIUS.get(name): float(eps)}
    given = {parameter: value for parameter, value in shared.items() if parameter in accepted} | parameters
    if "targeted" in inspect.signature(attack).parameters:
        given["targeted"] = False
    inspect.signature(attack).bind(*(None,) * _CALLED_WITH, **given)  # a TypeError names what is missing
    run = partial(_run, attack=attack, given=given, radius=None if name in RADIUS else (float(eps), norm))
    return LibraryAttack(f"adv_lib.{name}", run, parameters, eps, norm, batch_size=batch_size, seed=seed)


def _attack_named(name: str, attacks: ModuleType) -> Callable[..., Tensor]:
    known: dict[str, Callable[..., Tensor]] = dict(inspect.getmembers(attacks, inspect.isfunction))
    if name not in known:
        raise ValueError(f"name must be one of {', '.join(sorted(known))}, got {name!r}")
    return known[name]


def _run(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    seed: int,
    *,
    attack: Callable[..., Tensor],
    given: Mapping[str, Any],
    radius: tuple[float, float] | None,
) -> Tensor:
    """The library's part of an attack; `radius` is that of the ball and its norm where the attack knows of none."""
    attacked = attack(network, x.clone(), y, **given)
    return attacked if radius is None else kept_within(attacked, x, *radius)


@contextmanager
def _visdom_supplied() -> Iterator[None]:
    """Let `import visdom` give an empty module where there is none; adv-lib keeps it, `sys.modules` does not."""
    if "visdom" in sys.modules or importlib.util.find_spec("visdom") is not None:
        yield
        return
    sys.modules["visdom"] = ModuleType("visdom")
    try:
        yield
    finally:
        del sys.modules["visdom"]
