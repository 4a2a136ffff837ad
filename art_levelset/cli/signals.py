"""
How the process ends: on a signal with one line and 128 + its number, and never because nobody reads what it prints.

SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, so that files are put away, claims given up and child processes
ended on the way out. What is printed into a closed pipe is dropped, and the work goes on; what does not fit on a disk
is told at the end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, cast

ENDINGS = {
    name: word
    for name, word in (("SIGINT", "interrupted"), ("SIGTERM", "terminated"), ("SIGHUP", "hung up"))
    if hasattr(signal, name)
}
"""The signals that end a run, and what is said of it."""

FAILED = 2
"""The exit status where the output could not be written."""

_AGAIN = 0.05
"""Seconds until an interrupt that was raised where Python drops exceptions is raised again."""

_received: list[int] = []


class Output:
    """
    A standard stream that does not stop the work: what cannot be written is dropped, and the rest as well.

    :param stream: The stream.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """
        Write.

        :param text: A text.
        :return: Its length.
        """
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Bring what was written to where it goes."""
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            self.error = self.error or error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def as_process(program: str, command: Callable[[], int]) -> int:
    """
    Run a command as all that this process is there for.

    :param program: The program's name, with which messages begin.
    :param command: It returns the exit status.
    :return: The exit status: the command's, 128 and the number of the signal that ended it, or :data:`FAILED`.
    """
    for name in ENDINGS:
        number = getattr(signal, name)
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and shells set it for work in the background
            signal.signal(number, _end)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _end_again)
        sys.unraisablehook = _not_raised
    outputs = {name: Output(stream) for name in ("stdout", "stderr") if (stream := getattr(sys, name)) is not None}
    for name, output in outputs.items():
        setattr(sys, name, output)
    try:
        status = command()
    except KeyboardInterrupt:
        status = end_of(program)
    except Exception:
        if not _received:
            raise
        status = end_of(program)
    for name in ENDINGS:  # the work is done, one way or the other
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    for output in outputs.values():
        output.flush()
        if output.error is not None and not isinstance(output.error, BrokenPipeError):
            print(f"{program}: error: the output cannot be written: {output.error.strerror}", file=sys.stderr)
            status = status or FAILED
    return status


def interrupted() -> bool:
    """
    Whether a signal has asked this process to end. What is raised after that is its consequence.

    :return: Whether.
    """
    return bool(_received)


def end_of(program: str, kept: str = "") -> int:
    """
    Say in one line that a signal has ended the run; of several processes the first one says it.

    :param program: The program and its verb.
    :param kept: What has become of the work.
    :return: The exit status.
    """
    number = _received[0] if _received else int(signal.SIGINT)
    if os.environ.get("RANK", "0") == "0":
        print(f"{program}: {'; '.join(filter(None, [_word(number), kept]))}", file=sys.stderr)
    return 128 + number


def _word(number: int) -> str:
    return ENDINGS[signal.Signals(number).name]


def _end(number: int, frame: FrameType | None) -> None:
    """The first signal raises; another one does not wait for what the first has to put away."""
    if _received:
        with suppress(OSError):
            os.write(2, f"{_word(number)} again: ended at once\n".encode())
        os._exit(128 + number)
    _received.append(number)
    raise KeyboardInterrupt


def _end_again(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _not_raised(dropped: Any) -> None:
    """In a destructor or a callback of C exceptions are dropped: an interrupt is raised once more, soon."""
    if isinstance(dropped.exc_value, KeyboardInterrupt) and _received:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)
    else:
        cast(Any, sys.__unraisablehook__)(dropped)
