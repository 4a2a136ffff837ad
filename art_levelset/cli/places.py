"""Where a verb writes: found out and claimed before its work, and after it nothing is lost for want of a place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from art_levelset.files import check_folder, check_place, claim, keep


@contextmanager
def outputs(
    files: Mapping[str, Path | None],
    folders: Mapping[str, Path | None] | None = None,
    inputs: Mapping[str, str | Path | None] | None = None,
) -> Iterator[None]:
    """
    Check that a verb can write what it is asked for, and keep other runs from writing the same files meanwhile.

    Of several processes the first one writes, and checks.

    :param files: The files by the options that name them; None for those that are not asked for.
    :param folders: Folders for several files, which may have to be made, by their options.
    :param inputs: What is read, by the options that name it; what is no file, such as a name, is passed over.
    :raises OSError: If a file or folder cannot be written, or another run writes the file; it names the option.
    :raises ValueError: If two options name the same file.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    seen = {
        Path(given).resolve(): option for option, given in (inputs or {}).items() if given and Path(given).is_file()
    }
    for option, path in files.items():
        if path is not None:
            _named(option, check_place, path)
            if path.resolve() in seen:
                raise ValueError(f"{option} must be another file than {seen[path.resolve()]}, got {path}")
            seen[path.resolve()] = option
    for option, path in (folders or {}).items():
        if path is not None:
            _named(option, check_folder, path)
    with claim(*files.values()):
        yield


def keep_all(writers: Sequence[tuple[Path, Callable[[Path], object]]]) -> list[Path]:
    """
    Write all results, each whole or not at all; what cannot be at its place is written at another one.

    :param writers: The files, and what writes each where it is told to, in their order.
    :return: The files.
    :raises OSError: If a file is not at its place, after all others have been written; it says where they are.
    """
    failures: list[OSError] = []
    for path, write in writers:
        try:
            keep(path, write, durable=True)
        except OSError as error:
            failures.append(error)
    if failures:
        raise OSError("; ".join(map(str, failures)))
    return [path for path, _ in writers]


def _named(option: str, check: Callable[[Path], None], path: Path) -> None:
    try:
        check(path)
    except OSError as error:
        raise OSError(f"{option}: {error}") from error
