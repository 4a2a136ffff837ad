"""
What the fields of a record may hold, as annotations that pydantic checks, and the class that all its objects are.

Scalars are strict: a number is no text, a truth value no number, and no number is infinite. Texts are printable and on
one line. Lists may be lists or tuples, objects mappings or what they make.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from numbers import Integral, Real
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, Strict, ValidationError

_PERCENT = r"(0?[0-9]{1,2}(\.[0-9]{1,4})?|100(\.0{1,4})?)"
_RADIUS = re.compile(r"\d{1,9}(\.\d{1,20})?(e-\d{1,2})?|\d{1,9}/\d{1,9}", re.ASCII)


def _python_number(value: Any) -> Any:
    """Numbers of other libraries, such as NumPy's, as Python's own."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value)


def _real(value: Any) -> Any:
    """A number as a float; an integer too large for one is infinite."""
    number = _python_number(value)
    if isinstance(number, bool) or not isinstance(number, int):
        return number
    try:
        return float(number)
    except OverflowError:
        return math.inf


def ordered(value: Any) -> Any:
    """
    Let lists and tuples pass: sets have no order, and generators are read but once.

    :param value: What shall become a tuple.
    :return: The same.
    :raises ValueError: If it is anything else.
    """
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"must be a list, got {value!r:.80}")
    return value


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"must be printable text on one line, got {text!a:.80}")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return _line(text)


def _radius(eps: str) -> str:
    numerator, _, denominator = eps.partition("/")
    if not _RADIUS.fullmatch(eps) or not float(numerator) > 0 or not float(denominator or 1) > 0:
        raise ValueError(f'must be a number > 0 as text such as "0.3" or "8/255", got {eps!r:.80}')
    return eps


def _utc(created: str) -> str:
    try:
        offset = datetime.fromisoformat(re.sub("Z$", "+00:00", created)).utcoffset()
    except ValueError:
        offset = None
    if offset != timedelta(0):
        raise ValueError(f"must be an ISO 8601 date and time in UTC, got {created!r:.80}")
    return created


def _json(value: Any) -> Any:
    """Any JSON value, in Python's own types and with lists for tuples."""
    return _plain(value, "")


def _plain(value: Any, place: str) -> Any:
    at = f"{place.removeprefix('.')} " if place else ""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not value.isprintable():
            raise ValueError(f"{at}must be printable text on one line, got {value!a:.80}")
        return value
    if isinstance(value, Real):
        number = _python_number(value)
        if not isinstance(number, int) and not math.isfinite(number):
            raise ValueError(f"{at}must be a finite number, got {number}")
        return number
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str) or not name.isprintable():
                raise ValueError(f"{at}must have printable text as keys, got {name!a:.80}")
        return {name: _plain(item, f"{place}.{name}") for name, item in value.items()}
    raise ValueError(f"{at}must be a JSON value, got {value!r:.80}")


Flag: TypeAlias = Annotated[bool, Strict()]
Count: TypeAlias = Annotated[int, Strict(), Field(ge=0), BeforeValidator(_python_number)]
Positive: TypeAlias = Annotated[int, Strict(), Field(ge=1), BeforeValidator(_python_number)]
Number: TypeAlias = Annotated[float, Strict(), Field(allow_inf_nan=False), BeforeValidator(_real)]
NotNegative: TypeAlias = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False), BeforeValidator(_real)]
Share: TypeAlias = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_real)]
Interval: TypeAlias = Annotated[tuple[Share, Share], BeforeValidator(ordered)]
Text: TypeAlias = Annotated[str, Strict(), AfterValidator(_line)]
Filled: TypeAlias = Annotated[str, Strict(), Field(json_schema_extra={"pattern": r"\S"}), AfterValidator(_filled)]
Sha256: TypeAlias = Annotated[str, Strict(), Field(pattern="^[0-9a-f]{64}$")]
Percent: TypeAlias = Annotated[str, Strict(), Field(pattern=rf"^{_PERCENT}$")]
PercentOrEmpty: TypeAlias = Annotated[str, Strict(), Field(pattern=rf"^({_PERCENT})?$")]
Radius: TypeAlias = Annotated[str, Strict(), AfterValidator(_radius)]
Time: TypeAlias = Annotated[str, Strict(), AfterValidator(_utc)]
Parameters: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_json)]


def _first_paragraph(schema: dict[str, Any], model: type[BaseModel]) -> None:
    schema["description"] = inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


class Checked(BaseModel, frozen=True, extra="forbid", json_schema_extra=_first_paragraph):
    """
    Fields that are what their annotations say, whether they come from Python or from JSON, and that stay so.

    NumPy's numbers become Python's, lists tuples, and objects the models of their fields.

    :raises ValueError: If a field is missing, unknown or has no such value; the message is one line that begins with
            its name.
    """

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(_first(error)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")


def _first(error: ValidationError) -> str:
    """The first of the errors, on one line."""
    found = error.errors(include_url=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"]).removeprefix(".")
    place = place if place.isprintable() else ascii(place)
    cause = found.get("ctx", {}).get("error")
    got = "" if found["type"] == "missing" else f", got {found['input']!r:.80}"
    message = str(cause) if cause else f"{found['msg']}{got}"
    return f"{place}: {message}" if place else message


def check_interval(name: str, interval: Interval, accuracy: float, rounding: float) -> None:
    """
    Check that an interval is one, and holds what it is the interval of.

    :param name: What it is called.
    :param interval: Low and high.
    :param accuracy: What it must hold.
    :param rounding: By how much it may miss it.
    :raises ValueError: If it does not.
    """
    low, high = interval
    if not low <= high:
        raise ValueError(f"{name} must be (low, high) with low <= high, got {interval}")
    if not low - rounding <= accuracy <= high + rounding:
        raise ValueError(f"{name} must hold the accuracy {accuracy:.6g}, got {interval}")
