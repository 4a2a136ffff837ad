"""The templates of the leaderboard: what comes from a record is escaped, and numbers look the same everywhere."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from art_levelset.evaluation.fields import Interval
from art_levelset.evaluation.record import percent

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

COLOURS = 8
"""Lines of a picture that can be told apart; later ones have no colour of their own."""

_MARKDOWN = re.compile(r"([\\`*\[\]|~$#!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
"""Signs that mean something in Markdown: an underscore within a word means itself."""


def rendered(template: str, **values: Any) -> Markup:
    """
    Fill in a template; values are escaped unless they are markup themselves.

    :param template: Its file's name without the ending `.j2`.
    :param values: What it is filled with.
    :return: Markup, which other templates take as it is.
    """
    from markupsafe import Markup

    return Markup(_environment().get_template(f"{template}.j2").render(values))


def source(name: str) -> Markup:
    """
    A file of the templates' folder as it is.

    :param name: Its name.
    :return: Its text.
    """
    from markupsafe import Markup

    return Markup(files(__package__).joinpath("templates", name).read_text(encoding="utf-8"))


def colour_class(number: int) -> str:
    """
    The class that gives a line and its key their colour.

    :param number: Number of the line, >= 0.
    :return: "c0" to "c7", then "c".
    """
    return f"c{number}" if number < COLOURS else "c"


def interval_in_percent(interval: Interval) -> str:
    """
    An interval of fractions as text.

    :param interval: Low and high, in [0, 1].
    :return: In percent with one decimal.

    >>> interval_in_percent((0.8957, 0.9312))
    '[89.6, 93.1]'
    """
    low, high = interval
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def web_address(link: str) -> str | None:
    """
    The address that a page may link to.

    :param link: A record's link.
    :return: The link if it is an http or https address, percent-encoded where it has to be; None otherwise.

    >>> web_address('https://example.org/">')
    'https://example.org/%22%3E'
    >>> web_address("javascript:alert(1)") is None
    True
    """
    try:
        parts = urlsplit(link)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    return quote(link, safe=":/?#@!$&*+,;=%~-._[]")


def markdown_text(plain: str) -> Markup:
    """
    Text as Markdown that shows it as it is.

    :param plain: The text.
    :return: The Markdown.

    >>> print(markdown_text("a_b _c_ <script>"))
    a_b \\_c\\_ &lt;script&gt;
    """
    from markupsafe import Markup

    entities = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = _MARKDOWN.sub(r"\\\1", entities)
    return Markup(escaped.replace("://", "&#58;//").replace("www.", "www&#46;"))  # else GitHub makes links of them


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "colour_class": colour_class,
        "duration": _duration,
        "interval": interval_in_percent,
        "markdown": markdown_text,
        "parameters": _parameters,
        "percent": percent,
        "short": _short,
        "tenths": _tenths,
        "web_address": web_address,
    }
    return environment


def _tenths(number: float) -> str:
    return f"{number:.1f}"


def _parameters(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in values.items())


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _short(number: int) -> str:
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)
