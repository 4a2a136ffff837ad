"""
Writing files: one is there completely or not at all, whenever the process is killed, and what is done is not lost.

A writer works in a hidden folder beside the file's place, which it locks (flock) as long as it lives: what a killed
writer has left is known by a lock that nobody holds, and the next writer of the same file removes it. A lock of the
same kind, :func:`claim`, keeps two runs from one file. Where a file system has no such locks, as some network drives
have none, nothing is removed and nobody is kept out.
"""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_BLOCK = bytes(4096)
"""What a place must have room for, before the work."""


class KeptElsewhere(OSError):
    """
    A file could not be written where it should be, and was written at another place.

    :param message: What happened, in one line, with both places.
    :param place: Where the file is.
    """

    def __init__(self, message: str, place: Path) -> None:
        super().__init__(message)
        self.place = place


@contextmanager
def replacing(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """
    Write a file in a temporary folder beside its place, and move it there when it is complete.

    :param path: The file, in a folder that exists; an existing file is replaced, a link to one stays and leads to the
           new one, and a device or a pipe is written to.
    :param durable: Whether the file must be on the disk before it gets its name, and its name before this returns: then
           it survives a machine that stops, too.
    :return: Where to write, a path with the same name, which some formats keep in the file. If the block fails, nothing
             of it stays, and the file is what it was.
    :raises OSError: If the file cannot be there or not be written.
    """
    path = Path(path)
    _check_names(path)
    if _is_stream(path):
        with tempfile.TemporaryDirectory() as other:
            yield Path(other) / path.name
            with (Path(other) / path.name).open("rb") as source, path.open("wb") as stream:
                shutil.copyfileobj(source, stream)
        return
    place = path.resolve() if path.is_symlink() else path
    with scratch(place) as folder:
        unfinished = folder / path.name
        yield unfinished
        if durable:
            _to_disk(unfinished, os.O_RDWR)
        unfinished.replace(place)
        if durable and hasattr(os, "O_DIRECTORY"):  # on systems where folders can be opened
            _to_disk(place.parent, os.O_DIRECTORY)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """
    A hidden folder for a file that is not finished, as long as the block lasts.

    What killed writers of the same file have left is removed.

    :param path: The file, in a folder that exists.
    :return: The folder, beside it.
    :raises OSError: If it cannot be made.
    """
    remove_unfinished(path.parent, glob.escape(path.stem))
    while True:
        folder = path.with_name(f".{path.stem}-{secrets.token_hex(4)}.unfinished")
        folder.mkdir()
        with suppress(FileNotFoundError):  # another writer may take it for that of a killed one until it is locked
            handle = _held(folder)
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def remove_unfinished(folder: Path, stem: str) -> None:
    """
    Remove what writers that were killed have left in a folder. What living ones write is left alone.

    :param folder: The folder.
    :param stem: The stem of the files that they would have written; a pattern.
    """
    for left in folder.glob(f".{stem}-????????.unfinished"):
        with suppress(OSError), _opened(left, os.O_RDONLY) as handle:
            if _lock(handle):
                shutil.rmtree(left, ignore_errors=True)


def remove_free_locks(folder: Path) -> None:
    """
    Remove the lock files that killed processes have left in a folder (:func:`claim`). Those of living ones are left
    alone.

    :param folder: The folder.
    """
    for left in folder.glob(".*.lock"):
        with suppress(OSError), _opened(left, os.O_RDWR) as handle:
            if _lock(handle) and os.path.samestat(os.fstat(handle), left.stat()):
                left.unlink()


def beside(path: Path, suffix: str) -> Path:
    """
    The file of the same name with another suffix. A suffix is letters: "robust-0.15" has none, and keeps all its name.

    >>> beside(Path("robust.pth"), ".png").name, beside(Path("robust-0.15"), ".png").name
    ('robust.png', 'robust-0.15.png')

    :param path: The file.
    :param suffix: The other suffix, with its dot; "" for none.
    :return: The other file.
    """
    known = path.suffix[1:].isalpha()
    return path.with_suffix(suffix) if known else path.with_name(f"{path.name}{suffix}")


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


def keep(path: str | Path, write: Callable[[Path], object], *, durable: bool = False) -> None:
    """
    Write the result of long work, at another place if its own has become impossible: full, read-only or gone.

    The other places are the current folder and the one for temporary files; no file is replaced there.

    :param path: The file.
    :param write: Writes it where it is told to; it may be called again.
    :param durable: As for :func:`replacing`.
    :raises KeptElsewhere: If the file is at another place.
    :raises OSError: If it can be written nowhere.
    """
    path = Path(path)
    try:
        with replacing(path, durable=durable) as unfinished:
            write(unfinished)
    except OSError as error:
        reason = error.strerror or str(error)
        place = _elsewhere(path, write)
        if place is None:
            raise OSError(f"{path} cannot be written ({reason}), nor can it anywhere else") from error
        raise KeptElsewhere(f"{path} cannot be written ({reason}): it is in {place}", place) from error


def check_place(path: str | Path) -> None:
    """
    Before long work: check that a file can be written where it shall be, by writing something beside it.

    :param path: The file.
    :raises OSError: If its folder does not exist, cannot be written in or is full, or it is a folder itself.
    """
    path = Path(path)
    _check_names(path)
    if not _is_stream(path):
        _try_out(path.resolve() if path.is_symlink() else path, f"{path} cannot be written")


def check_folder(path: str | Path) -> None:
    """
    Before long work: check that files can be written in a folder, which may have to be made.

    :param path: The folder.
    :raises OSError: If it is a file, or it or the folder in which it would be made cannot be written in.
    """
    path = Path(path)
    there = next((folder for folder in (path, *path.absolute().parents) if folder.exists()), Path("/"))
    if not there.is_dir():
        raise NotADirectoryError(f"{path} is a file" if there == path else f"{path}: {there} is a file")
    _try_out(there / "folder", f"{path} cannot be written in")


@contextmanager
def common_folder(name: str) -> Iterator[Path]:
    """
    A folder for temporary files that several processes of a user have in common; the last one to leave removes it.

    :param name: Its name, which is the same in all of them and in no others.
    :return: The folder; it is made by the first one to come.
    :raises PermissionError: If somebody else has made it.
    :raises OSError: If it cannot be made.
    """
    folder = Path(tempfile.gettempdir()) / name
    handle = None
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and folder.lstat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to another user")
        with suppress(FileNotFoundError):  # the last one may just have left
            handle = _held(folder, shared=True)
            break
    try:
        yield folder
    finally:
        if handle is not None:
            if _lock(handle):
                shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)


