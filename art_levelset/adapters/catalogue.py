"""The attacks that the command line and the experiments offer, by name: `pgd-margin`, `autoattack`, ..."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from art_levelset.attacks.guided import Guided
from art_levelset.attacks.inputs import ClipValues
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.pgd import pgd
from art_levelset.attacks.protocol import Attack

LOSSES = {"ce": "cross_entropy", "margin": "margin", "dlr": "dlr"}
"""The losses by the last part of an attack's name."""


def attack_by_name(
    name: str,
    *,
    eps: float,
    norm: float = math.inf,
    eps_step: float | None = None,
    max_iter: int = 40,
    clip_values: ClipValues = (0.0, 1.0),
    memo: Memo | None = None,
) -> Attack:
    """
    Make an attack.

    :param name: One of :data:`NAMES`.
    :param eps: Radius of the ball, >= 0.
    :param norm: `math.inf`, 2 or 1.
    :param eps_step: Length of a step of PGD, > 0; 2.5 * eps / max_iter by default.
    :param max_iter: Number of steps of PGD, >= 1.
    :param clip_values: Smallest and largest valid input.
    :param memo: Where AutoAttack keeps its finished parts; in this process by default.
    :return: The attack, called as `attack(model, x, y)`.
    :raises ValueError: If there is no such attack or a number is out of range.
    :raises ImportError: If the library that it comes from is missing or too old; the message says what to install.
    """
    if name not in NAMES:
        raise ValueError(f"attacks must be among {', '.join(NAMES)}, got {name!r}")
    if name == "guided":
        return Guided(eps=eps, norm=norm, clip_values=clip_values)
    if name.startswith("autoattack"):
        from art_levelset.adapters.autoattack import AutoAttack

        if not _is_unit_interval(clip_values):
            raise ValueError(f"clip_values must be (0, 1) for AutoAttack, got {clip_values}")
        return AutoAttack(eps=eps, norm=norm, version=name.partition("-")[2] or "standard", memo=memo or Memo())
    if name.startswith("adv-lib"):
        if not _is_unit_interval(clip_values):
            raise ValueError(f"clip_values must be (0, 1) for adv-lib, got {clip_values}")
        return _adv_lib(name, eps=eps, norm=norm, max_iter=max_iter)
    library, _, loss = name.rpartition("-")
    given: dict[str, Any] = {"eps": eps, "norm": norm, "eps_step": eps_step, "max_iter": max_iter, "loss": LOSSES[loss]}
    if library != "torchattacks-pgd":  # its box is [0, 1]
        given["clip_values"] = clip_values
    elif not _is_unit_interval(clip_values):
        raise ValueError(f"clip_values must be (0, 1) for Torchattacks, got {clip_values}")
    return _MADE[library](**given)


def _is_unit_interval(clip_values: ClipValues) -> bool:
    low, high = clip_values
    return bool(np.all(np.asarray(low) == 0) and np.all(np.asarray(high) == 1))


def _native(**given: Any) -> Attack:
    return partial(pgd, stop_when_broken=True, **given)


def _art(**given: Any) -> Attack:
    from art_levelset.adapters.art import art_pgd

    return art_pgd(**given)


def _advertorch(**given: Any) -> Attack:
    from art_levelset.adapters.advertorch import advertorch_pgd

    return advertorch_pgd(**given)


def _adv_lib(name: str, *, eps: float, norm: float, max_iter: int) -> Attack:
    from art_levelset.adapters.adv_lib import from_adv_lib

    attack, _, loss = name.removeprefix("adv-lib-").partition("-")
    given = {"n_iter": max_iter, "loss_function": loss} if attack == "apgd" else {"steps": max_iter}
    return from_adv_lib(attack, eps=eps, norm=norm, **given)


def _foolbox(*, loss: str, **given: Any) -> Attack:
    from art_levelset.adapters.foolbox import foolbox_pgd

    return foolbox_pgd(**given)  # the loss is the only one that it has


def _torchattacks(**given: Any) -> Attack:
    from art_levelset.adapters.torchattacks import torchattacks_pgd

    return torchattacks_pgd(**given)


_MADE: dict[str, Callable[..., Attack]] = {
    "pgd": _native,
    "art-pgd": _art,
    "advertorch-pgd": _advertorch,
    "torchattacks-pgd": _torchattacks,
    "foolbox-pgd": _foolbox,
}

NAMES = (
    "pgd-ce",
    "pgd-margin",
    "pgd-dlr",
    "guided",
    "autoattack",
    "autoattack-plus",
    "autoattack-rand",
    "autoattack-partial",
    *(
        f"{library}-{loss}"
        for library in ("art-pgd", "advertorch-pgd", "torchattacks-pgd")
        for loss in ("ce", "margin")
    ),
    "foolbox-pgd-ce",
    "adv-lib-apgd-ce",
    "adv-lib-apgd-dlr",
    "adv-lib-fmn",
)
"""The names of the attacks."""
