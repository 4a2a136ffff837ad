"""Margin curves as an inline SVG picture; its colours are the classes c0 to c7 of the page that shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from art_levelset.evaluation.record import MarginCurve
from art_levelset.evaluation.rendering import rendered

if TYPE_CHECKING:
    from markupsafe import Markup

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
    return rendered(
        "margin_plot.svg",
        title=title,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        levels=[(f"{25 * quarter}%", _y(quarter / 4)) for quarter in range(5)],
        ticks=[(f"{eps:.6g}", _x(eps, farthest)) for eps in _ticks(farthest)],
        radius=_x(radius, farthest),
        lines=[(line, _corners(line, farthest)) for line in reversed(lines)],
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


def _settled(curve: MarginCurve) -> float:
    """The radius from which on the curve is flat to the eye."""
    flat = curve.accuracy[-1] + 0.005
    return next(eps for eps, accuracy in zip(curve.eps, curve.accuracy, strict=True) if accuracy <= flat)


def _corners(line: Line, farthest: float) -> list[tuple[float, float]]:
    end = min(farthest, line.curve.eps[-1])
    eps = [*(radius for radius in line.curve.eps if radius < end), end]
    accuracies = np.interp(eps, line.curve.eps, line.curve.accuracy)
    return [(_x(radius, farthest), _y(accuracy)) for radius, accuracy in zip(eps, accuracies, strict=True)]


def _ticks(farthest: float) -> list[float]:
    """At most seven multiples of a round step, from 0."""
    power = 10.0 ** math.floor(math.log10(farthest))
    step = next(step for step in (0.1 * power, 0.2 * power, 0.5 * power, power, 2 * power) if farthest / step <= 6)
    return [i * step for i in range(int(farthest / step * (1 + 1e-9)) + 1)]


def _x(eps: float, farthest: float) -> float:
    return LEFT + eps / farthest * (WIDTH - LEFT - RIGHT)


def _y(accuracy: float) -> float:
    return TOP + (1 - accuracy) * (HEIGHT - TOP - BOTTOM)
