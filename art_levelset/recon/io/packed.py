"""Files that gzip has packed, and how scans are called without it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from art_levelset.untrusted import check_claim, opened, size_of

SUFFIX = ".gz"

_CHUNK = 1 << 20


def format_of(path: Path) -> str:
    """
    The suffix that says what is in a file, packed or not.

    >>> format_of(Path("scan.PLY.gz")), format_of(Path("scan.xyz"))
    ('.ply', '.xyz')

    :param path: The file.
    :return: The suffix, in small letters.
    """
    return (path.with_suffix("") if is_packed(path) else path).suffix.lower()


def stem_of(path: Path) -> str:
    """
    The name of a scan without what says its format.

    >>> stem_of(Path("scans/a.ply.gz")), stem_of(Path("scans/a.ply"))
    ('a', 'a')

    :param path: The file, or a folder, whatever it is called from within.
    :return: The name.
    """
    if path.name in ("", ".."):
        path = path.resolve()
    return (path.with_suffix("") if is_packed(path) else path).stem


def is_packed(path: Path) -> bool:
    """
    Whether a file is packed, by its name.

    :param path: The file.
    :return: Whether it ends in `.gz`.
    """
    return path.suffix.lower() == SUFFIX


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """
    A file as it was before it was packed.

    :param path: The file.
    :return: It itself if it is not packed; else another one with its name without `.gz`, which is removed with the
             block.
    :raises OSError: If it cannot be read, or there is no room for the other.
    :raises ValueError: If it is damaged, or becomes larger than any file may
            (:func:`art_levelset.untrusted.check_claim`).
    """
    if not is_packed(path):
        yield path
        return
    with TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        with opened(path) as file, plain.open("wb") as target:
            size, count = size_of(file), 0
            file.seek(0)
            try:
                with gzip.GzipFile(fileobj=file) as source:
                    while chunk := source.read(_CHUNK):
                        count += len(chunk)
                        check_claim(count, size)
                        target.write(chunk)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise ValueError(f"it is not what gzip writes, or damaged ({error!s:.200})") from error
        yield plain
