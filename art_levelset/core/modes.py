"""
Mode safety: what a level-set computation does to a network is undone, even when an exception passes through.

Every pass of the core runs in evaluation mode, where a sample's value depends on that sample alone: dropout is off, and
BatchNorm uses (and leaves unchanged) its running statistics, or what :mod:`art_levelset.core.statistics` puts in their
place. Gradients are taken by :func:`torch.autograd.grad`, which writes to no `.grad` field, so `requires_grad` need not
be touched at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


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