@contextmanager
def claim(*paths: str | Path | None) -> Iterator[None]:
    """
    Keep other runs from writing the same files, as long as the block lasts or the process lives.

    Each has a hidden file `.NAME.lock` beside it meanwhile. A killed run leaves it behind, without the lock: it then
    keeps out nobody, and goes with the next run.

    :param paths: The files, in folders that exist; None for those that are not written.
    :raises BlockingIOError: If another run has claimed one of them.
    :raises OSError: If nothing can be written beside one of them.
    """
    with ExitStack() as stack:
        for path in paths:
            if path is not None and not _is_stream(Path(path)):
                stack.enter_context(_claimed(Path(path)))
        yield


def _check_names(path: Path) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")


def _try_out(path: Path, complaint: str) -> None:
    try:
        with scratch(path) as folder:
            (folder / path.name).write_bytes(_BLOCK)
    except OSError as error:
        raise OSError(f"{complaint}: {error.strerror or error}") from error


def _is_stream(path: Path) -> bool:
    """Whether it is written to, not replaced: a device, a pipe or what /dev/stdout leads to."""
    return path.exists() and (not path.is_file() or path.absolute().parts[1:2] in (("dev",), ("proc",)))


def _held(folder: Path, *, shared: bool = False) -> int | None:
    """A folder's lock; None where folders have none."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # folders cannot be opened on Windows
        return None
    _lock(handle, wait=True, shared=shared)
    if not folder.exists() or not os.path.samestat(os.fstat(handle), folder.stat()):
        os.close(handle)
        raise FileNotFoundError(folder)
    return handle


@contextmanager
def _claimed(path: Path) -> Iterator[None]:
    file = path.with_name(f".{path.name}.lock")
    handle = None
    while handle is None:
        handle = _lock_file(file, path)
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()
        os.close(handle)


def _lock_file(file: Path, path: Path) -> int | None:
    """The lock of a file, locked; None if its owner has removed it before it was."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if _lock(handle) is False:
            owner = os.read(handle, 20).decode("ascii", "replace").strip()
            raise BlockingIOError(f"{path} is being written by another run, process {owner or 'unknown'}")
        if not os.path.samestat(os.fstat(handle), file.stat()):
            raise FileNotFoundError(file)
        os.write(handle, str(os.getpid()).encode().ljust(20))
    except BaseException as error:
        os.close(handle)
        if isinstance(error, FileNotFoundError):
            return None
        raise
    return handle


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    handle = os.open(path, flags, 0o666)
    try:
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int, *, wait: bool = False, shared: bool = False) -> bool | None:
    """Lock what is open until it is closed: True, False if another one has the lock, None where there are no locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _elsewhere(path: Path, write: Callable[[Path], object]) -> Path | None:
    """Where the file has been written instead; None if it could not be."""
    for folder in (Path.cwd, lambda: Path(tempfile.gettempdir())):
        with suppress(OSError):
            place = folder() / path.name
            if place.exists():
                place = place.with_name(f"{path.stem}-{secrets.token_hex(4)}{path.suffix}")
            with replacing(place) as unfinished:
                write(unfinished)
            return place
    return None


def _to_disk(path: Path, flags: int) -> None:
    with _opened(path, flags) as handle:
        os.fsync(handle)
