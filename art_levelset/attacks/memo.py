"""
A memory of finished work, on disk or not: what makes a killed evaluation go on where it was.

Each piece of work is stored under a digest of everything that it depends on, so that a result is recalled only for the
same network, data, parameters and versions, and nothing needs to be declared stale.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

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
        handle, unfinished = tempfile.mkstemp(dir=self.folder, suffix=".unfinished")
        with os.fdopen(handle, "wb") as file:
            file.write(contents.getvalue() + hashlib.sha256(contents.getvalue()).digest())
        Path(unfinished).replace(self.folder / f"{key}.npz")


def digest(*parts: Any) -> str:
    """
    A fingerprint of values.

    :param parts: Networks (their structure and every parameter and buffer), tensors, arrays, and what JSON holds.
    :return: 64 hexadecimal digits, the SHA-256.
    """
    total = hashlib.sha256()
    for part in parts:
        for piece in _pieces(part):
            total.update(hashlib.sha256(piece).digest())
    return total.hexdigest()


def _pieces(part: Any) -> Iterator[bytes]:
    if isinstance(part, nn.Module):
        yield repr(part).encode()
        for name, value in part.state_dict().items():
            yield name.encode()
            yield from _pieces(value)
    elif isinstance(part, Tensor):
        yield from _pieces(part.detach().cpu().numpy())
    elif isinstance(part, np.ndarray):
        yield f"{part.dtype.str} {part.shape}".encode()
        yield part.tobytes()
    else:
        yield json.dumps(part, sort_keys=True).encode()
