"""
What a thing is, as values: for records, for the settings of a run, and for the keys of finished work.

:func:`describe` makes a text of everything, by its name where there is nothing better: for people, and to compare the
settings of two runs. :func:`identify` is for keys, under which a result is found again: it names nothing that it does
not know by value, since two things of one name may be different things.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, device, dtype, nn

_FEW = 64
"""Arrays of so many entries at most are described by them, larger ones by their digest."""

_UNIMPORTANT = ("seed", "verbose", "memo", "progress")
"""What may differ between two things that are the same: seeds are parts of keys of their own."""


class Unidentifiable(TypeError):
    """Something is not known by value."""


def describe(value: Any) -> Any:
    """
    A thing as values for people: the same for equal things in another process.

    :param value: Anything.
    :return: What JSON holds. Numbers, texts and containers are themselves; a partial function, a dataclass and another
             object are their name and their parameters (public attributes), or what their method `described()` returns,
             a mapping; what is known by its name alone, as a function, is its name.
    """

    def name(unknown: Any) -> Any:
        return getattr(unknown, "__qualname__", type(unknown).__qualname__)

    return _described(value, name, lambda known: known.described() if hasattr(known, "described") else None)


def identify(value: Any) -> Any:
    """
    A thing as values that no other thing has.

    A function or class is known by its name if it can be imported under it from this package, whose code is part of
    every key (:func:`art_levelset.versions.computing`), or from an installed library. A function of the caller's own
    program is not: its code may change between two runs. Nor is a closure, which its name says nothing about, nor a
    network with a layer of the caller's own.

    :param value: Anything.
    :return: What JSON holds.
    :raises Unidentifiable: If a part of it is not known by value.
    """

    def refuse(unknown: Any) -> Any:
        if not _is_importable(unknown):
            name = getattr(unknown, "__qualname__", type(unknown).__qualname__)
            raise Unidentifiable(f"{name} is known by its name alone")
        return f"{unknown.__module__}.{unknown.__qualname__}"

    return _described(value, refuse, lambda known: None)


def structure(module: nn.Module) -> str:
    """
    The structure of a network: its layers with their settings, and the shapes of its parameters and buffers.

    :param module: The network.
    :return: A text that is the same for networks of equal structure, in another process as well.
    """
    shapes = [(name, tuple(tensor.shape)) for name, tensor in module.state_dict().items()]
    return repr((re.sub(r" at 0x[0-9a-f]+", "", repr(module)), shapes))


def digest(*parts: Any) -> str:
    """
    A fingerprint of values.

    :param parts: Networks (their structure, every parameter and buffer, and the source of classes that are of no
           installed library, where there is one), tensors, arrays, and what JSON holds.
    :return: 64 hexadecimal digits, the SHA-256.
    """
    total = hashlib.sha256()
    for part in parts:
        for piece in _pieces(part):
            total.update(hashlib.sha256(piece).digest())
    return total.hexdigest()


def _described(value: Any, named: Callable[[Any], Any], said: Callable[[Any], Mapping[str, Any] | None]) -> Any:
    """The thing as values; `named` is asked for what has a name only, `said` for what an object says of itself."""
    inner = functools.partial(_described, named=named, said=said)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (Path, device, dtype)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): inner(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [inner(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((inner(item) for item in value), key=repr)
    if isinstance(value, np.generic):
        return inner(value.item())
    if isinstance(value, nn.Module):
        for layer in value.modules():
            named(type(layer))
        return {"name": type(value).__name__, "sha256": digest(value)}
    if isinstance(value, (np.ndarray, Tensor)):
        if math.prod(value.shape) <= _FEW:
            return inner(value.tolist())
        return {"name": str(value.dtype), "shape": list(value.shape), "sha256": digest(value)}
    if isinstance(value, functools.partial):
        return _of_partial(value, inner)
    if inspect.isroutine(value) or isinstance(value, type):
        return named(value)
    named(type(value))  # an object is known by value if its class is known
    own = said(value)
    if own is not None:
        return inner(own)
    return {"name": type(value).__qualname__, **inner(_parameters(value))}


def _of_partial(value: functools.partial[Any], inner: Callable[[Any], Any]) -> dict[str, Any]:
    function = inner(value.func)
    known = function if isinstance(function, dict) else {"name": function}
    given = {name: item for name, item in value.keywords.items() if name not in _UNIMPORTANT}
    return {**known, **({"args": inner(value.args)} if value.args else {}), **inner(given)}


def _parameters(value: Any) -> dict[str, Any]:
    """Those that an object was made with: the fields of a dataclass that its repr shows, or its public attributes."""
    if dataclasses.is_dataclass(value):
        found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.repr}
    else:
        found = {name: item for name, item in getattr(value, "__dict__", {}).items() if not name.startswith("_")}
    return {name: item for name, item in found.items() if name not in _UNIMPORTANT}


def _is_importable(value: Any) -> bool:
    """Whether a function or class is found under its name in a module that is not the caller's own program."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    found: Any = sys.modules.get(module or "")
    if found is None or not _is_installed(found):
        return False
    for part in name.split("."):
        found = getattr(found, part, None)
    return bool(found is value)


def _is_installed(module: Any) -> bool:
    """Whether a module is one of this package, of an installed library or of Python."""
    root = module.__name__.partition(".")[0]
    if root == __name__.partition(".")[0] or root in sys.stdlib_module_names:
        return bool(root != "__main__")
    return "site-packages" in Path(getattr(module, "__file__", None) or "").parts


def _pieces(part: Any) -> Iterator[bytes]:
    if isinstance(part, nn.Module):
        yield structure(part).encode()
        yield from _own_code(part)
        for name, value in part.state_dict().items():
            yield name.encode()
            yield from _pieces(value)
    elif isinstance(part, Tensor):
        yield from _pieces(part.detach().cpu().numpy())
    elif isinstance(part, np.ndarray):
        yield f"{part.dtype.str} {part.shape}".encode()
        yield part.tobytes()
    else:
        yield json.dumps(part, sort_keys=True).encode()


def _own_code(network: nn.Module) -> Iterator[bytes]:
    """The source of the layers' classes that are the caller's own: a changed forward pass is another network."""
    kinds = {f"{type(part).__module__}.{type(part).__qualname__}": type(part) for part in network.modules()}
    for _, kind in sorted(kinds.items()):
        if not _is_importable(kind):
            try:
                yield inspect.getsource(kind).encode()
            except (OSError, TypeError):  # typed in a terminal: there is no source
                continue
