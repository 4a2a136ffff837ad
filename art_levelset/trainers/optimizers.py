"""Optimizers by name, with learning rates that need no thought for images in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from art_levelset.checks import check_not_negative, check_positive

OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "sgd": partial(SGD, momentum=0.9, nesterov=True),
}
"""By name: what makes them of parameters, `lr` and `weight_decay`."""

RATES: Mapping[str, float] = {"adam": 5e-3, "adamw": 5e-3, "sgd": 0.1}
"""Learning rates at their peak."""


def optimizer_of(
    name: str, parameters: Iterable[Tensor], *, learning_rate: float, weight_decay: float = 0.0
) -> Optimizer:
    """
    Make an optimizer.

    :param name: A key of :data:`OPTIMIZERS`.
    :param parameters: The network's.
    :param learning_rate: Its learning rate, > 0.
    :param weight_decay: >= 0: of "adamw" that of the weights themselves, of the others a term of the gradient.
    :return: The optimizer.
    :raises ValueError: If there is no such optimizer, or a number is out of range.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {name!r}")
    check_positive("learning_rate", learning_rate)
    check_not_negative("weight_decay", weight_decay)
    return OPTIMIZERS[name](parameters, lr=learning_rate, weight_decay=weight_decay)
