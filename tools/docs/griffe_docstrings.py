"""A griffe extension: every docstring of the package as :mod:`docstrings` turns it into Markdown."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).parent))

import docstrings
import names

MATHEMATICS = Path(__file__).parents[2] / "docs" / "mathematics.md"


class Markdown(griffe.Extension):
    """Rewrites the docstrings, once the package is read."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """
        Rewrite the docstrings of a package.

        :param pkg: The package.
        """
        anchors = docstrings.places(MATHEMATICS.read_text(encoding="utf-8"))
        found = [(thing, thing.docstring) for thing in names.objects(pkg) if thing.docstring is not None]
        for thing, docstring in found:

            def link(name: str, place: griffe.Object = thing) -> str | None:
                return names.resolve(pkg, place, name)

            text = docstrings.markdown(docstring.value, link, anchors)
            docstring.value = _attributes(thing, text) if isinstance(thing, griffe.Class) else text


def _attributes(thing: griffe.Class, text: str) -> str:
    """The fields of a class whose constructor griffe does not see, such as a named tuple's, as attributes."""
    known = {parameter.name for parameter in thing.parameters}

    def field(match: re.Match[str]) -> str:
        return match[0] if match[1] in known else f":var {match[1]}:"

    return re.sub(r"^:param (\w+):", field, text, flags=re.MULTILINE)
