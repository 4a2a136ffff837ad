"""The files that a command line names: those of each scan, checked before the work, and written after it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from art_levelset.cli.places import keep_all
from art_levelset.files import check_folder, check_place
from art_levelset.recon.io.packed import stem_of

STEM = "{stem}"
"""Stands in paths for the name of the scan without its suffix."""


def arguments_of_each(
    arguments: argparse.Namespace, files: Mapping[str, Sequence[str]], suffix: str, read: Sequence[str] = ()
) -> list[argparse.Namespace]:
    """
    The arguments of each scan, with its own files, which can be written afterwards.

    :param arguments: What the parser returns, with the `scans`, the `output` and the `output_dir`.
    :param files: The names of the paths to write, `output` among them, and the suffixes that each may have.
    :param suffix: Follows the name of the scan in that of its output, unless the output is given.
    :param read: The names of the paths to read.
    :return: For each scan the arguments, with the `scan`, all paths, and whether there are to be `bars`.
    :raises ValueError: If a file cannot be written.
    :raises OSError: If the directory of the outputs cannot be made.
    """
    scans: list[Path] = arguments.scans
    taken = {_resolved(scan): "the scan itself" for scan in scans}
    if arguments.output_dir is not None:
        check_folder(arguments.output_dir)
        arguments.output_dir.mkdir(parents=True, exist_ok=True)
    several = []
    for scan in scans:
        own = argparse.Namespace(**vars(arguments), scan=scan, bars=not arguments.quiet)
        del own.scans, own.output_dir
        for name in (*files, *read):
            path = getattr(own, name)
            if path is None:
                continue
            if len(scans) > 1 and name in files and STEM not in str(path):
                raise ValueError(
                    f"--{name.replace('_', '-')}: {path} is one file for {len(scans)} scans: write {STEM} in it, "
                    f"as in {path.with_name(f'{STEM}{path.suffix}')}"
                )
            setattr(own, name, Path(str(path).replace(STEM, stem_of(scan))))
        for name in read:
            if getattr(own, name) is not None:
                taken[_resolved(getattr(own, name))] = f"the --{name.replace('_', '-')} itself"
        own.output = own.output or (arguments.output_dir or scan.parent) / f"{stem_of(scan)}{suffix}"
        check_files(own, files, taken)
        several.append(own)
    return several


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
        try:
            check_place(path)
        except OSError as error:
            raise ValueError(f"{option}: {error}") from error
        if _resolved(path) in taken:
            raise ValueError(f"{option}: {path} is also {taken[_resolved(path)]}")
        taken[_resolved(path)] = f"{option} of {arguments.scan}"


def write_files(arguments: argparse.Namespace, writers: Mapping[str, Callable[[Path], object]]) -> list[Path]:
    """
    Write the files that the arguments name, each whole or not at all, and elsewhere what cannot be at its place.

    :param arguments: Paths, or None, by name.
    :param writers: How to write each of them, by the same names, in the order of writing.
    :return: The files.
    :raises OSError: If a file cannot be at its place.
    """
    return keep_all(
        [(path, write) for name, write in writers.items() if (path := getattr(arguments, name)) is not None]
    )


def named(arguments: argparse.Namespace, names: Iterable[str]) -> list[Path]:
    """
    The files that the arguments name.

    :param arguments: Paths, or None, by name.
    :param names: The names.
    :return: The files, in the order of the names.
    """
    return [path for name in names if (path := getattr(arguments, name)) is not None]


def _resolved(path: Path) -> Path:
    """Without links; a link to itself stays what it is."""
    return Path(os.path.realpath(path))
