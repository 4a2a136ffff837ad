"""Writing a text file at once: it is there completely or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path


def write_text(text: str, path: str | Path) -> None:
    """
    Write a text file that is there completely or not at all.

    :param text: Its content.
    :param path: The file, in a folder that exists; an existing file is replaced.
    :raises OSError: If the file cannot be written.
    """
    check_place(path)
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
        temporary = Path(folder) / path.name
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


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
