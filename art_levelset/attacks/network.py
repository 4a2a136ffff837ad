"""
The care that attacks take of a caller's network: constant parameters, gradients and random states given back.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from art_levelset.attacks.inputs import class_logits, home


def fastest_layout(network: nn.Module, sample: Tensor) -> torch.memory_format:
    """
    How to lay out batches of such a sample in memory: on the CPU convolutions are faster with channels last.

    A network that calls `view` on its activations does not take them so.

    :param network: The network, in evaluation mode.
    :param sample: (1, ...), on the network's device and in its dtype.
    :return: `torch.channels_last` or `torch.contiguous_format`.
    """
    if sample.dim() == 4 and sample.device.type == "cpu" and any(isinstance(p, nn.Conv2d) for p in network.modules()):
        try:
            with torch.no_grad():
                network(sample.clone(memory_format=torch.channels_last))
        except RuntimeError:  # one that has another cause comes again in the usual layout
            return torch.contiguous_format
        return torch.channels_last
    return torch.contiguous_format


@contextmanager
def parameters_kept(network: nn.Module) -> Iterator[None]:
    """
    Set the parameters' gradients aside, and give them and `requires_grad` back on the way out.

    :param network: The network.
    """
    kept = [(parameter, parameter.grad, parameter.requires_grad) for parameter in network.parameters()]
    try:
        for parameter, _, _ in kept:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient, required in kept:
            parameter.requires_grad_(required)
            parameter.grad = gradient


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """
    Seed the global random states that libraries draw from, and restore them on the way out.

    :param seed: >= 0.
    :param device: Where the network is; its random state is covered besides the CPU's.
    """
    numpys = np.random.get_state()  # noqa: NPY002  # what libraries draw from
    pythons = random.getstate()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            random.seed(seed)
            yield
    finally:
        np.random.set_state(numpys)  # noqa: NPY002
        random.setstate(pythons)


class DetachedNetwork(nn.Module):
    """
    A network whose parameters are constants: gradients go to its inputs only.

    Convolutions run on channels-last copies of weights and inputs where that is faster. Outputs are of the inputs'
    dtype, whatever the network's is.

    :param network: The network; not changed.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._constants = {name: value.detach() for name, value in network.named_parameters()}
        self._layout: torch.memory_format | None = None
        _, self._dtype = home(network)

    def forward(self, x: Tensor) -> Tensor:
        """
        The network's outputs.

        :param x: (batch, ...).
        :return: (batch, classes).
        """
        points, first = x.to(self._dtype, copy=True), self._layout is None  # a copy, as networks may write to it
        if first:
            self._layout = fastest_layout(self.network, points[:1].detach())
            for name, value in self._constants.items():
                if value.dim() == 4:
                    self._constants[name] = value.contiguous(memory_format=self._layout)
        if self._layout == torch.channels_last:
            points = _Laid.apply(points, self._layout)
        outputs: Tensor = functional_call(self.network, self._constants, (points,))
        if first:
            class_logits(outputs, len(x))
        return outputs.to(x.dtype)


class _Laid(torch.autograd.Function):
    """The same values in another memory format; the gradient comes back contiguous, as libraries `view` it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: torch.memory_format) -> Tensor:
        return x.clone(memory_format=layout)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].contiguous(), None
