"""What the command lines of this package share: options, errors in one line, exit statuses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

PROGRAM = "python -m art_levelset.recon"

FORMATS = ".csv .las .laz .npy .npz .obj .off .ply .pts .stl .xyz"
"""What :func:`art_levelset.recon.io.reading.read_cloud` reads."""

SEVERAL = """\
Of several scans a failed one does not stop the others; a table comes at the end, and exit status 1 if one failed.
In paths, {stem} stands for the name of the scan without its suffix: files of several scans need it.
"""

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


def add_scans(parser: argparse.ArgumentParser, metavar: str, formats: str, suffix: str) -> None:
    """
    Declare the scans and where their results go.

    :param parser: It gets the arguments.
    :param metavar: What a result is.
    :param formats: In which formats it may be written.
    :param suffix: Of the name that it has by default.
    """
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN", help=f"point clouds: {FORMATS}")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("-o", "--output", type=Path, metavar=metavar, help=f"{formats} (default: SCAN{suffix})")
    output.add_argument("--output-dir", type=Path, metavar="DIR", help=f"write SCAN{suffix} there; made if missing")


def add_execution(parser: argparse.ArgumentParser) -> None:
    """
    Declare how the work on the scans is done.

    :param parser: It gets the arguments.
    """
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="where to compute (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="so many scans at once, each with its share of the threads (default: 1)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


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
