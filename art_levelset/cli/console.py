"""
What all verbs share: how options are checked, and the one policy for errors.

Bad input, a full disk, a missing library and too little memory are one line on stderr and exit status 2, a signal is
one line and 128 + its number (:mod:`art_levelset.cli.signals`). Anything else that is raised is a mistake of this
package and keeps its traceback, a TypeError too: what a user can get wrong is a ValueError at the door.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction

from art_levelset.cli.signals import end_of, interrupted
from art_levelset.untrusted import printable

PROGRAM = "art-levelset"

BAD_INPUT = 2

LONGEST = 1000
"""More characters of a message are not shown: files may hold names of any length."""

EXPECTED = (ValueError, OSError, ImportError, MemoryError, FloatingPointError)
"""Bad input, a full disk, a missing library, a small machine, a training that diverges."""


def exit_status(program: str, command: Callable[[], int]) -> int:
    """
    Run a command, and report what stops it in one line on stderr.

    :param program: The program and its verb, with which the line begins.
    :param command: It returns its exit status.
    :return: That, or :data:`BAD_INPUT`, or 128 and the number of the signal that ended it.
    """
    try:
        return command()
    except KeyboardInterrupt as interrupt:
        return end_of(program, "; ".join(map(str, interrupt.args)))
    except Exception as error:
        if interrupted():  # what a library makes of an interrupt, and what other processes see of it
            return end_of(program)
        if not is_expected(error):
            raise
        print_error(program, in_one_line(error))
        return BAD_INPUT


def is_expected(error: BaseException) -> bool:
    """
    Whether an exception is no mistake of this package.

    :param error: The exception.
    :return: Whether it is :data:`EXPECTED`, or PyTorch has run out of memory.
    """
    out_of_memory = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator: can't allocate" in str(error)
    return isinstance(error, EXPECTED) or (isinstance(error, RuntimeError) and out_of_memory)


def print_error(program: str, message: str) -> None:
    """
    Print an error on stderr.

    :param program: The program and its verb.
    :param message: One line.
    """
    print(f"{program}: error: {printable(message)}", file=sys.stderr)


def in_one_line(error: BaseException) -> str:
    """
    What an exception says.

    :param error: The exception.
    :return: Its message, without line breaks; with its name if it has none, or was not expected.
    """
    message = " ".join(str(error).split())
    if len(message) > LONGEST:
        message = f"{message[:LONGEST]}..."
    if message and is_expected(error):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def number(option: str, text: str) -> float:
    """
    A number of the command line, which may be a fraction.

    :param option: The option that has it.
    :param text: The number: "0.3" or "8/255".
    :return: The number, finite.
    :raises ValueError: If it is none.
    """
    with suppress(ValueError, ZeroDivisionError, OverflowError):
        value = float(Fraction(text)) if "/" in text else float(text)
        if math.isfinite(value):
            return value
    raise ValueError(f"{option} must be a number such as 0.3 or 8/255, got {text!r}")


def check_device(name: str) -> None:
    """
    Before the work: whether PyTorch can compute there.

    :param name: What `--device` names.
    :raises ValueError: If it cannot.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device must be cpu, cuda or cuda:N, got {name!r}") from None
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        raise ValueError(f"--device: there is no {name}, only {torch.cuda.device_count()} GPUs")
    try:
        if device.type != "cuda":  # a process of several must not touch another one's GPU
            torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(f"--device: {name!r} cannot be used: {str(error).splitlines()[0]}") from error
