"""What an attack costs: wall time, and the samples that passed the network forward and backward."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass
class Effort:
    """
    A cost, which grows while it is measured.

    :param seconds: Wall time.
    :param forwards: Samples evaluated by the network.
    :param gradients: Samples of which a gradient was taken through the network.
    """

    seconds: float = 0.0
    forwards: int = 0
    gradients: int = 0

    def add(self, other: Effort) -> None:
        """
        Add another cost.

        :param other: The other one.
        """
        self.seconds += other.seconds
        self.forwards += other.forwards
        self.gradients += other.gradients

    def array(self) -> NDArray[np.float64]:
        """
        The cost as numbers.

        :return: (3,), in the order of the fields.
        """
        return np.array(astuple(self), dtype=np.float64)

    @classmethod
    def of(cls, array: NDArray[np.float64]) -> Effort:
        """
        The cost that :meth:`array` turned to numbers.

        :param array: (3,).
        :return: The cost.
        """
        seconds, forwards, gradients = array.tolist()
        return cls(seconds, int(forwards), int(gradients))


@contextmanager
def measured(network: nn.Module) -> Iterator[Effort]:
    """
    Measure what a block spends on a network.

    :param network: The network that the block runs.
    :return: The cost, complete when the block has ended.
    """
    effort = Effort()

    def passed_backward(gradient: Tensor) -> None:
        effort.gradients += len(gradient)

    def passed_forward(module: nn.Module, inputs: Any, outputs: Any) -> None:
        if not isinstance(outputs, Tensor):  # which whoever called the network refuses
            return
        effort.forwards += len(outputs)
        if outputs.requires_grad:
            outputs.register_hook(passed_backward)  # type: ignore[no-untyped-call]

    hook = network.register_forward_hook(passed_forward)
    started = time.perf_counter()
    try:
        yield effort
    finally:
        effort.seconds = time.perf_counter() - started
        hook.remove()
