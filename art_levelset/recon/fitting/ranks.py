"""
The processes that fit the blocks of one scan together: those of torch.distributed's default group, if there is one.

All of them call these functions in the same order. What one of them raises, all raise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import torch
from torch import distributed, nn

T = TypeVar("T")


def place() -> tuple[int, int]:
    """
    The place of this process among those that work together.

    :return: Its rank and how many there are: 0 and 1 where there is no group.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def from_first(make: Callable[[], T]) -> T:
    """
    What the first process makes.

    :param make: Called there only; what it returns can be pickled.
    :return: That, in every process.
    """
    rank, size = place()
    if size == 1:
        return make()
    outcome: list[Any] = [None, None]
    if rank == 0:
        try:
            outcome[0] = make()
        except Exception as error:
            outcome[1] = error
    distributed.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    return cast(T, outcome[0])


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
    _, size = place()
    if size == 1:
        return [make()]
    own: tuple[Any, Exception | None]
    try:
        own = make(), None
    except Exception as error:
        own = None, error
    outcomes: list[Any] = [None] * size
    distributed.all_gather_object(outcomes, own)
    for _, failure in outcomes:
        if failure is not None:
            raise failure
    return [thing for thing, _ in outcomes]


def share_weights(networks: Iterable[nn.Module]) -> None:
    """
    Give every process the weights of networks that one process each has fitted.

    :param networks: The networks; the first one is that of the first rank, the next one that of the next, and so on
           round and round.
    """
    _, size = place()
    if size == 1:
        return
    for number, network in enumerate(networks):
        for weights in network.state_dict().values():
            sent = weights.detach().cpu().contiguous()
            distributed.broadcast(sent, src=number % size)
            with torch.no_grad():
                weights.copy_(sent)
