"""
Work with several processes. In training each takes its share of every batch, and the gradients are summed.

A step of a level-set loss makes several forward passes, most of them without gradients and with as many samples as are
still active, so that DistributedDataParallel, which expects one forward and one backward pass a step, does not fit.
None is needed: a loss is a mean over samples, so the gradient for the union batch is the sum of the gradients for the
shares, each weighted with its part of the samples. Every process then takes the same optimizer step.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """
    The processes that work together; all must call the same methods in the same order. With one they do nothing.

    :param rank: This process's number, in [0, size).
    :param size: The number of processes, >= 1.
    :raises ValueError: If a number is out of range.
    """

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise ValueError(f"rank must be in [0, {self.size}), got {self.rank}")

    @property
    def main(self) -> bool:
        """Whether this is the process that shows progress and writes files."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """
        This process's share of a batch: the shares differ by one sample at most, and may be empty.

        :param count: Samples of the union batch.
        :return: Its rows, every `size`-th from `rank` on.
        """
        return slice(self.rank, count, self.size)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """
        Replace every `.grad` by the sum over the processes, with one message for each type of parameter.

        A parameter without gradient counts as zero; it stays without where no process has one, as an optimizer skips
        it then.

        :param parameters: The parameters, the same in every process.
        """
        if self.size == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        for _, group in groupby(sorted(trained, key=_kind), key=_kind):
            _sum_gradients(list(group))

    def sum(self, values: Tensor) -> Tensor:
        """
        The sum over the processes; differentiable, if every process takes the gradient.

        :param values: A tensor of the same shape and type in every process.
        :return: The sum, of that shape.
        """
        if self.size == 1:
            return values
        total: Tensor = _Sum.apply(values)
        return total

    def mean(self, metrics: Mapping[str, float], count: int) -> dict[str, float]:
        """
        The means of a union batch, from those of the shares.

        :param metrics: Means over this process's share; those of an empty share are left out.
        :param count: Samples of the share.
        :return: Means over the union; a metric that only some processes have, over their samples.
        """
        if self.size == 1:
            return dict(metrics)
        filled = [(part, samples) for part, samples in self.gather((dict(metrics), count)) if samples]
        means = {}
        for name in dict.fromkeys(chain.from_iterable(part for part, _ in filled)):
            having = [(part[name], samples) for part, samples in filled if name in part]
            means[name] = sum(value * samples for value, samples in having) / sum(samples for _, samples in having)
        return means

    def any(self, flag: bool) -> bool:
        """
        Whether it is so in any process.

        :param flag: Whether it is so in this one.
        :return: The same in every process.
        """
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag))) > 0)

    def broadcast(self, thing: T) -> T:
        """
        What the main process has.

        :param thing: In the main process, anything that can be pickled; not looked at in the others.
        :return: The main process's.
        """
        if self.size == 1:
            return thing
        things = [thing]
        distributed.broadcast_object_list(things, src=0)
        return things[0]

    def gather(self, thing: T) -> list[T]:
        """
        What all processes have.

        :param thing: In each process, anything that can be pickled.
        :return: All of them, in the order of the ranks.
        """
        if self.size == 1:
            return [thing]
        things: list[Any] = [None] * self.size
        distributed.all_gather_object(things, thing)
        return things

    def align(self, module: nn.Module) -> None:
        """
        Give every process the main process's parameters and buffers.

        :param module: The network, of the same kind in every process.
        """
        if self.size > 1:
            for tensor in chain(module.parameters(), module.buffers()):
                distributed.broadcast(tensor.detach(), src=0)


def world() -> World:
    """
    The processes of torch.distributed's default group.

    :return: This process's number and theirs; a world of one where no group is initialised.
    """
    if distributed.is_available() and distributed.is_initialized():
        return World(distributed.get_rank(), distributed.get_world_size())
    return World()


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """
    The process group of a program that torchrun has started, for as long as the context lasts: NCCL between GPUs, gloo
    between CPUs. A program that was started by itself goes on by itself.

    :param device: Where to compute: a CPU, or a GPU; with several processes each takes the GPU of its local rank.
    :return: This process's device, which is CUDA's current one.
    """
    launched = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    if device.type == "cuda":
        index = int(os.environ.get("LOCAL_RANK", "0")) if launched else (device.index or 0)
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    if launched:
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        store, rank, size = next(rendezvous("env://"))
        if os.environ.get("LOCAL_WORLD_SIZE") == str(size):
            # torchrun keeps its store when it starts the processes again, with the addresses of those that are gone.
            store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield device
    finally:
        if launched:
            distributed.destroy_process_group()


class _Sum(torch.autograd.Function):
    """The sum over the processes. Each one's values are part of every one's sum, so its gradient is the sum as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        moved = values.device.type == "cpu" and distributed.get_backend() == "nccl"  # which takes tensors of GPUs only
        total = values.detach().to("cuda" if moved else values.device, copy=True, memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total.to(values.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        total: Tensor = _Sum.apply(gradient)
        return total


def _kind(parameter: Tensor) -> str:
    return f"{parameter.dtype} {parameter.device}"


def _sum_gradients(parameters: list[Tensor]) -> None:
    """Of parameters of one type: the gradients one after the other, and behind them whether each is there."""
    gradients = [torch.zeros_like(part) if part.grad is None else part.grad for part in parameters]
    there = gradients[0].new_tensor([part.grad is not None for part in parameters])
    flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), there])
    distributed.all_reduce(flat)
    *sums, there = torch.split(flat, [*(part.numel() for part in parameters), len(parameters)])
    for parameter, total, found in zip(parameters, sums, there.tolist(), strict=True):
        if found:
            parameter.grad = torch.empty_like(parameter)  # in its layout, which fused steps take for granted
            parameter.grad.copy_(total.view_as(parameter))
