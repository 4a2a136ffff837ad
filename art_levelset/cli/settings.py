"""
A run's options as a YAML file: written beside what the run makes, and read by `--config`.

A file is a mapping from options, without their dashes, to values: `lr: 0.005`, `bf16: true`, `arch-args: {width: 8}`.
Its options stand before those of the command line, which so win. They are checked as if they had been typed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

OPTION = "--config"


def with_settings(given: Sequence[str]) -> list[str]:
    """
    The arguments of a command line with the options of the file that `--config` names in its place.

    :param given: The arguments, a verb first.
    :return: The verb, the file's options, and the other arguments.
    :raises ValueError: If there are several such files, or the file cannot be read, or is no mapping of options to
            values, or has the settings of another preset or trainer than the command line, or the learning rate of
            another optimizer where the command line has none.
    """
    arguments = list(given)
    places = [place for place, text in enumerate(arguments) if text.partition("=")[0] == OPTION]
    if len(places) > 1:
        raise ValueError(f"{OPTION} must be given once, got it {len(places)} times: put the options into one file")
    if not places or arguments[-1] == OPTION:  # which the parser refuses
        return arguments
    (place,) = places
    _, attached, path = arguments[place].partition("=")
    path = path if attached else arguments[place + 1]
    rest = [*arguments[:place], *arguments[place + (1 if attached else 2) :]]
    settings = read_settings(Path(path))
    _check_kind(settings, rest, path)
    _check_rate(settings, rest, path)
    return [*rest[:1], *options_of(settings), *rest[1:]]


def _check_kind(settings: Mapping[str, Any], typed: Sequence[str], path: str) -> None:
    """A run's file, which names its trainer, has all that its trainer and preset have chosen."""
    for name in ("preset", "trainer"):
        value = _said(typed, f"--{name}")
        is_of_one = name in settings or "trainer" in settings
        if is_of_one and value not in (None, settings.get(name)):
            own = f"the {name} {settings[name]}" if name in settings else f"no {name}"
            raise ValueError(
                f"--{name}: {path} has the settings of {own}, not of {value}: leave out {OPTION}, or edit the file"
            )


def _check_rate(settings: Mapping[str, Any], typed: Sequence[str], path: str) -> None:
    """A learning rate belongs to its optimizer."""
    optimizer = _said(typed, "--optimizer")
    if "lr" in settings and optimizer not in (None, settings.get("optimizer")) and _said(typed, "--lr") is None:
        raise ValueError(f"--optimizer: the learning rate in {path} is not for it; give --lr as well")


def _said(typed: Sequence[str], option: str) -> str | None:
    """The value of an option that is typed, the last one; None where it is not."""
    words = [word for text in typed for word in text.split("=", 1)]
    values = [value for word, value in pairwise(words) if word == option]
    return values[-1] if values else None


def read_settings(path: Path) -> dict[str, Any]:
    """
    Read a file of options.

    :param path: The file.
    :return: Values by option, without dashes.
    :raises ValueError: If it cannot be read, is no mapping of options to values, or names another file.
    """
    import yaml

    from art_levelset.untrusted import read_bytes

    try:
        content = read_bytes(path)
    except OSError as error:
        raise ValueError(f"{OPTION}: {path}: {error.strerror or error}") from error
    try:
        found = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{OPTION}: {path} is no YAML file: {' '.join(str(error).split()):.200}") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{OPTION}: {path} must be a mapping of options to values, such as `lr: 0.005`")
    if OPTION.removeprefix("--") in found:
        raise ValueError(f"{OPTION}: {path} must not name another file by {OPTION}: put the options into one file")
    return found


def options_of(settings: Mapping[str, Any]) -> list[str]:
    """
    What one would type.

    :param settings: Values by option: true for one without a value, false or null to leave it out, a list for one with
           several values, a mapping for one that takes JSON.
    :return: The arguments.

    >>> options_of({"lr": 0.005, "bf16": True, "arch-args": {"width": 8}, "csv": None})
    ['--lr', '0.005', '--bf16', '--arch-args', '{"width": 8}']
    """
    typed: list[str] = []
    for name, value in settings.items():
        if value is None or value is False:
            continue
        typed.append(f"--{name}")
        if isinstance(value, dict):
            typed.append(json.dumps(value))
        elif value is not True:
            typed += map(str, value if isinstance(value, list) else [value])
    return typed


def as_yaml(settings: Mapping[str, Any], remark: str) -> str:
    """
    A file of options.

    :param settings: Values by option, without dashes; what is None or false is left out.
    :param remark: What the file's first line says.
    :return: Its text, which :func:`read_settings` reads.
    """
    import yaml

    kept = {name: value for name, value in settings.items() if value is not None and value is not False}
    return f"# {remark}\n{yaml.safe_dump(kept, sort_keys=False)}"
