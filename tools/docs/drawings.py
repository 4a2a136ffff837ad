"""Equations and diagrams as pictures in the page, made when the site is built: a browser loads nothing for them."""

from __future__ import annotations

import html
import re
import warnings

import mermaidx

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it opens its font in an old way
    import ziamath

SIZE = 18.0
"""The height of the letters of equations, in pixels. On the page they are as large as the text around them."""

ziamath.config.math.color = "currentColor"
ziamath.config.svg2 = False


def equation(tex: str, *, block: bool) -> str:
    """
    An equation as SVG, with its TeX for those who do not see it.

    :param tex: The equation.
    :param block: Whether it stands alone.
    :return: The SVG, in units of the text's size.
    """
    svg = ziamath.Latex(tex, size=SIZE, inline=not block).svg()
    found = re.match(r'<svg [^>]*viewBox="([^"]+)">', svg)
    if found is None:
        raise ValueError(f"ziamath's SVG begins with {svg[:120]}")
    _, top, width, tall = map(float, found[1].split())
    depth = top + tall
    style = f"width:{width / SIZE:.3f}em;height:{tall / SIZE:.3f}em;vertical-align:{-depth / SIZE:.3f}em"
    label = html.escape(tex.strip(), quote=True)
    head = f'<svg class="tex" role="img" aria-label="{label}" style="{style}" viewBox="{found[1]}">'
    return head + re.sub(r"(\d\.\d{3})\d+", r"\1", svg[found.end() :])


def equations(page: str) -> str:
    """
    Draw the equations of a page.

    :param page: HTML, with equations as arithmatex leaves them.
    :return: The HTML with pictures.
    """

    def draw(match: re.Match[str]) -> str:
        block = match[1] == "div"
        drawn = equation(html.unescape(match[2]), block=block)
        return f'<div class="equation">{drawn}</div>' if block else drawn

    return re.sub(r'<(div|span) class="arithmatex">\\[\[(](.*?)\\[\])]</\1>', draw, page, flags=re.DOTALL)


def diagrams(page: str) -> str:
    """
    Draw the Mermaid diagrams of a page.

    :param page: Markdown.
    :return: The Markdown with pictures in their places.
    """
    count = 0

    def draw(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        svg = mermaidx.render(match[1]).svg()
        svg = svg[svg.index("<svg") :].replace("\n", " ")
        return f'<figure class="diagram">{svg}</figure>'

    return re.sub(r"^```mermaid\n(.*?)^```$", draw, page, flags=re.MULTILINE | re.DOTALL)
