"""
Checkpoints: files that are there completely or not at all, that know when they are damaged, the last two of them.

A file's name ends in a checksum of its content. It is written beside its place, forced to the disk and then renamed,
and the file before it stays until the next one is written: whenever a process is killed, the last or the last but one
epoch can be read. Only tensors, numbers, strings and containers of them are stored, and reading them runs no code.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from art_levelset.distributed import World
from art_levelset.files import claim, remove_unfinished, write_bytes
from art_levelset.tensors import load_tensors
from art_levelset.untrusted import read_bytes

logger = logging.getLogger(__name__)

MOST = 1 << 36
"""The most bytes of a checkpoint: 64 GiB."""

_NAME = re.compile(r"epoch-(\d+)-([0-9a-f]{16})\.pt")
_LEAVES = (Tensor, Parameter, int, float, str, bool, type(None))
_MAPPINGS = (dict, OrderedDict, Counter)


class Checkpoints:
    """
    The checkpoints of one run, in a folder. With several processes, only the main one reads and writes.

    :param folder: The folder; it is created if need be.
    :param world: The processes that train together.
    :raises OSError: If it cannot be.
    """

    def __init__(self, folder: str | Path, world: World = World()) -> None:
        self.folder = Path(folder)
        self._world = world
        self._last: Path | None = None
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"checkpoint_dir: {self.folder} is a file")
        if world.main:
            self.folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """
        Keep other runs out of the folder as long as the block lasts, and remove what killed ones have left.

        :raises BlockingIOError: If another run is at work in it.
        """
        if not self._world.main:
            yield
            return
        with claim(self.folder / "checkpoints"):
            remove_unfinished(self.folder, "epoch-*")
            yield

    def write(self, state: Mapping[str, Any], epoch: int) -> None:
        """
        Write a checkpoint, and remove those before the one that was last read or written.

        :param state: Tensors, numbers, strings, and dictionaries, lists and tuples of them.
        :param epoch: Epochs completed.
        :raises TypeError: If anything else is in the state.
        :raises OSError: If it cannot be written.
        """
        if not self._world.main:
            return
        content = pack(state)
        path = self.folder / f"epoch-{epoch:06d}-{_checksum(content)}.pt"
        write_bytes(content, path, durable=True)
        for other in self._files():
            if other not in (path, self._last):
                other.unlink()
        remove_unfinished(self.folder, "epoch-*")
        self._last = path

    def read(self) -> dict[str, Any] | None:
        """
        Read the newest checkpoint that is whole. Those that are damaged are reported.

        :return: Its state, the same in every process; None if there are no checkpoints.
        :raises ValueError: If there are, and all of them are damaged, or the newest holds no state.
        """
        found = self._world.broadcast(self._newest() if self._world.main else None)
        if isinstance(found, ValueError):
            raise found
        if found is None:
            return None
        try:
            return unpack(found)
        except ValueError as error:
            raise ValueError(f"checkpoint_dir: the newest checkpoint in {self.folder} is none: {error}") from error

    def _newest(self) -> bytes | ValueError | None:
        files = self._files()
        for path in files:
            try:
                content = read_bytes(path, MOST)
            except (OSError, ValueError) as error:
                logger.warning("checkpoint %s cannot be read (%s); the one before is used", path, error)
                continue
            if path.name.endswith(f"-{_checksum(content)}.pt"):
                self._last = path
                return content
            logger.warning("checkpoint %s is damaged: its checksum is another; the one before is used", path)
        if files:
            names = ", ".join(path.name for path in files)
            return ValueError(f"checkpoint_dir: every checkpoint in {self.folder} is damaged ({names})")
        return None

    def _files(self) -> list[Path]:
        """The newest first."""
        found = [(path, _NAME.fullmatch(path.name)) for path in self.folder.iterdir()]
        numbered = [(int(match[1]), path) for path, match in found if match]
        return [path for _, path in sorted(numbered, reverse=True)]


def pack(state: Mapping[str, Any]) -> bytes:
    """
    A state as bytes.

    :param state: Tensors, numbers, strings, and dictionaries, lists and tuples of them.
    :return: Its bytes, which `torch.load` reads as well.
    :raises TypeError: If anything else is in it, which could not be read without running its code.
    """
    _check_storable(state, "state")
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def unpack(content: bytes) -> dict[str, Any]:
    """
    A state from its bytes.

    :param content: What :func:`pack` returned.
    :return: The state, its tensors on the CPU.
    :raises ValueError: If they are no state.
    """
    state = load_tensors(io.BytesIO(content))
    if not isinstance(state, dict):
        raise ValueError("it holds no dictionary")
    return state


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _check_storable(value: Any, where: str) -> None:
    kind = type(value)
    if kind in _MAPPINGS:
        for key, item in value.items():
            _check_storable(key, where)
            _check_storable(item, f"{where}[{key!r}]")
    elif kind in (list, tuple):
        for item in value:
            _check_storable(item, where)
    elif kind not in _LEAVES:
        raise TypeError(f"checkpoint: {where} holds a {kind.__name__}, which cannot be stored safely")
