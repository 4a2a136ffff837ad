"""Checks of numbers that many functions take, each with a message that names the argument."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

LARGEST_SEED = 2**63 - 1
"""What torch takes."""


def check_count(name: str, value: Any, least: int = 1) -> None:
    """
    Check a number of things.

    :param name: The argument's name.
    :param value: Its value.
    :param least: How many are needed.
    :raises ValueError: If it is not an integer >= `least`.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")


def check_seed(seed: Any, name: str = "seed") -> None:
    """
    Check the seed of everything random.

    :param seed: The seed.
    :param name: The argument's name.
    :raises ValueError: If it is not an integer from 0 to 2^63 - 1.
    """
    check_count(name, seed, least=0)
    if seed > LARGEST_SEED:
        raise ValueError(f"{name} must be at most 2^63 - 1, got {seed}")


def check_positive(name: str, value: Any) -> None:
    """
    Check a length, a rate or another number that must be positive.

    :param name: The argument's name.
    :param value: Its value.
    :raises ValueError: If it is not a finite number > 0.
    """
    if not _is_finite(value) or value <= 0:
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")


def check_not_negative(name: str, value: Any) -> None:
    """
    Check a radius, a weight or another number that may be zero.

    :param name: The argument's name.
    :param value: Its value.
    :raises ValueError: If it is not a finite number >= 0.
    """
    if not _is_finite(value) or value < 0:
        raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
