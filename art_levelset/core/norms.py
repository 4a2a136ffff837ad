"""The norms in which perturbations are measured, and their names in tables of robustness."""

from __future__ import annotations

import math
from collections.abc import Sequence

THREAT_MODELS = {"Linf": math.inf, "L2": 2.0, "L1": 1.0}
"""The norms by the name of the threat model."""

NAMES = {norm: name for name, norm in THREAT_MODELS.items()}
"""The threat models' names by their norm."""


def check_norm(norm: float, known: Sequence[float] = (math.inf, 2)) -> None:
    """
    Check that a norm is a known one.

    :param norm: The norm.
    :param known: Those that are, at least two.
    :raises ValueError: If it is another.
    """
    if norm not in known:
        *others, last = (f"{one:g}" for one in known)
        raise ValueError(f"norm must be {', '.join(others)} or {last}, got {norm}")
