"""What the command lines of this package share: errors in one line, exit statuses, and checks before the work."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from art_levelset.recon.writing import replacing

PROGRAM = "python -m art_levelset.recon"

FORMATS = ".csv .las .laz .npy .npz .obj .off .ply .pts .stl .xyz"
"""What :func:`art_levelset.recon.reading.read_cloud` reads."""

BAD_INPUT = 2
INTERRUPTED = 130

EXPECTED = (ValueError, OSError, ImportError, MemoryError)
"""What bad input, a full disk, a missing library or a small machine raise; all else is a mistake of this package."""


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        """
        Stop.

        :param message: What is wrong.
        """
        self.exit(BAD_INPUT, f"{PROGRAM}: error: {message}\n")


def exit_status(command: Callable[[], int]) -> int:
    """
    Run a command, and report what stops it in one line on stderr.

    :param command: It returns its exit status.
    :return: That, or :data:`BAD_INPUT`, or :data:`INTERRUPTED`.
    """
    try:
        return command()
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except EXPECTED as error:
        print_error(in_one_line(error))
        return BAD_INPUT


def print_error(message: str) -> None:
    """
    Print an error on stderr.

    :param message: One line.
    """
    print(f"{PROGRAM}: error: {message}", file=sys.stderr)


def in_one_line(error: BaseException) -> str:
    """
    What an exception says.

    :param error: The exception.
    :return: Its message, without line breaks; with its name if it has none, or is not :data:`EXPECTED`.
    """
    message = " ".join(str(error).split())
    if message and isinstance(error, EXPECTED):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def check_files(arguments: argparse.Namespace, suffixes: Mapping[str, Sequence[str]], taken: dict[Path, str]) -> None:
    """
    Before the work: whether the files that the arguments name can be written afterwards.

    :param arguments: The `scan`, and paths, or None, by name.
    :param suffixes: The names of the paths, and the suffixes that each may have, none for any.
    :param taken: Resolved paths that must not be written, and what they are; the files are added.
    :raises ValueError: If a file cannot be written.
    """
    for name, allowed in suffixes.items():
        option, path = f"--{name.replace('_', '-')}", getattr(arguments, name)
        if path is None:
            continue
        if allowed and path.suffix.lower() not in allowed:
            raise ValueError(f"{option}: must be a {', '.join(allowed)} file, got {path}")
        if path.is_dir():
            raise ValueError(f"{option}: {path} is a directory")
        if not path.parent.is_dir():
            raise ValueError(f"{option}: there is no directory {path.parent}")
        if not os.access(path.parent, os.W_OK):
            raise ValueError(f"{option}: cannot write in {path.parent}")
        if path.resolve() in taken:
            raise ValueError(f"{option}: {path} is also {taken[path.resolve()]}")
        taken[path.resolve()] = f"{option} of {arguments.scan}"


def check_device(name: str) -> None:
    """
    Before the work: whether PyTorch can compute there.

    :param name: PyTorch's name of the device.
    :raises ValueError: If it cannot.
    """
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(f"--device: {name!r} cannot be used: {str(error).splitlines()[0]}") from error


def write_files(arguments: argparse.Namespace, writers: Mapping[str, Callable[[Path], object]]) -> list[Path]:
    """
    Write the files that the arguments name, each whole or not at all.

    :param arguments: Paths, or None, by name.
    :param writers: How to write each of them, by the same names, in the order of writing.
    :return: The files.
    :raises OSError: If a file cannot be written.
    """
    files = [(path, write) for name, write in writers.items() if (path := getattr(arguments, name)) is not None]
    for path, write in files:
        with replacing(path) as temporary:
            write(temporary)
    return [path for path, _ in files]
