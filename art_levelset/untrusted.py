"""
Reading files that anybody may have made: no code of theirs is run, and no memory is taken for what they only claim.

A file must be an ordinary one: a pipe or a device could be read for ever. What an archive says that its members take is
added up before one of them is unpacked, and the same is done with the arrays and tensors in it: all together they may
take :data:`RATIO` times the file and :data:`FREE` bytes. Whatever a file has wrong is a ValueError that says what; the
callers put the file's name before it.
"""

from __future__ import annotations

import json
import math
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO

from art_levelset.memory import available

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATIO = 100
"""A file may become so many times as large in memory: zeros, which compress best, become 1,000 times smaller."""

FREE = 1 << 28
"""Bytes that any file may take, however small it is: 256 MiB."""

TEXT_MOST = 1 << 28
"""The most bytes of a text file that is read as a whole: 256 MiB."""


def printable(text: str) -> str:
    """
    Text for a terminal, a picture or a page: signs that steer a terminal, and bytes that are no text, are spelled out.

    :param text: Any text, such as the name of a file.
    :return: The same text if it is printable, else with escapes in it.

    >>> printable("a scan.ply"), len(printable(chr(27)))
    ('a scan.ply', 4)
    """
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


@contextmanager
def opened(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """
    Open an ordinary file.

    :param path: The file.
    :return: The open file, closed with the block.
    :raises OSError: If there is none, it cannot be opened, or it is a folder, a pipe or a device.
    """
    name = os.fspath(path)
    if "\0" in name:
        raise FileNotFoundError(f"{name!r} cannot be the name of a file")
    handle = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(f"{name} is a folder")
        if not stat.S_ISREG(mode):
            raise OSError(f"{name} is no ordinary file but a pipe or a device")
    except OSError:
        os.close(handle)
        raise
    with open(name, "rb", opener=lambda *_: handle) as file:  # which knows its name, as readers want
        yield file


def read_bytes(path: str | PathLike[str], most: int = TEXT_MOST) -> bytes:
    """
    Read a whole file.

    :param path: The file.
    :param most: The most bytes that it may have, >= 0.
    :return: Its content.
    :raises OSError: If it cannot be read.
    :raises ValueError: If it is larger.
    """
    with opened(path) as file:
        if (size := size_of(file)) > most:
            raise ValueError(f"{os.fspath(path)} is larger than the {most:,} bytes that such a file may have")
        if size > (free := available()):
            raise ValueError(f"{os.fspath(path)} has {size:,} bytes, and {free:,.0f} of memory are free")
        file.seek(0)
        return file.read()


def read_json(path: str | PathLike[str], most: int = TEXT_MOST, **options: Any) -> Any:
    """
    Read a JSON file, in UTF-8.

    :param path: The file.
    :param most: The most bytes that it may have, >= 0.
    :param options: Those of `json.loads`.
    :return: What it holds.
    :raises OSError: If it cannot be read.
    :raises ValueError: If it is larger, no JSON or nested too deeply.
    """
    content = read_bytes(path, most)
    try:
        return json.loads(content.decode(), **options)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{os.fspath(path)}: nested too deeply") from error


class Arrays(Mapping[str, "NDArray[Any]"]):
    """
    The arrays of an `.npz` file by name, each read when it is asked for; closed with the block that it opens.

    :param file: The file, open and seekable.
    :raises ValueError: If it is no `.npz` file, or what it claims takes too much memory.
    """

    def __init__(self, file: BinaryIO) -> None:
        try:
            self._archive = zipfile.ZipFile(file)
        except Exception as error:  # damaged archives raise anything
            raise ValueError("is not an .npz file") from error
        check_members(self._archive, size_of(file), (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        self._members = {info.filename.removesuffix(".npy"): info for info in self._archive.infolist()}

    def __enter__(self) -> Arrays:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, name: str) -> NDArray[Any]:
        member = self._members[name]
        try:
            with self._archive.open(member) as file:
                array = read_array(file, member.file_size)
                while file.read(1 << 16):
                    pass  # at the end its checksum is compared
                return array
        except (MemoryError, ValueError):
            raise
        except Exception as error:  # damaged archives raise anything
            raise ValueError(f"it is damaged ({type(error).__name__})") from error


def read_array(file: Any, size: int) -> NDArray[Any]:
    """
    Read an array in NumPy's format.

    :param file: Where it begins, open.
    :param size: How many bytes there are.
    :return: The array.
    :raises ValueError: If it is none, holds Python objects or claims to be larger than the file.
    """
    from numpy.lib import format as npy

    header = BytesIO(file.read(min(size, 1 << 16)))
    kind, shape, _ = read_array_header(header)
    needed = math.prod(shape) * max(kind.itemsize, 1)
    if needed > size - header.tell():
        raise ValueError(f"it claims to be an array of {in_digits(needed)} bytes, of which there are fewer")
    rest = _Joined(header.getvalue(), file)
    try:
        array: NDArray[Any] = npy.read_array(rest, allow_pickle=False)
    except (EOFError, TypeError) as error:
        raise ValueError("it ends too early") from error
    return array


def read_array_header(file: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """
    Read the beginning of an array in NumPy's format.

    :param file: Where it begins.
    :return: The type and shape of the array, and whether its columns lie together.
    :raises ValueError: If it is none, holds Python objects, or its shape is none.
    """
    from numpy.lib import format as npy

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        version = npy.read_magic(file)
        shape, in_columns, kind = readers[version](file)
    except KeyError as error:
        raise ValueError("it is an array of an unknown version of NumPy's format") from error
    except Exception as error:  # NumPy evaluates the header, which raises anything
        raise ValueError("it is no array in NumPy's format") from error
    if kind.hasobject:
        raise ValueError("it holds Python objects, which are not read: they could run code")
    if any(isinstance(side, bool) or side < 0 for side in shape) or len(shape) > 32:
        raise ValueError("it claims an impossible shape")
    return kind, shape, in_columns


class _Joined:
    """Bytes that were read already, and the rest of the file."""

    def __init__(self, begun: bytes, file: Any) -> None:
        self._begun, self._file = BytesIO(begun), file

    def read(self, count: int = -1) -> bytes:
        first = self._begun.read(count)
        return first if len(first) == count else first + self._file.read(count - len(first) if count >= 0 else -1)


def check_members(archive: zipfile.ZipFile, size: int, methods: tuple[int, ...]) -> None:
    """
    Check what an archive says of its members, before one of them is unpacked.

    :param archive: The archive.
    :param size: Its file's bytes.
    :param methods: The ways in which members may be compressed.
    :raises ValueError: If another one is, names occur twice, or all together would take too much memory.
    """
    members = archive.infolist()
    if len({member.filename for member in members}) < len(members):
        raise ValueError("has several members of one name")
    if any(member.compress_type not in methods or member.flag_bits & 1 for member in members):
        raise ValueError("is compressed in an unusual way or encrypted")
    check_claim(sum(member.file_size for member in members), size)


def check_claim(claimed: int, size: int) -> None:
    """
    Check that what a file claims to hold may take so much memory.

    :param claimed: The bytes that it claims, >= 0.
    :param size: The file's own bytes.
    :raises ValueError: If it may not.
    """
    if claimed > FREE + RATIO * size:
        raise ValueError(f"claims to hold {in_digits(claimed)} bytes, but the file has {size:,}")
    if claimed > (free := available()):
        raise ValueError(f"holds {in_digits(claimed)} bytes, and {free:,.0f} of memory are free")


def size_of(file: BinaryIO) -> int:
    """
    The size of an open file.

    :param file: The file, which is at its end then.
    :return: Its bytes.
    """
    return file.seek(0, os.SEEK_END)


def in_digits(count: int) -> str:
    """
    A number for a message; a file may claim one of very many digits.

    :param count: The number.
    :return: The same as text, not longer than 30 characters.

    >>> in_digits(10**6), in_digits(10**5000)
    ('1,000,000', 'more than 10^18')
    """
    return f"{count:,}" if count < 10**18 else "more than 10^18"
