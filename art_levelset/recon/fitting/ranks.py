"""
The processes that fit the blocks of one scan together: those of torch.distributed's default group, if there is one.

All of them call these functions in the same order. What one of them raises, all raise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import distributed, nn

from art_levelset.distributed import world

T = TypeVar("T")


def from_first(make: Callable[[], T]) -> T:
    """
    What the first process makes.

    :param make: Called there only; what it returns can be pickled.
    :return: That, in every process.
    """
    ranks = world()
    return _made(*ranks.broadcast(_tried(make) if ranks.main else ([], None)))


def agreed(make: Callable[[], T]) -> T:
    """
    What this process makes, if all others can make it as well.

    :param make: Called in every process.
    :return: What it returns here.
    """
    made: list[T] = []
    from_each(lambda: made.append(make()))
    return made[0]


def from_each(make: Callable[[], T]) -> list[T]:
    """
    What every process makes.

    :param make: Called in each; what it returns can be pickled.
    :return: All of it, in the order of the ranks, in every process.
    """
    return [_made(*outcome) for outcome in world().gather(_tried(make))]


def share_weights(networks: Iterable[nn.Module]) -> None:
    """
    Give every process the weights of networks that one process each has fitted.

    :param networks: The networks; the first one is that of the first rank, the next one that of the next, and so on
           round and round.
    """
    size = world().size
    if size == 1:
        return
    for number, network in enumerate(networks):
        for weights in network.state_dict().values():
            sent = weights.detach().cpu().contiguous()
            distributed.broadcast(sent, src=number % size)
            with torch.no_grad():
                weights.copy_(sent)


def _tried(make: Callable[[], T]) -> tuple[list[T], Exception | None]:
    try:
        return [make()], None
    except Exception as error:
        return [], error


def _made(things: list[T], failure: Exception | None) -> T:
    if failure is not None:
        raise failure
    return things[0]
