"""
Work in pieces that several processes share: each takes what nobody has begun, and finds what the others have done.

They meet in the folder of a memory, and nowhere else. Each finished piece is there under its key, and a process claims
a piece before it begins (:func:`art_levelset.files.claim`): the kernel gives up the claims of a process that dies, so
that what it had begun falls to the others. What a piece is never depends on how many processes there are, nor do the
results.

Where a file system has no claims, the order in which pieces are taken keeps processes apart: each begins with its own
share, from the first one on, and then takes those of the others from the last one back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from art_levelset.attacks.memo import Memo

logger = logging.getLogger(__name__)

Arrays: TypeAlias = dict[str, NDArray[Any]]

PAUSES = (0.01, 0.3)
"""Seconds between two looks at what other processes do: at first, and at most."""


class MissingPieces(RuntimeError):
    """
    What other processes were to do has not been done, so that there is no result.

    :param missing: How many pieces are missing of each share, by its number from 0 on.
    :param found: How many are there.
    :param size: The number of shares.
    """

    def __init__(self, missing: Mapping[int, int], found: Mapping[int, int], size: int) -> None:
        total = sum(missing.values()) + sum(found.values())
        of_each = ", ".join(
            f"shard {rank + 1} lacks {count} of {count + found.get(rank, 0)}" for rank, count in sorted(missing.items())
        )
        super().__init__(f"{sum(missing.values())} of {total} pieces are missing: of {size} shards, {of_each}")
        self.missing, self.found, self.size = missing, found, size


@dataclass(frozen=True, eq=False)
class Piece:
    """
    A piece of work, which gives arrays.

    :param key: What its result is kept under; None if it cannot be kept, hence not be shared.
    :param cell: Which part of the samples it belongs to: a shard has all pieces of a cell, or none.
    :param compute: Does the work.
    :param wanted: What the arrays must be, as for :meth:`art_levelset.attacks.memo.Memo.recall`.
    """

    key: str | None
    cell: int
    compute: Callable[[], Arrays]
    wanted: Mapping[str, tuple[str, tuple[int | None, ...]]]


def batches_of(rows: NDArray[np.intp], batch_size: int) -> list[NDArray[np.intp]]:
    """
    Cut samples into batches.

    :param rows: The numbers of the samples, (n,).
    :param batch_size: How many are in a batch, but for the last one, >= 1.
    :return: The numbers of the samples of each batch.
    """
    return [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]


def finished(pieces: Sequence[Piece], memo: Memo) -> Iterator[Arrays | None]:
    """
    Work on pieces that need nothing of each other, together with all processes that have the same folder.

    :param pieces: The pieces.
    :param memo: Where finished pieces are kept; with the share of this process.
    :return: The result of each, in their order; with a fixed share None for those of others that are not there, which
             :func:`check_complete` remembers. A step raises what the work on its piece raises.
    :raises ValueError: If a piece cannot be kept and shares are fixed.
    """
    ahead = list(range(len(pieces)))
    for index, piece in enumerate(pieces):
        if memo.share.fixed and piece.key is None:
            raise ValueError("attacks that are not known by value cannot be shared by shards")
        result = _result(pieces, index, ahead, memo)
        counts = memo.missing if result is None else memo.found
        counts[piece.cell % memo.share.size] += 1
        yield result


def check_complete(memo: Memo) -> None:
    """
    Check that all that was asked of a memory so far was there or has been done.

    :param memo: The memory.
    :raises MissingPieces: If it has a fixed share, and something is missing.
    """
    if memo.missing:
        raise MissingPieces(memo.missing, memo.found, memo.share.size)


def _result(pieces: Sequence[Piece], index: int, ahead: list[int], memo: Memo) -> Arrays | None:
    """The result of one piece; while another process works on it, pieces behind it are done."""
    piece, pause = pieces[index], PAUSES[0]
    while True:
        known = memo.recall(piece.key, **piece.wanted)
        if known is not None:
            return known
        if memo.share.fixed and not memo.share.has(piece.cell):
            return None
        if piece.key is None or memo.folder is None:
            return _done(piece, memo)
        busy, result = _does_one(pieces, index, ahead, memo)
        if result is not None:
            return result
        if busy:
            pause = PAUSES[0]
        else:
            time.sleep(pause)
            pause = min(2 * pause, PAUSES[1])


def _does_one(pieces: Sequence[Piece], index: int, ahead: list[int], memo: Memo) -> tuple[bool, Arrays | None]:
    """
    Do one piece from an index on that nobody has done or claimed.

    :param ahead: The pieces that may have to be done. Those are taken out that have been done, or have failed before
                  their turn: they are tried again when it comes.
    :return: Whether there was one, and the result of the piece at the index, if it was that.
    """
    own, rest = list[int](), list[int]()
    for other in ahead:
        if other > index:
            (own if memo.share.has(pieces[other].cell) else rest).append(other)
    first = [index] if index not in ahead or memo.share.has(pieces[index].cell) else []
    last = [] if memo.share.fixed else [*reversed(rest), *([] if first else [index])]
    for other in (*first, *own, *last):
        piece = pieces[other]
        if piece.key is None or (other != index and memo.has(piece.key)):
            ahead.remove(other)
            continue
        with memo.claimed(piece.key) as free:
            if not free:
                continue
            if other == index:
                return True, memo.recall(piece.key, **piece.wanted) or _done(piece, memo)
            ahead.remove(other)
            if memo.recall(piece.key, **piece.wanted) is None:
                try:
                    _done(piece, memo)
                except Exception:
                    logger.debug("a piece of work has failed before its turn", exc_info=True)
            return True, None
    return False, None


def _done(piece: Piece, memo: Memo) -> Arrays:
    result = piece.compute()
    memo.store(piece.key, **result)
    return result
