"""Writing files: one is there completely or not at all, whenever the process is killed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """
    Write a file in a temporary folder beside its place, and move it there when it is complete.

    :param path: The file, in a folder that exists; an existing file is replaced.
    :param durable: Whether the file must be on the disk before it gets its name, and its name before this returns: then
           it survives a machine that stops, too.
    :return: Where to write, a path with the same name, which some formats keep in the file. If the block fails, nothing
             of it stays, and the file is what it was.
    :raises OSError: If the file cannot be there (:func:`check_place`) or not be written.
    """
    check_place(path)
    path = Path(path)
    folder = path.with_name(f".{path.stem}-{secrets.token_hex(4)}.unfinished")
    folder.mkdir()
    unfinished = folder / path.name
    try:
        yield unfinished
        if durable:
            _to_disk(unfinished, os.O_RDWR)
        unfinished.replace(path)
        if durable and hasattr(os, "O_DIRECTORY"):  # on systems where folders can be opened
            _to_disk(path.parent, os.O_DIRECTORY)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_unfinished(folder: Path, stem: str) -> None:
    """
    Remove what writers that were killed have left in a folder.

    :param folder: The folder.
    :param stem: The stem of the files that they would have written; a pattern.
    """
    for left in folder.glob(f".{stem}-????????.unfinished"):
        shutil.rmtree(left, ignore_errors=True)


def write_text(text: str, path: str | Path) -> None:
    """
    Write a text file, in UTF-8.

    :param text: Its content.
    :param path: The file, in a folder that exists; an existing file is replaced.
    :raises OSError: If the file cannot be written.
    """
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_bytes(content: bytes, path: str | Path, *, durable: bool = False) -> None:
    """
    Write a file.

    :param content: Its content.
    :param path: The file, in a folder that exists; an existing file is replaced.
    :param durable: As for :func:`replacing`.
    :raises OSError: If the file cannot be written.
    """
    with replacing(path, durable=durable) as unfinished:
        unfinished.write_bytes(content)


def check_place(path: str | Path) -> None:
    """
    Check that a file can be where it shall be.

    :param path: The file.
    :raises OSError: If its folder does not exist, or it is a folder itself.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")


def _to_disk(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
