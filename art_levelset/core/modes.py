"""
Mode safety: what a level-set computation does to a network is undone, even when an exception passes through.

Every pass of the core runs in evaluation mode, where a sample's value depends on that sample alone: BatchNorm uses
(and leaves unchanged) its running statistics, dropout is off. Gradients are taken by :func:`torch.autograd.grad`,
which writes to no `.grad` field, so `requires_grad` need not be touched at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def evaluating(module: nn.Module | None) -> Iterator[None]:
    """
    Put every submodule in evaluation mode and restore each one's own mode on the way out.

    The flags are set directly, not through `module.eval()`: a submodule that a caller keeps in another mode than its
    parent (a frozen BatchNorm, say) comes back exactly as it was, and an overridden `train()` is not triggered.

    :param module: The network, or None when the level-set function has none that we know of (then nothing is done).
    """
    flags = [] if module is None else [(part, part.training) for part in module.modules()]
    try:
        for part, _ in flags:
            part.training = False
        yield
    finally:
        for part, training in flags:
            part.training = training


def refresh_statistics(module: nn.Module, points: Tensor) -> None:
    """
    Let BatchNorm's running statistics follow a batch, as a forward pass in training mode does; all else stays in
    evaluation mode. Nothing happens in a network without BatchNorm, or with fewer than two points.

    :param module: The network.
    :param points: The batch, (batch, ...).
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    if norms and len(points) > 1:
        with evaluating(module), torch.no_grad():
            for norm in norms:
                norm.training = True
            module(points)
