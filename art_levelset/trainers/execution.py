"""
How passes are executed: in bfloat16, channels last, compiled.

A search makes most of a step's passes, and only signs of values and directions of gradients matter to it. What decides
where a boundary is (false position) stays in float32: bfloat16 has 8 significant bits, so a margin near zero is a
difference of logits that is all rounding, constant over many steps of a segment, and false position would stall long
before its tolerance. The weights are in float32 throughout.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Execution:
    """
    Options that change the speed of a step and not what it computes, up to rounding.

    :param bf16: Compute in bfloat16 (autocast): for GPUs, and for CPUs with instructions for it.
    :param channels_last: Keep the weights of convolutions in the channels-last layout while training.
    :param compile: Compile the network with `torch.compile`.
    """

    bf16: bool = False
    channels_last: bool = False
    compile: bool = False

    def check(self, device: torch.device) -> None:
        """
        Warn of what makes passes slower rather than faster.

        :param device: Where they are executed.
        """
        if self.bf16 and not computes_in_bfloat16(device):
            logger.warning(
                "execution: the processor has no instructions for bfloat16 (%s), and passes take many times as long as "
                "without bf16",
                device,
            )

    def searched(self, network: nn.Module) -> nn.Module:
        """
        The network as searches evaluate it.

        :param network: The network.
        :return: The network itself, or one that shares its parameters: with `compile`, gradients flow to the inputs
                 only.
        """
        return self._cast(_Searched(network) if self.compile else network)

    def trained(self, network: nn.Module) -> nn.Module:
        """
        The network as a loss evaluates it that needs no exact level.

        :param network: The network.
        :return: The network itself, or one that shares its parameters.
        """
        return self._cast(_Compiled(network) if self.compile else network)

    def _cast(self, network: nn.Module) -> nn.Module:
        return _Autocast(network) if self.bf16 else network

    @contextmanager
    def laid_out(self, network: nn.Module, optimizer: Optimizer) -> Iterator[None]:
        """
        Keep a network in the layout for the time of a `with` block, and in the ordinary one afterwards.

        :param network: The network.
        :param optimizer: Its optimizer, whose moments follow: fused steps take them to be laid out as the weights are.
        """
        if not self.channels_last:
            yield
            return
        try:
            _lay_out(network, optimizer, torch.channels_last)
            yield
        finally:
            _lay_out(network, optimizer, torch.contiguous_format)


def _lay_out(network: nn.Module, optimizer: Optimizer, layout: torch.memory_format) -> None:
    network.to(memory_format=layout)
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def computes_in_bfloat16(device: torch.device) -> bool:
    """
    Whether a device has instructions for bfloat16: others emulate it, some CPUs at a tenth of the speed of float32.

    :param device: A CPU or a GPU.
    :return: Whether it has them, as far as torch can tell; True for devices of other types.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu" and platform.machine().lower() in ("x86_64", "amd64"):
        return torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return True


class _Autocast(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            outputs: Tensor = self.network(x)
        return outputs.to(x.dtype)


class _Compiled(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._call = torch.compile(network.forward)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self._call(x)
        return outputs


class _Searched(nn.Module):
    """Compiled with its parameters as constants: a compiled backward pass computes every gradient that exists."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._call = torch.compile(functional_call)

    def forward(self, x: Tensor) -> Tensor:
        constants = {name: parameter.detach() for name, parameter in self.network.named_parameters()}
        outputs: Tensor = self._call(self.network, constants, x)
        return outputs
