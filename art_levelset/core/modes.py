"""
Mode safety: what a level-set computation does to a network is undone, even when an exception passes through.

Every pass of the core runs in evaluation mode, where a sample's value depends on that sample alone: dropout is off, and
BatchNorm uses (and leaves unchanged) its running statistics, or what :mod:`art_levelset.core.statistics` puts in their
place. Gradients are taken by :func:`torch.autograd.grad`, which writes to no `.grad` field, so `requires_grad` need not
be touched at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager

from torch import nn


def evaluating(module: nn.Module | None) -> AbstractContextManager[None]:
    """
    Put every submodule in evaluation mode and restore each one's own mode on the way out.

    The flags are set directly, not through `module.eval()`: a submodule that a caller keeps in another mode than its
    parent (a frozen BatchNorm, say) comes back exactly as it was, and an overridden `train()` is not triggered.

    :param module: The network, or None when the level-set function has none that we know of (then nothing is done).
    :return: The `with` block.
    """
    return _in_mode(module, False, ())


def training(module: nn.Module, frozen: Collection[nn.Module] = ()) -> AbstractContextManager[None]:
    """
    Put every submodule in training mode and restore each one's own mode on the way out.

    :param module: The network.
    :param frozen: Submodules that are in evaluation mode meanwhile.
    :return: The `with` block.
    """
    return _in_mode(module, True, frozen)


@contextmanager
def _in_mode(module: nn.Module | None, mode: bool, exceptions: Collection[nn.Module]) -> Iterator[None]:
    flags = [] if module is None else [(part, part.training) for part in module.modules()]
    try:
        for part, _ in flags:
            _set_mode(part, mode and part not in exceptions)
        yield
    finally:
        for part, flag in flags:
            _set_mode(part, flag)


def _set_mode(part: nn.Module, flag: bool) -> None:
    if part.training != flag:  # writing an attribute of a module takes ten times as long as reading it
        part.training = flag
