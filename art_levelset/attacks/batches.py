"""
The memory that a batch will take: a few samples are sent through the network, and what it keeps for gradients is
counted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from art_levelset.attacks.network import seeded
from art_levelset.core.modes import evaluating
from art_levelset.memory import check_memory

COUNTED = 2
"""How many samples are sent through the network."""

BASE = 40e6
"""Bytes that every batch takes, for what convolutions rearrange."""

LAYERS = 1.0
"""What the largest layer needs beside what is kept, while it is computed: so many times itself."""

COPIES = 6.0
"""How many copies of the samples there are: examples, directions, gradients, the best so far."""


def check_batch(
    network: nn.Module,
    few: Tensor,
    batch_size: int,
    *,
    most: int,
    processes: int = 1,
    passes: float = 1.0,
    fixed: float = 0.0,
) -> None:
    """
    Check that there is memory for batches that a network is attacked or trained with. Its pass on a few samples, in
    evaluation mode, changes nothing, random generators included. Of devices other than the CPU nothing is known.

    :param network: The network.
    :param few: A few samples, (n, ...), as it takes them; :data:`COUNTED` of them are enough.
    :param batch_size: The most samples of a batch, >= 1.
    :param most: How many samples there are, >= 1: no batch is larger.
    :param processes: How many share each batch, >= 1.
    :param passes: How many passes of the network are kept at a time, >= 1.
    :param fixed: Bytes that are taken whatever the batch, such as those of gradients, >= 0.
    :raises ValueError: If there is not: it says which size would fit.
    """
    if few.device.type == "cpu":
        each = passes * sample_bytes(network, few[:COUNTED])
        check_memory("batch_size", batch_size, lambda size: BASE + fixed + each * min(-(-size // processes), most))


def sample_bytes(network: nn.Module, few: Tensor) -> float:
    """
    The memory that each sample of a batch takes while a network is attacked or trained.

    :param network: The network.
    :param few: Some samples, (n, ...), n >= 1, as it takes them.
    :return: Bytes.
    """
    weights = {part.untyped_storage().data_ptr() for part in (*network.parameters(), *network.buffers())}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = max(kept.get(place, 0), tensor.numel() * tensor.element_size())
        return tensor

    with torch.inference_mode(False), torch.enable_grad(), evaluating(network), seeded(0, few.device):
        inputs = few.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            network(inputs.clone())  # which may write to it
    one = few.numel() * few.element_size()
    return (sum(kept.values()) + LAYERS * max(one, *kept.values(), 0) + COPIES * one) / len(few)
