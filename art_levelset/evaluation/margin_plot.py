"""Margin curves as an inline SVG picture; its colours are the classes c0 to c7 of the page that shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from art_levelset.evaluation.markup import Markup, element
from art_levelset.evaluation.record import MarginCurve

COLOURS = 8
"""Lines that can be told apart; later ones have no colour of their own."""

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 44


@dataclass(frozen=True)
class Line:
    """
    One line of the picture.

    :param curve: What it shows.
    :param colour: Number of its colour, >= 0.
    :param model: The element of the page that it belongs to; "" if none.
    """

    curve: MarginCurve
    colour: int
    model: str = ""


def margin_plot(lines: Sequence[Line], radius: float, title: str) -> Markup:
    """
    Draw accuracy over radius, and mark the radius of the evaluation.

    :param lines: At least one; the first is drawn on top.
    :param radius: The radius to mark.
    :param title: What a screen reader says.
    :return: An <svg> element.
    """
    farthest = 1.05 * max(radius, *(_settled(line.curve) for line in lines))
    return element(
        "svg",
        *(_horizontal(tick / 4) for tick in range(5)),
        *(_tick(tick, farthest) for tick in _ticks(farthest)),
        _text("radius eps", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "middle"),
        element("path", class_="radius", d=f"M{_x(radius, farthest):.1f} {TOP}V{HEIGHT - BOTTOM}"),
        *(_path(line, farthest) for line in reversed(lines)),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=title,
        class_="plot",
    )


def lowest(curves: Sequence[MarginCurve]) -> MarginCurve:
    """
    The least accuracy that any of a model's curves leaves at each radius.

    An accuracy at some radius bounds those at larger radii, so that a curve counts beyond its end as well.

    :param curves: At least one.
    :return: A curve at all radii of all of them.
    """
    eps = np.unique(np.concatenate([curve.eps for curve in curves]))
    accuracies = [np.interp(eps, curve.eps, curve.accuracy, left=1.0) for curve in curves]
    return MarginCurve(name="lowest", eps=tuple(eps), accuracy=tuple(np.minimum.reduce(accuracies)))


def colour_class(number: int) -> str:
    """
    The class that gives a line and its key their colour.

    :param number: Number of the line, >= 0.
    :return: "c0" to "c7", then "c".
    """
    return f"c{number}" if number < COLOURS else "c"


def _settled(curve: MarginCurve) -> float:
    """The radius from which on the curve is flat to the eye."""
    flat = curve.accuracy[-1] + 0.005
    return next(eps for eps, accuracy in zip(curve.eps, curve.accuracy, strict=True) if accuracy <= flat)


def _path(line: Line, farthest: float) -> Markup:
    end = min(farthest, line.curve.eps[-1])
    eps = [*(radius for radius in line.curve.eps if radius < end), end]
    accuracies = np.interp(eps, line.curve.eps, line.curve.accuracy)
    points = zip(eps, accuracies, strict=True)
    corners = "L".join(f"{_x(radius, farthest):.1f} {_y(accuracy):.1f}" for radius, accuracy in points)
    return element("path", class_=f"line {colour_class(line.colour)}", data_model=line.model or False, d=f"M{corners}")


def _horizontal(accuracy: float) -> Markup:
    y = _y(accuracy)
    return element(
        "g",
        element("path", class_="grid", d=f"M{LEFT} {y:.1f}H{WIDTH - RIGHT}"),
        _text(f"{100 * accuracy:.0f}%", LEFT - 7, y + 4, "end"),
    )


def _tick(eps: float, farthest: float) -> Markup:
    return _text(f"{eps:.6g}", _x(eps, farthest), HEIGHT - BOTTOM + 17, "middle")


def _text(content: str, x: float, y: float, anchor: str) -> Markup:
    return element("text", content, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _ticks(farthest: float) -> list[float]:
    """At most seven multiples of a round step, from 0."""
    power = 10.0 ** math.floor(math.log10(farthest))
    step = next(step for step in (0.1 * power, 0.2 * power, 0.5 * power, power, 2 * power) if farthest / step <= 6)
    return [i * step for i in range(int(farthest / step * (1 + 1e-9)) + 1)]


def _x(eps: float, farthest: float) -> float:
    return LEFT + eps / farthest * (WIDTH - LEFT - RIGHT)


def _y(accuracy: float) -> float:
    return TOP + (1 - accuracy) * (HEIGHT - TOP - BOTTOM)
