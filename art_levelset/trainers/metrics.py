"""The metrics of an epoch: means over its samples of what each batch has told, and accuracies on validation data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from art_levelset.attacks.protocol import Attack
from art_levelset.core.modes import evaluating
from art_levelset.distributed import World

_BATCH_SIZE = 100


class Means:
    """Means over samples; a metric that only some batches have is the mean over theirs."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}
        self.samples = 0
        """Of all batches."""

    def add(self, metrics: Mapping[str, float], samples: int) -> None:
        """
        Add a batch.

        :param metrics: Means over its samples.
        :param samples: How many it has, >= 0.
        """
        for name, value in metrics.items():
            total, before = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value * samples, before + samples
        self.samples += samples

    def __call__(self) -> dict[str, float]:
        """
        The means.

        :return: By name, over all samples added.
        """
        return {name: total / max(samples, 1) for name, (total, samples) in self._sums.items()}


def plain(value: Any) -> float:
    """
    A metric as a plain number, whatever a callback has measured it with.

    :param value: A number, or a scalar of NumPy or torch.
    :return: The number.
    """
    return value if type(value) in (int, float) else float(value)


def validate(
    network: nn.Module,
    x: NDArray[Any],
    y: NDArray[np.int64],
    attack: Attack | None,
    world: World,
    device: torch.device,
) -> dict[str, float]:
    """
    Measure accuracies, in chunks that the processes share.

    :param network: A network of raw inputs.
    :param x: Raw inputs, (n, ...).
    :param y: Integer labels, (n,).
    :param attack: An attack, called as `attack(network, x, y) -> x_adv`; None for none.
    :param world: The processes.
    :param device: Where the network is.
    :return: `validation_accuracy`, and with an attack `validation_robust_accuracy`: the share of samples that are
             classified right both as they are and attacked.
    """
    right, robust, count = 0, 0, 0
    chunks = range(0, len(x), _BATCH_SIZE)
    for first in chunks[world.share(len(chunks))]:  # whole chunks: what is random in one is the same in any process
        part = slice(first, first + _BATCH_SIZE)
        inputs, labels = torch.tensor(x[part], dtype=torch.float32), torch.tensor(y[part])
        survivors = _right(network, inputs, labels, device)
        right, count = right + int(survivors.sum()), count + len(inputs)
        if attack is not None:
            with evaluating(network):
                examples = attack(network, inputs.clone(), labels)
            robust += int((survivors & _right(network, examples, labels, device)).sum())
    metrics = {"validation_accuracy": right / max(count, 1)}
    if attack is not None:
        metrics["validation_robust_accuracy"] = robust / max(count, 1)
    return world.mean(metrics, count)


def _right(network: nn.Module, x: Tensor, y: Tensor, device: torch.device) -> Tensor:
    """Which samples are classified right, (n,); a single logit is positive for class 1."""
    with torch.no_grad(), evaluating(network):
        outputs = network(x.to(device, copy=True)).cpu()
    single = outputs.dim() == 1 or outputs.shape[1] == 1
    found: Tensor = outputs.reshape(-1).gt(0).long() if single else outputs.argmax(dim=1)
    return found.eq(y)
