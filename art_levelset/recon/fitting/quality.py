"""How much work a fit is: where it begins, and how many steps of what length it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Quality:
    """
    How much work a fit is.

    :param steps: Its steps.
    :param learning_rate: The highest learning rate.
    :param held: The part of the steps for which it is held, in [0, 1); then it falls.
    :param at_planes: Whether the network starts as the signed distance that the planes and the indicator function say
           (:meth:`art_levelset.recon.network.GridNetwork.interpolate`), rather than as a sphere. Where it starts nearly
           right, the steps may be long from the beginning, and few.
    """

    steps: int
    learning_rate: float
    held: float
    at_planes: bool


QUALITIES: Mapping[str, Quality] = {
    "draft": Quality(100, 4e-3, 0.0, at_planes=True),
    "standard": Quality(200, 4e-3, 0.0, at_planes=True),
    "fine": Quality(800, 1e-3, 0.5, at_planes=False),
}
"""By name."""
