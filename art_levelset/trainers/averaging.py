"""
The exponential moving average of a network's weights, which often classifies better than the weights themselves.

After step t the average is a <- m a + (1 - m) w with m = min(decay, (1 + t) / (10 + t)): the early, fast changes of
the weights are forgotten fast. BatchNorm's running statistics are averaged as the weights are; integers stay those of
the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from art_levelset.tensors import check_form


class ExponentialAverage:
    """
    The moving average of a network's parameters and floating-point buffers, started at their present values.

    :param module: The network. Its tensors are read at every update, and it is not copied otherwise.
    :param decay: The largest m, in [0, 1): the average reaches over about 1 / (1 - decay) steps.
    :raises ValueError: If `decay` is out of range.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        check_decay(decay)
        self._decay = decay
        self._updates = 0
        named = chain(module.named_parameters(), module.named_buffers())
        self._weights = {name: tensor.detach() for name, tensor in named if tensor.is_floating_point()}
        self._averages = {name: weight.clone() for name, weight in self._weights.items()}

    def update(self) -> None:
        """Let the average follow the weights, after a step of the optimizer."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        with torch.no_grad():
            follow = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            follow(list(self._averages.values()), list(self._weights.values()), self._updates)

    def deploy(self) -> None:
        """Write the average into the network."""
        for name, weight in self._weights.items():
            weight.copy_(self._averages[name])

    @contextmanager
    def deployed(self) -> Iterator[None]:
        """Let the network have the average for the time of a `with` block, and its own weights again afterwards."""
        weights = {name: weight.clone() for name, weight in self._weights.items()}
        try:
            self.deploy()
            yield
        finally:
            for name, weight in self._weights.items():
                weight.copy_(weights[name])

    def state_dict(self) -> dict[str, Any]:
        """
        What is needed to go on.

        :return: Tensors and numbers.
        """
        return {"updates": self._updates, "averages": self._averages}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a state.

        :param state: What :meth:`state_dict` returned.
        """
        check_form("average", state, self.state_dict())
        self._updates = state["updates"]
        saved: Mapping[str, Tensor] = state["averages"]
        for name, average in self._averages.items():
            average.copy_(saved[name])


def check_decay(decay: float) -> None:
    """
    Check the decay of an average.

    :param decay: The decay.
    :raises ValueError: If it is not in [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f"ema_decay must be in [0, 1), got {decay}")
