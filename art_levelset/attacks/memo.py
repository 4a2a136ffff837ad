"""
A memory of finished work, on disk or not: what makes a killed evaluation go on where it was, and where processes meet
that share one (:mod:`art_levelset.attacks.work`).

Each piece of work is stored under a key of everything that it depends on (:meth:`Memo.key`), so that a result is
recalled only for the same network, data, parameters, versions and code, and nothing needs to be declared stale. What is
known by its name alone, as a closure, is not kept: another one may have that name.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from art_levelset.files import claim, remove_free_locks, remove_unfinished, write_bytes
from art_levelset.identity import Unidentifiable, digest, identify
from art_levelset.untrusted import Arrays, read_bytes
from art_levelset.versions import computing

logger = logging.getLogger(__name__)

_CHECKSUM = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Share:
    """
    Which part of the work a process does, of several that keep it in one folder.

    :param rank: The number of this process, in [0, size); None for one that only reads what the others have done.
    :param size: How many there are, >= 1.
    :param fixed: Whether it leaves the rest alone, and goes on without it: a shard. Otherwise it begins with its share,
           and then does what nobody has begun.
    :raises ValueError: If a number is out of range.
    """

    rank: int | None = 0
    size: int = 1
    fixed: bool = False

    def __post_init__(self) -> None:
        if self.size < 1 or not (self.rank is None or 0 <= self.rank < self.size):
            raise ValueError(f"rank must be in [0, size), got {self.rank} of {self.size}")

    def has(self, cell: int) -> bool:
        """
        Whether a part of the work is in the share: every `size`-th is.

        :param cell: The number of the part.
        :return: Whether.
        """
        return cell % self.size == self.rank


class Memo:
    """
    Arrays by key.

    :param folder: Where to keep them, one `.npz` file a key, its SHA-256 at the end; created when missing. None:
           in this process only.
    :param share: Which part of the work this process does, of several with the same folder.
    :param others: More folders to recall from, as other processes have filled them.
    :raises OSError: If the folder cannot be created.
    :raises ValueError: If there is a share and no folder.

    >>> import numpy as np
    >>> memo = Memo()
    >>> key = memo.key("squares", 3)
    >>> memo.store(key, squares=np.arange(3) ** 2)
    >>> memo.recall(memo.key("squares", 3))
    {'squares': array([0, 1, 4])}
    >>> memo.key(lambda x: x) is None  # known by its name alone
    True
    """

    def __init__(
        self,
        folder: str | PathLike[str] | None = None,
        *,
        share: Share | None = None,
        others: Sequence[str | PathLike[str]] = (),
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.share = share or Share()
        if self.folder is None and self.share != Share():
            raise ValueError("folder must be given for work that processes share")
        self.found: Counter[int] = Counter()
        """How many pieces of work were there or have been done, by the number of the share that they belong to."""
        self.missing: Counter[int] = Counter()
        """How many were not, as they are for others to do."""
        self._others = [Path(other) for other in others]
        self._kept: dict[str, dict[str, NDArray[Any]]] = {}
        self._refused: set[str] = set()
        self._warned = False
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.folder, "*")
            remove_free_locks(self.folder)

    def key(self, *parts: Any) -> str | None:
        """
        What finished work is found under: one key for equal parts, versions and code of this package.

        :param parts: All that the work depends on: networks (their structure and parameters), tensors, arrays, and what
               :func:`art_levelset.identity.identify` knows by value, as numbers, texts, and attacks of this package.
        :return: The key, 64 hexadecimal digits; None where a part is not known by value, so that the work cannot be
                 kept, which a memory on disk logs once.
        """
        try:
            known = [part if isinstance(part, (nn.Module, Tensor, np.ndarray)) else identify(part) for part in parts]
        except Unidentifiable as error:
            if self.folder is not None and str(error) not in self._refused:
                logger.warning("finished work is not kept in %s: %s", self.folder, error)
                self._refused.add(str(error))
            return None
        return digest(*known, computing())

    def recall(self, key: str | None, **wanted: tuple[str, tuple[int | None, ...]]) -> dict[str, NDArray[Any]] | None:
        """
        What was stored under a key.

        :param key: Their key; under None is nothing.
        :param wanted: What the arrays must be, by name: the kind of their type ("f", "i", "b", "U") and their shape,
               None for sides of any length.
        :return: The arrays by name, or None. A file that cannot be read, is damaged or holds others counts as missing.
        """
        if key is None:
            return None
        if self.folder is None or key in self._kept:
            return self._kept.get(key)
        found = (_read(folder / f"{key}.npz", wanted) for folder in (self.folder, *self._others))
        return next((arrays for arrays in found if arrays is not None), None)

    def has(self, key: str) -> bool:
        """
        Whether there is something under a key, which may be damaged.

        :param key: The key.
        :return: Whether.
        """
        return key in self._kept or (self.folder is not None and (self.folder / f"{key}.npz").exists())

    @contextmanager
    def claimed(self, key: str) -> Iterator[bool]:
        """
        Keep other processes from the same work, as long as the block lasts or this process lives.

        :param key: The key of the work.
        :return: Whether nobody else has claimed it. Where the folder cannot have claims, nobody has.
        """
        with ExitStack() as stack:
            free = True
            if self.folder is not None:
                try:
                    stack.enter_context(claim(self.folder / f"{key}.npz"))
                except BlockingIOError:
                    free = False
                except OSError:  # full or read-only: what is found twice is the same
                    pass
            yield free

    def store(self, key: str | None, **arrays: NDArray[Any]) -> None:
        """
        Store arrays under a key: completely or not at all. What the folder has no room for stays in this process.

        :param key: Their key; under None nothing is stored.
        :param arrays: The arrays by name.
        """
        if key is None:
            return
        if self.folder is None:
            self._kept[key] = arrays
            return
        contents = io.BytesIO()
        np.savez_compressed(contents, **arrays)  # type: ignore[arg-type]  # numpy takes the flag of the same kind
        stored = contents.getvalue() + hashlib.sha256(contents.getvalue()).digest()
        try:
            write_bytes(stored, self.folder / f"{key}.npz")
        except OSError as error:
            self._kept[key] = arrays
            if not self._warned:
                logger.warning("finished work cannot be kept in %s: %s", self.folder, error.strerror or error)
                self._warned = True


def _read(path: Path, wanted: dict[str, tuple[str, tuple[int | None, ...]]]) -> dict[str, NDArray[Any]] | None:
    """The arrays of a file, if they are there and what they must be."""
    try:
        stored = read_bytes(path)
    except (OSError, ValueError):
        return None
    contents = stored[:-_CHECKSUM]
    if hashlib.sha256(contents).digest() != stored[-_CHECKSUM:]:
        return None
    try:
        with Arrays(io.BytesIO(contents)) as arrays:
            found = dict(arrays)
    except ValueError:
        return None
    fits = not wanted or {*found} == {*wanted}
    return found if fits and all(_is(found[name], *kind) for name, kind in wanted.items()) else None


def _is(array: NDArray[Any], kind: str, shape: tuple[int | None, ...]) -> bool:
    if array.dtype.kind != kind or array.ndim != len(shape):
        return False
    return all(side in (None, there) for side, there in zip(shape, array.shape, strict=True))
