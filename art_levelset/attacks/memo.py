"""
A memory of finished work, on disk or not: what makes a killed evaluation go on where it was.

Each piece of work is stored under a digest of everything that it depends on, so that a result is recalled only for the
same network, data, parameters and versions, and nothing needs to be declared stale.
"""

from __future__ import annotations

import hashlib
import io
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.files import write_bytes

_CHECKSUM = hashlib.sha256().digest_size


class Memo:
    """
    Arrays by key.

    :param folder: Where to keep them, one `.npz` file a key, its SHA-256 at the end; created when missing. None:
           in this process only.
    :raises OSError: If the folder cannot be created.
    """

    def __init__(self, folder: str | PathLike[str] | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._kept: dict[str, dict[str, NDArray[Any]]] = {}
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def recall(self, key: str) -> dict[str, NDArray[Any]] | None:
        """
        What was stored under a key.

        :param key: A digest.
        :return: The arrays by name, or None. A file that cannot be read or is damaged counts as missing.
        """
        if self.folder is None:
            return self._kept.get(key)
        try:
            stored = (self.folder / f"{key}.npz").read_bytes()
        except OSError:
            return None
        contents = stored[:-_CHECKSUM]
        if hashlib.sha256(contents).digest() != stored[-_CHECKSUM:]:
            return None
        with np.load(io.BytesIO(contents), allow_pickle=False) as arrays:
            return dict(arrays)

    def store(self, key: str, **arrays: NDArray[Any]) -> None:
        """
        Store arrays under a key: completely or not at all.

        :param key: A digest.
        :param arrays: The arrays by name.
        """
        if self.folder is None:
            self._kept[key] = arrays
            return
        contents = io.BytesIO()
        np.savez_compressed(contents, **arrays)  # type: ignore[arg-type]  # numpy takes the flag of the same kind
        write_bytes(contents.getvalue() + hashlib.sha256(contents.getvalue()).digest(), self.folder / f"{key}.npz")
