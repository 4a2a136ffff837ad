"""
How the search for boundary points is executed: in bfloat16, channels last, compiled.

A search makes most of a step's passes, and only the signs of its values and gradients matter to it. What decides
where the boundary is (false position) and the values of the loss stays in float32: bfloat16 has 8 significant bits, so
a margin near zero is a difference of logits that is all rounding, and false position would stall long before its
tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call


@dataclass(frozen=True)
class Execution:
    """
    Options that change the speed of a step and not what it computes, up to rounding.

    :param bf16: Search in bfloat16 (autocast): for GPUs, and for CPUs with instructions for it.
    :param channels_last: Keep the weights of convolutions in the channels-last layout while training.
    :param compile: Compile the network that is searched with `torch.compile`.
    """

    bf16: bool = False
    channels_last: bool = False
    compile: bool = False

    def searched(self, network: nn.Module) -> nn.Module:
        """
        The network as searches are to evaluate it.

        :param network: The network.
        :return: The network itself, or one that shares its parameters: with `compile`, gradients flow to the inputs
                 only.
        """
        if self.compile:
            network = _Compiled(network)
        return _Autocast(network) if self.bf16 else network

    @contextmanager
    def laid_out(self, network: nn.Module) -> Iterator[None]:
        """
        Keep a network in the layout for the time of a `with` block, and in the ordinary one afterwards.

        :param network: The network.
        """
        try:
            if self.channels_last:
                network.to(memory_format=torch.channels_last)
            yield
        finally:
            if self.channels_last:
                network.to(memory_format=torch.contiguous_format)


class _Autocast(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            outputs: Tensor = self.network(x)
        return outputs.to(x.dtype)


class _Compiled(nn.Module):
    """Compiled with its parameters as constants: a compiled backward pass computes every gradient that exists."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._call = torch.compile(functional_call, dynamic=True)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self._call(self.network, {name: p.detach() for name, p in self.network.named_parameters()}, x)
        return outputs
