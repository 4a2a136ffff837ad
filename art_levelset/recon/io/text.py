"""
Lines of text files in whatever encoding they are, one at a time: a line that has no end does not fill the memory.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

LONGEST = 1 << 22
"""No line may be longer than this."""

_START = 1 << 16
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # begins as that of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_lines(path: Path) -> Iterator[str]:
    """
    The lines of a file, without blanks around them and without empty ones; they may end in any way.

    :param path: The file: UTF-8, UTF-16 or UTF-32, and Latin-1 where it is none of these.
    :return: The lines.
    :raises ValueError: If it is not text, or a line is longer than :data:`LONGEST`.
    """
    with path.open("rb") as file:
        encoding = _encoding(file.read(_START))
    with path.open(encoding=encoding, errors="replace") as file:
        while line := file.readline(LONGEST):
            if len(line) == LONGEST:
                raise ValueError(f"a line is longer than {LONGEST:,} characters: write one point a line")
            if line := line.strip():
                yield line


def show(line: str) -> str:
    """
    A line for a message.

    :param line: The line.
    :return: Its beginning, printable, between quotes.
    """
    return repr(line if len(line) <= 60 else line[:57] + "...")


def _encoding(start: bytes) -> str:
    """The encoding of a file that begins like this."""
    for mark, name in _MARKS.items():
        if start.startswith(mark):
            return name
    if b"\0" in start:
        even, odd = start[::2].count(0), start[1::2].count(0)
        if max(even, odd) > 0.45 * len(start) and min(even, odd) == 0:
            return "utf-16-le" if odd else "utf-16-be"
        raise ValueError("it is not text")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start, final=len(start) < _START)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"
