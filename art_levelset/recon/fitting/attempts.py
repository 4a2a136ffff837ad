"""The attempts at a fit: how each was judged, and the weights of the best one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from art_levelset.recon.fitting.judgement import Judgement


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
            self._best = copied(self._network)
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
        """
        self.judgements = tuple(Judgement(**judgement) for judgement in state["judgements"])
        self._best = state["best"]


def copied(network: nn.Module) -> dict[str, Tensor]:
    """
    The weights of a network as they are now.

    :param network: The network.
    :return: Its state, which does not change with the network.
    """
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
