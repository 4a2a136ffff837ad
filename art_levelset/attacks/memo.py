"""
A memory of finished work, on disk or not: what makes a killed evaluation go on where it was.

Each piece of work is stored under a key of everything that it depends on (:meth:`Memo.key`), so that a result is
recalled only for the same network, data, parameters, versions and code, and nothing needs to be declared stale. What is
known by its name alone, as a closure, is not kept: another one may have that name.
"""

from __future__ import annotations

import hashlib
import io
import logging
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from art_levelset.files import remove_unfinished, write_bytes
from art_levelset.identity import Unidentifiable, digest, identify
from art_levelset.untrusted import Arrays, read_bytes
from art_levelset.versions import computing

logger = logging.getLogger(__name__)

_CHECKSUM = hashlib.sha256().digest_size


class Memo:
    """
    Arrays by key.

    :param folder: Where to keep them, one `.npz` file a key, its SHA-256 at the end; created when missing. None:
           in this process only.
    :raises OSError: If the folder cannot be created.

    >>> import numpy as np
    >>> memo = Memo()
    >>> key = memo.key("squares", 3)
    >>> memo.store(key, squares=np.arange(3) ** 2)
    >>> memo.recall(memo.key("squares", 3))
    {'squares': array([0, 1, 4])}
    >>> memo.key(lambda x: x) is None  # known by its name alone
    True
    """

    def __init__(self, folder: str | PathLike[str] | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._kept: dict[str, dict[str, NDArray[Any]]] = {}
        self._refused: set[str] = set()
        self._warned = False
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.folder, "*")

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
        try:
            stored = read_bytes(self.folder / f"{key}.npz")
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


def _is(array: NDArray[Any], kind: str, shape: tuple[int | None, ...]) -> bool:
    if array.dtype.kind != kind or array.ndim != len(shape):
        return False
    return all(side in (None, there) for side, there in zip(shape, array.shape, strict=True))
