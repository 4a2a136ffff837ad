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
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, device, dtype, layout, memory_format, nn

from art_levelset.own_code import code_of, is_importable

_FEW = 64
"""Arrays of so many entries at most are described by them, larger ones by their digest."""

_UNIMPORTANT = ("seed", "verbose", "memo", "progress")
"""What may differ between two things that are the same: seeds are parts of keys of their own."""


_PLAIN = (bool, int, float, complex, str, bytes, slice, range, Enum, Path, device, dtype, layout, memory_format)
"""Their texts say what they are."""

_HOOKS = tuple(name for name in vars(nn.Module()) if name.endswith("_hooks"))

_OF_EVERY_LAYER = {*vars(nn.Module()), "training"}
"""What PyTorch keeps in each layer: parameters, buffers and layers, which are told otherwise, and hooks."""

_DEEPEST = 8
"""Objects in objects, of what a layer holds."""


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
        if not is_importable(unknown):
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

    :param parts: Networks (their structure, every parameter and buffer, the settings and hooks of each layer, and the
           code of what is of no installed library, with the caller's own modules that it imports), tensors, arrays, and
           what JSON holds.
    :return: 64 hexadecimal digits, the SHA-256.
    """
    return _hashed(piece for part in parts for piece in _pieces(part))


def form(network: nn.Module) -> str:
    """
    A fingerprint of a network without its parameters and buffers: what it computes with them.

    :param network: The network.
    :return: 64 hexadecimal digits, the SHA-256 of all else that :func:`digest` looks at.
    """
    return _hashed(_form(network, set()))


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


def _hashed(pieces: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for piece in pieces:
        total.update(hashlib.sha256(piece).digest())
    return total.hexdigest()


def _pieces(part: Any) -> Iterator[bytes]:
    if isinstance(part, nn.Module):
        yield from _network(part, set())
    elif isinstance(part, Tensor):
        values = part.detach().cpu()
        if values.dtype == torch.bfloat16:  # NumPy has none
            yield b"bfloat16"
            values = values.view(torch.int16)
        yield from _pieces(values.numpy())
    elif isinstance(part, np.ndarray):
        yield f"{part.dtype.str} {part.shape}".encode()
        yield part.tobytes()
    else:
        yield json.dumps(part, sort_keys=True).encode()


def _network(network: nn.Module, known: set[int]) -> Iterator[bytes]:
    """A network; `known` are the objects that have been told before."""
    yield from _form(network, known)
    for name, value in network.state_dict().items():
        yield name.encode()
        yield from _pieces(value)


def _form(network: nn.Module, known: set[int]) -> Iterator[bytes]:
    """All of a network but its parameters and buffers."""
    known.update(id(part) for part in network.modules())
    yield structure(network).encode()
    yield from _layers(network, known)


def _layers(network: nn.Module, known: set[int]) -> Iterator[bytes]:
    """
    What the text and the parameters of a network do not say: the code of layers of the caller's own, the settings of
    each layer, and its hooks. A changed forward pass, or another number in it, is another network.
    """
    kinds = {id(type(part)): type(part) for part in network.modules()}
    own = [kind for kind in kinds.values() if not is_importable(kind)]
    yield from sorted(hashlib.sha256(b"".join(code_of(kind, _valued(known)))).digest() for kind in own)
    for name, part in network.named_modules():
        settings = {key: value for key, value in vars(part).items() if key not in _OF_EVERY_LAYER}
        if type(part).__module__.startswith((f"{__name__.partition('.')[0]}.", "torch._dynamo.")):
            settings = {}  # which the texts of ours say; and a compiled network is the network in it
        hooks = {key: [*vars(part)[key].values()] for key in _HOOKS if vars(part).get(key)}
        if isinstance(part, torch.jit.ScriptModule) and hasattr(part, "code_with_constants"):
            code, constants = part.code_with_constants
            settings |= {"code": code, "constants": constants.const_mapping}
        if settings or hooks:
            yield name.encode()
            yield from _value({**settings, **hooks}, known, 0)


def _valued(known: set[int]) -> Callable[[Any], Iterator[bytes]]:
    return lambda value: _value(value, known, 0)


def _value(value: Any, known: set[int], depth: int) -> Iterator[bytes]:
    """Anything that a layer may hold, as far as it can be told; `known` are the objects that have been told before."""
    inner = functools.partial(_value, known=known, depth=depth + 1)
    yield type(value).__qualname__.encode()
    if value is None or isinstance(value, _PLAIN):
        yield repr(value).encode()
        return
    if id(value) in known or depth > _DEEPEST:
        return
    if isinstance(value, (Tensor, np.ndarray)):
        yield from _pieces(value)
    elif isinstance(value, np.generic):
        yield repr(value.item()).encode()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield repr(key).encode() if isinstance(key, _PLAIN) else b""
            yield from inner(item)
    elif isinstance(value, (list, tuple)):
        yield str(len(value)).encode()
        for item in value:
            yield from inner(item)
    elif isinstance(value, (set, frozenset)):
        yield from sorted(b"".join(inner(item)) for item in value)
    elif isinstance(value, (type, FunctionType)):
        yield from _named(value, inner)
    else:
        known.add(id(value))
        yield from _network(value, known) if isinstance(value, nn.Module) else _object(value, inner)


def _named(value: Any, inner: Callable[[Any], Iterator[bytes]]) -> Iterator[bytes]:
    """A class or a function: by its name, or by its code and what it closes over."""
    if is_importable(value):
        yield f"{value.__module__}.{value.__qualname__}".encode()
        return
    yield from code_of(value, inner)
    if isinstance(value, FunctionType):
        yield from inner([value.__defaults__, value.__kwdefaults__])
        yield from _cells(value, inner)


def _cells(value: FunctionType, inner: Callable[[Any], Iterator[bytes]]) -> Iterator[bytes]:
    yield value.__code__.co_code  # lambdas of one file have one name
    yield repr([constant for constant in value.__code__.co_consts if isinstance(constant, _PLAIN)]).encode()
    for cell in value.__closure__ or ():
        try:
            yield from inner(cell.cell_contents)
        except ValueError:  # it is empty
            continue


def _object(value: Any, inner: Callable[[Any], Iterator[bytes]]) -> Iterator[bytes]:
    """What is none of the others: by its class and its attributes."""
    if isinstance(value, functools.partial):
        yield from inner([value.func, value.args, value.keywords])
    elif inspect.ismethod(value):
        yield from inner([value.__func__, value.__self__])
    elif inspect.isroutine(value):
        yield f"{getattr(value, '__module__', None)}.{value.__qualname__}".encode()
    else:
        yield from _named(type(value), inner)
        root = type(value).__module__.partition(".")[0]
        if root not in sys.stdlib_module_names or isinstance(value, (Namespace, SimpleNamespace)):
            yield from inner(getattr(value, "__dict__", {}))  # but not of loggers and locks, which know everything
