"""
Whether a fit has failed, told without labels from what F must have in common with the cloud.

The zero level set must pass by the planes. A plane with the centre c and the outward normal n is *met* if one Newton
step from c ends near it and F grows outwards,

    |F(c)| <= h |D_xF(c)|,     n . D_xF(c) > 0,     h = max(3 standard errors of c, half of the planes' reach),

for nearer than half of their reach to the centres, planes do not tell one side from the other. And F must have the sign
that the indicator function says where that is beyond doubt
(:meth:`art_levelset.recon.fitting.samples.Samples.certain`).

No more than 4/81 of what has a single-peaked distribution is further than three standard deviations from its mean, be
it normal or not (Vysochanskij and Petunin), so in a fit as good as the data at most one plane in twenty is missed.

What the planes and the indicator function have wrong themselves is not seen here, and another seed would not repair it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from art_levelset.checks import check_not_negative
from art_levelset.core.fields import as_field, values_and_jacobians
from art_levelset.core.modes import evaluating
from art_levelset.recon.fitting.samples import Samples

STANDARD_ERRORS = 3.0

MOST_MISSED = 0.05
"""A fit has failed that misses a larger part of the planes."""

MOST_ASTRAY = 0.01
"""A fit has failed that has the wrong sign at a larger part of the query points beyond doubt: no noise reaches them."""


def judge(network: nn.Module, samples: Samples) -> Judgement:
    """
    Judge a fit.

    :param network: F, as the fit has left it.
    :param samples: Of its cloud.
    :return: The judgement. A network with a weight that is not finite misses all planes.
    """
    planes = samples.distance
    if not all(bool(torch.isfinite(weights).all()) for weights in network.parameters()):
        return Judgement(1.0, 1.0)
    values, jacobians = values_and_jacobians(as_field(network), planes.centres)
    gradients = jacobians.squeeze(1)
    near = max(STANDARD_ERRORS * samples.error, planes.reach / 2)
    met = values.squeeze(1).abs() <= near * torch.linalg.vector_norm(gradients, dim=1)
    met &= (gradients * planes.normals).sum(dim=1) > 0
    queries = samples.far[torch.nonzero(samples.certain(samples.far)).squeeze(1)]
    with torch.no_grad(), evaluating(network):
        right = network(queries.points).squeeze(1) * queries.inside < 0
    return Judgement(_part(~met), _part(~right))


def copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """
    The weights of a network as they are now.

    :param network: The network.
    :return: Its state, which does not change with the network.
    """
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _part(mask: Tensor) -> float:
    return float(mask.double().mean()) if len(mask) else 0.0


@dataclass(frozen=True)
class Judgement:
    """
    How a fit agrees with its cloud.

    :param missed: The part of the planes that the zero level set misses, in [0, 1].
    :param astray: The part of the query points beyond doubt where F has the wrong sign, in [0, 1].
    """

    missed: float
    astray: float

    @property
    def rank(self) -> float:
        """
        For comparisons.

        :return: The less, the better; above 1, the fit has failed.
        """
        return max(self.missed / MOST_MISSED, self.astray / MOST_ASTRAY, 1.0)

    @property
    def failed(self) -> bool:
        """
        Whether the fit has failed.

        :return: Whether too many planes or query points disagree.
        """
        return self.rank > 1

    def __str__(self) -> str:
        """For a message."""
        return (
            f"it misses {self.missed:.1%} of the planes (at most {MOST_MISSED:.0%} may be) and has the wrong sign at "
            f"{self.astray:.1%} of the query points beyond doubt (at most {MOST_ASTRAY:.0%})"
        )


class Attempts:
    """
    The attempts that have come to an end.

    :param network: The network that every attempt fits in place.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._best: dict[str, Tensor] = {}
        self.judgements: tuple[Judgement, ...] = ()

    def add(self, judgement: Judgement) -> None:
        """
        Another one has come to an end.

        :param judgement: How it was judged.
        """
        if all(judgement.rank < other.rank for other in self.judgements):
            self._best = copy_weights(self._network)
        self.judgements += (judgement,)

    def restore_best(self) -> None:
        """Give the network the weights of the best attempt; of equally good ones, the first."""
        if self.judgements:
            self._network.load_state_dict(self._best)

    def state_dict(self) -> dict[str, Any]:
        """
        For a checkpoint.

        :return: Numbers and tensors.
        """
        return {"judgements": [asdict(judgement) for judgement in self.judgements], "best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a checkpoint.

        :param state: From :meth:`state_dict`.
        :raises ValueError: If it is that of another network.
        """
        judgements = tuple(Judgement(**judgement) for judgement in state["judgements"])
        for judgement in judgements:
            check_not_negative("missed", judgement.missed)
            check_not_negative("astray", judgement.astray)
        wanted = {name: value.shape for name, value in self._network.state_dict().items()} if judgements else {}
        if {name: value.shape for name, value in state["best"].items()} != wanted:
            raise ValueError("the weights of the best attempt are those of another network")
        self.judgements, self._best = judgements, dict(state["best"])
