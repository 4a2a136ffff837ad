"""What a network gets right on validation data, as it is and under attack."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from art_levelset.adapters.base import Attack
from art_levelset.core.modes import evaluating
from art_levelset.trainers.distributed import World

_BATCH_SIZE = 500


def validate(
    network: nn.Module,
    x: NDArray[Any],
    y: NDArray[np.int64],
    attack: Attack | None,
    world: World,
    device: torch.device,
) -> dict[str, float]:
    """
    Measure accuracies, each process on its share of the data.

    :param network: A network of raw inputs.
    :param x: Raw inputs, (n, ...).
    :param y: Integer labels, (n,).
    :param attack: An attack, called as `attack(network, x, y) -> x_adv`; None for none.
    :param world: The processes.
    :param device: Where the network is.
    :return: `validation_accuracy`, and with an attack `validation_robust_accuracy`: the share of samples that are
             classified right both as they are and attacked.
    """
    share = world.share(len(x))
    inputs, labels = torch.tensor(x[share], dtype=torch.float32), torch.tensor(y[share])
    if not len(inputs):
        return world.mean({}, 0)
    right = _right(network, inputs, labels, device)
    figures = {"validation_accuracy": right.float().mean().item()}
    if attack is not None:
        with evaluating(network):
            examples = attack(network, inputs, labels)
        right = right & _right(network, examples, labels, device)
        figures["validation_robust_accuracy"] = right.float().mean().item()
    return world.mean(figures, len(inputs))


def _right(network: nn.Module, x: Tensor, y: Tensor, device: torch.device) -> Tensor:
    """Which samples are classified right, (n,); a single logit is positive for class 1."""
    found = []
    with torch.no_grad(), evaluating(network):
        for first in range(0, len(x), _BATCH_SIZE):
            outputs = network(x[first : first + _BATCH_SIZE].to(device)).cpu()
            single = outputs.dim() == 1 or outputs.shape[1] == 1
            found.append(outputs.reshape(-1).gt(0).long() if single else outputs.argmax(dim=1))
    return torch.cat(found) == y
