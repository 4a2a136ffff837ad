"""
The user's own Python on the command line: `package.module:name`, or `file.py:name`, with arguments as JSON.

What is named is imported and called: it is the user's program, and runs with the user's rights. Files of weights and of
data run no code; a Python path does, so it must come from nobody else.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from art_levelset.arguments import did_you_mean

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_python_path(text: str) -> bool:
    """
    Whether a text names something in a Python file or module.

    :param text: What an option was given.
    :return: Whether it does; it may name nothing that there is.

    >>> is_python_path("nets/small.py:make"), is_python_path("nets.small:make"), is_python_path("torchvision:resnet18")
    (True, True, True)
    >>> is_python_path("mnist"), is_python_path("data.npz"), is_python_path("imagefolder:some/folder")
    (False, False, False)
    """
    place, colon, name = text.rpartition(":")
    return bool(colon) and name.isidentifier() and (place.endswith(".py") or bool(_MODULE.fullmatch(place)))


def short_name(path: str) -> str:
    """
    A Python path without the folders of its file, which say nothing to others.

    :param path: The path.
    :return: The same, of a file with its last name alone.

    >>> short_name("/home/me/nets/small.py:make"), short_name("nets.small:make")
    ('small.py:make', 'nets.small:make')
    """
    place, _, name = path.rpartition(":")
    return f"{Path(place).name if place.endswith('.py') else place}:{name}"


def imported(option: str, path: str) -> Any:
    """
    What a Python path names. The folder of a file, or the current folder, is searched for modules, as by `python`.

    :param option: The option that has it.
    :param path: The path.
    :return: It.
    :raises ValueError: If the file, the module or the name does not exist, or the import fails.
    """
    place, _, name = path.rpartition(":")
    if place.endswith(".py"):
        module = _of_file(option, Path(place))
    else:
        _search(Path())
        with errors_named(option, f"the import of {place}"):
            try:
                module = importlib.import_module(place)
            except ModuleNotFoundError as error:
                if error.name is None or not f"{place}.".startswith(f"{error.name}."):
                    raise
                raise ValueError(f"{option}: there is no module {error.name}") from error
    try:
        return getattr(module, name)
    except AttributeError:
        public = [known for known in vars(module) if not known.startswith("_")]
        raise ValueError(f"{option}: {place} has no {name!r}{did_you_mean(name, public)}") from None


def called(option: str, path: str, arguments: Mapping[str, Any]) -> Any:
    """
    What the callable of a Python path returns.

    :param option: The option that has the path.
    :param path: The path.
    :param arguments: Arguments by name.
    :return: What it returns.
    :raises ValueError: If there is no such callable, or it fails.
    """
    function = imported(option, path)
    if not callable(function):
        raise ValueError(f"{option}: {short_name(path)} must be callable, got {type(function).__name__}")
    with errors_named(option, short_name(path)):
        return function(**arguments)


def json_arguments(option: str, text: str | None) -> dict[str, Any]:
    """
    Arguments by name, from JSON.

    :param option: The option that has it.
    :param text: A JSON object; None for no arguments.
    :return: The arguments.
    :raises ValueError: If it is no JSON object, has a name twice, or a number that is none in JSON.

    >>> json_arguments("--arch-args", '{"width": 8}')
    {'width': 8}
    """
    if text is None:
        return {}
    try:
        found = json.loads(text, parse_constant=_refused, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{option} must be a JSON object: {error}, got {text!r:.80}") from None
    if not isinstance(found, dict):
        raise ValueError(f'{option} must be a JSON object such as {{"width": 8}}, got {text!r:.80}')
    return found


@contextlib.contextmanager
def errors_named(option: str, what: str) -> Iterator[None]:
    """
    What the user's own code raises, as one line that names the option, the error and where it was raised. What it
    prints goes to stderr.

    :param option: The option that names the code.
    :param what: What fails.
    :raises ValueError: If anything is raised.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (Exception, SystemExit) as error:
        if isinstance(error, ValueError) and str(error).startswith(option):
            raise
        message = " ".join(str(error).split())
        last = _own_frame(error)
        line = f"line {error.lineno}" if isinstance(error, SyntaxError) else f"line {last.lineno}"
        file = error.filename if isinstance(error, SyntaxError) and error.filename else last.filename
        raise ValueError(
            f"{option}: {what} failed: {type(error).__name__}: {message} ({Path(file).name}, {line})"
        ) from error


def _own_frame(error: BaseException) -> traceback.FrameSummary:
    """Where it was raised: in the user's own code, as far as there is some of it on the way."""
    frames = traceback.extract_tb(error.__traceback__)
    others = ("<", str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"))
    own = [frame for frame in frames if "site-packages" not in frame.filename and not frame.filename.startswith(others)]
    return (own or [*frames])[-1]


def _of_file(option: str, file: Path) -> ModuleType:
    """A file as a module, whose name is no other module's: two files of one name are two modules."""
    if not file.is_file():
        raise ValueError(f"{option}: there is no file {file}")
    stem, place = re.sub(r"\W", "_", file.stem), str(file.resolve())
    name = f"{stem}_{hashlib.sha256(place.encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{option}: {file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    _search(file.parent)
    sys.modules[name] = module
    try:
        with errors_named(option, f"the import of {file.name}"):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _search(folder: Path) -> None:
    """Let modules be found in a folder first."""
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.insert(0, place)


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len({*names}) < len(names):
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return dict(pairs)
