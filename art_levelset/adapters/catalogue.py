"""The attacks that the command line and the experiments offer, by name: `pgd-margin`, `autoattack`, ..."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

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
    if name.startswith("autoattack"):
        from art_levelset.adapters.autoattack import AutoAttack

        if not _is_unit_interval(clip_values):
            raise ValueError(f"clip_values must be (0, 1) for AutoAttack, got {clip_values}")
        return AutoAttack(eps=eps, norm=norm, version=name.partition("-")[2] or "standard", memo=memo or Memo())
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


def _torchattacks(**given: Any) -> Attack:
    from art_levelset.adapters.torchattacks import torchattacks_pgd

    return torchattacks_pgd(**given)


_MADE: dict[str, Callable[..., Attack]] = {
    "pgd": _native,
    "art-pgd": _art,
    "advertorch-pgd": _advertorch,
    "torchattacks-pgd": _torchattacks,
}

NAMES = (
    "pgd-ce",
    "pgd-margin",
    "pgd-dlr",
    "autoattack",
    "autoattack-plus",
    "autoattack-rand",
    "autoattack-partial",
    *(
        f"{library}-{loss}"
        for library in ("art-pgd", "advertorch-pgd", "torchattacks-pgd")
        for loss in ("ce", "margin")
    ),
)
"""The names of the attacks."""
