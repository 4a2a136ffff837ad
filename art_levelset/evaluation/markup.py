"""HTML and SVG as nested function calls: whatever is not made by them is escaped."""

from __future__ import annotations

from html import escape

_VOID = {"br", "input", "link", "meta"}


class Markup(str):
    """Markup that goes into a page as it is."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | bool) -> Markup:
    """
    Make an element.

    :param tag: Its name.
    :param children: Its content, in order. Text is escaped, `Markup` is not.
    :param attributes: Its attributes, escaped. A trailing underscore is dropped and the others become hyphens
           (`class_`, `aria_label`); True gives an attribute without a value and False none.
    :return: The element.
    """
    opening = tag + "".join(_attribute(name, value) for name, value in attributes.items() if value is not False)
    return Markup(f"<{opening}>" if tag in _VOID else f"<{opening}>{joined(*children)}</{tag}>")


def joined(*parts: str) -> Markup:
    """
    Put parts behind each other.

    :param parts: Text, which is escaped, and `Markup`, which is not.
    :return: All of them.
    """
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts))


def _attribute(name: str, value: str | bool) -> str:
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
