"""The state of an unfinished fit in a file: there completely or not at all, of one fit only, and without code."""

from __future__ import annotations

import glob
import hashlib
import io
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from art_levelset.files import remove_unfinished, write_bytes
from art_levelset.identity import structure
from art_levelset.tensors import has_format, load_tensors
from art_levelset.untrusted import opened

logger = logging.getLogger(__name__)

FORMAT = "art-levelset fit 4"

_PLAIN = (int, float, str, type(None))

INTERVAL = 10.0
"""Seconds between two checkpoints."""


def describe_input(value: NDArray[np.float64] | nn.Module) -> str:
    """
    A short text that is the same for equal arrays, and for networks of equal structure.

    It is a text of its own, not :func:`art_levelset.identity.digest`: it stands in checkpoints, and those of earlier
    fits go on only if it stays what it is.

    :param value: The array or network.
    :return: Its size or class, and a digest.
    """
    if isinstance(value, nn.Module):
        return f"{type(value).__name__} {_digest(structure(value).encode())}"
    return f"{len(value)} points {_digest(np.ascontiguousarray(value).tobytes())}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class Checkpoint:
    """
    The checkpoint of one fit.

    :param path: The file; its directory exists.
    :param fit: What tells this fit from others: numbers and texts by the names of the arguments.
    :raises ValueError: If it cannot be a file.
    """

    def __init__(self, path: str | Path, fit: Mapping[str, int | float | str | None]) -> None:
        self.path = Path(path)
        self._fit = dict(fit)
        self._written = time.perf_counter()
        if self.path.is_dir():
            raise ValueError(f"checkpoint: {self.path} is a directory")
        if not self.path.parent.is_dir():
            raise ValueError(f"checkpoint: there is no directory {self.path.parent}")
        remove_unfinished(self.path.parent, glob.escape(self.path.stem))

    def due(self) -> bool:
        """
        Whether it is time for the next one.

        :return: Whether :data:`INTERVAL` seconds have passed.
        """
        return time.perf_counter() - self._written >= INTERVAL

    def write(self, state: Mapping[str, Any]) -> None:
        """
        Replace the file, in one moment.

        :param state: Tensors, numbers, texts, and dictionaries, lists and tuples of them.
        :raises OSError: If it cannot be written.
        """
        self._written = time.perf_counter()
        packed = io.BytesIO()  # given a file, torch.save does not say by an OSError that it is full
        torch.save({"format": FORMAT, "fit": self._fit, "state": dict(state)}, packed)
        write_bytes(packed.getvalue(), self.path)

    def read(self) -> dict[str, Any] | None:
        """
        Read the file. No code that it brings is run.

        :return: The state; None if there is no file.
        :raises OSError: If it cannot be read.
        :raises ValueError: If it is damaged, no checkpoint, or that of another fit.
        """
        if not self.path.exists():
            return None
        with opened(self.path) as file:
            try:
                contents = load_tensors(file)
            except ValueError as error:
                raise ValueError(f"checkpoint: {self.path} cannot be read: {error}") from error
        if not has_format(contents, FORMAT):
            raise ValueError(f"checkpoint: {self.path} is not the checkpoint of a fit of this version")
        theirs = contents.get("fit")
        if not isinstance(theirs, dict) or not isinstance(contents.get("state"), dict):
            raise ValueError(f"checkpoint: {self.path} is damaged")
        if any(type(value) not in _PLAIN for value in theirs.values()):
            raise ValueError(f"checkpoint: {self.path} is damaged")
        changed = [
            f"{name} was {theirs.get(name)}, is {self._fit.get(name)}"
            for name in {**theirs, **self._fit}
            if theirs.get(name) != self._fit.get(name)
        ]
        if changed:
            raise ValueError(f"checkpoint: {self.path} is that of another fit: {'; '.join(changed)}")
        state: dict[str, Any] = contents["state"]
        logger.info("going on from %s", self.path)
        return state
