"""
Parts of a computation, shared by as many threads as torch has.

Layers as narrow as those of the grids' networks take little time a part, and more threads for each operation hardly
make it shorter. So each thread has parts of its own, in which torch uses that one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

FEWEST = 1 << 10
"""Of fewer rows no thread makes a part."""

Part = TypeVar("Part")
Result = TypeVar("Result")


def mapped(function: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
    """
    Apply a function to parts, several at a time: numpy, scipy and torch compute without the interpreter's lock.

    >>> from art_levelset.recon.threads import mapped
    >>> mapped(sum, [(1, 2), (3, 4)])
    [3, 7]

    :param function: What is applied. What is local to a thread, such as torch's gradient mode, is not the caller's.
    :param parts: The parts.
    :return: The results, in the order of the parts.
    """
    count = torch.get_num_threads()
    if count == 1:
        return [function(part) for part in parts]
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            return list(threads.map(function, parts))
    finally:
        torch.set_num_threads(count)  # also of threads that begin later


def parts_of(count: int, most: int) -> list[slice]:
    """
    Divide rows into parts, at least one for each thread unless they are few.

    >>> from art_levelset.recon.threads import parts_of
    >>> parts_of(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]

    :param count: Number of rows.
    :param most: The most rows of a part, >= 1.
    :return: The parts, in order.
    """
    size = min(most, max(-(-count // torch.get_num_threads()), FEWEST))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
