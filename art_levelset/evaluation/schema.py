"""
Frozen dataclasses whose fields are what their annotations say, whether they come from Python or from JSON.

A field's annotation is its schema: `bool`, `int`, `float` (finite), `str` (printable, on one line), `X | None`,
`tuple[X, ...]`, `tuple[X, Y]`, `dict[str, X]`, `Literal[...]`, another dataclass of this kind, or `Any` for any JSON
value. What only values can tell (ranges, lengths) a class checks in `__post_init__`, after this one's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

Schema = TypeVar("Schema", bound="Checked")


@dataclass(frozen=True, kw_only=True)
class Checked:
    """
    Brings every field to its annotation's type: numpy's numbers become Python's, lists tuples, mappings dataclasses.

    :raises TypeError: If a field is of another type; the message begins with its name.
    :raises ValueError: If it has no such value.
    """

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            object.__setattr__(self, name, _fitted(getattr(self, name), hint, name))


def from_mapping(schema: type[Schema], values: Mapping[str, Any]) -> Schema:
    """
    Make a dataclass of the values of its fields, which may be as JSON has them.

    :param schema: The class.
    :param values: The fields; those with a default may be missing.
    :return: The instance.
    :raises ValueError: If a field is unknown, missing or out of range; the message names it.
    :raises TypeError: If a field is of another type.
    """
    known = {field.name: field.default is MISSING and field.default_factory is MISSING for field in fields(schema)}
    for name in values:
        if name not in known:
            raise ValueError(f"{name!r} is not a known field")
    for name, required in known.items():
        if required and name not in values:
            raise ValueError(f"{name} is missing")
    return schema(**values)


def check_within(low: float, high: float, **values: float | tuple[float, ...]) -> None:
    """
    Check numbers against their range.

    :param low: Smallest valid value.
    :param high: Largest one; `math.inf` if there is none.
    :param values: The values, or several at once, by their names.
    :raises ValueError: If one is out of range.
    """
    wanted = f">= {low}" if high == math.inf else f"in [{low}, {high}]"
    for name, value in values.items():
        for number in value if isinstance(value, tuple) else (value,):
            if not low <= number <= high:
                raise ValueError(f"{name} must be {wanted}, got {number}")


def check_filled(**texts: str) -> None:
    """
    Check texts that must not be empty.

    :param texts: The texts by their names.
    :raises ValueError: If one holds nothing but blanks.
    """
    for name, text in texts.items():
        if not text.strip():
            raise ValueError(f"{name} must not be empty")


def check_different(what: str, names: Iterable[str]) -> None:
    """
    Check that no name is given twice.

    :param what: What has the names.
    :param names: The names.
    :raises ValueError: If two are the same.
    """
    seen = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} must have different names, got {name!r:.80} twice")
        seen.add(name)


def _fitted(value: Any, hint: Any, name: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return _json(value, name)
    if origin is UnionType:
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return None if value is None else _fitted(value, inner, name)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, arguments))}, got {value!r:.80}")
        return value
    if origin is tuple:
        return _fitted_tuple(value, arguments, name)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong(name, "an object", value)
        return {
            _text(key, f"a key of {name}"): _fitted(item, arguments[1], f"{name}.{key}") for key, item in value.items()
        }
    if issubclass(hint, Checked):
        return _nested(value, hint, name)
    return _SCALARS[hint](value, name)


def _fitted_tuple(value: Any, arguments: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _wrong(name, "a list", value)
    hints = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
    if len(value) != len(hints):
        raise ValueError(f"{name} must hold {len(hints)} values, got {len(value)}")
    return tuple(_fitted(item, hint, f"{name}[{i}]") for i, (item, hint) in enumerate(zip(value, hints, strict=True)))


def _nested(value: Any, schema: type[Checked], name: str) -> Checked:
    if isinstance(value, schema):
        return value
    if not isinstance(value, Mapping):
        raise _wrong(name, "an object", value)
    try:
        return from_mapping(schema, value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _json(value: Any, name: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, name)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return _float(value, name)
    if isinstance(value, (list, tuple)):
        return [_json(item, f"{name}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_text(key, f"a key of {name}"): _json(item, f"{name}.{key}") for key, item in value.items()}
    raise _wrong(name, "a JSON value", value)


def _bool(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, "true or false", value)
    return value


def _int(value: Any, name: str) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise _wrong(name, "an integer", value)
    return int(value)


def _float(value: Any, name: str) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise _wrong(name, "a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {number}")
    return number


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong(name, "text", value)
    if not value.isprintable():
        raise ValueError(f"{name} must be printable text on one line, got {value!a:.80}")
    return value


_SCALARS = {bool: _bool, int: _int, float: _float, str: _text}


def _wrong(name: str, wanted: str, value: Any) -> TypeError:
    return TypeError(f"{name} must be {wanted}, got {value!r:.80}")
