from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.evaluation.margin_plot import HEIGHT, LEFT, TOP, WIDTH, Line, lowest, margin_plot
from art_levelset.evaluation.record import MarginCurve
from art_levelset.evaluation.rendering import colour_class


def curve(*points: tuple[float, float]) -> MarginCurve:
    eps, accuracy = zip(*points, strict=True)
    return MarginCurve(name="curve", eps=eps, accuracy=accuracy)


def corners(path: ElementTree.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, corner.split())) for corner in path.attrib["d"].strip("M").split("L")]  # type: ignore[misc]


def test_the_least_of_the_curves_counts_beyond_their_ends_but_not_before_their_beginnings() -> None:
    found = lowest([curve((0, 1.0), (0.2, 0.8), (0.4, 0.5)), curve((0.1, 0.7), (0.3, 0.6))])
    assert found.eps == (0, 0.1, 0.2, 0.3, 0.4)
    assert found.accuracy == pytest.approx((1.0, 0.7, 0.65, 0.6, 0.5))
    assert lowest([curve((0, 1.0), (1, 0.9)), curve((0, 0.4))]).accuracy == (0.4, 0.4)


def test_a_line_goes_through_its_points() -> None:
    svg = ElementTree.fromstring(margin_plot([Line(curve((0, 1), (0.5, 0.5), (1, 0)), 0, "m")], 0.3, 'a "title"'))
    (line,) = svg.findall("path[@data-model='m']")
    assert line.attrib["class"] == "line c0"
    (left, top), (middle, half), (right, bottom) = corners(line)
    assert (left, top) == (LEFT, TOP)
    assert middle == pytest.approx((left + right) / 2, abs=0.1)
    assert half == pytest.approx((top + bottom) / 2, abs=0.1)
    (radius,) = svg.findall("path[@class='radius']")
    assert float(radius.attrib["d"].split()[0].strip("M")) == pytest.approx(left + 0.3 * (right - left), abs=0.1)
    assert svg.attrib["aria-label"] == 'a "title"'
    assert [text.text for text in svg.iter("text")] == [
        *("0%", "25%", "50%", "75%", "100%"),
        *("0", "0.2", "0.4", "0.6", "0.8", "1"),
        "radius eps",
    ]


def test_a_flat_tail_is_left_out() -> None:
    svg = ElementTree.fromstring(margin_plot([Line(curve((0, 1), (0.1, 0), (10, 0)), 0)], 0.05, "t"))
    texts = [text.text for text in svg.iter("text")]
    assert "0.1" in texts
    assert "1" not in texts
    assert "10" not in texts


@settings(deadline=None, derandomize=True, database=None)
@given(
    st.floats(1e-5, 1e5),
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=6, unique_by=lambda point: point[0]),
)
def test_everything_stays_in_the_picture(radius: float, points: list[tuple[float, float]]) -> None:
    eps, accuracy = (sorted(values) for values in zip(*points, strict=True))
    line = Line(MarginCurve(name="c", eps=tuple(eps), accuracy=tuple(accuracy[::-1])), 9)
    svg = ElementTree.fromstring(margin_plot([line], radius, "t"))
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in corners(svg.findall("path[@class='line c']")[0]))
    texts = svg.findall("text")
    assert all(0 <= float(text.attrib["x"]) <= WIDTH for text in texts)
    assert 3 <= len(texts) <= 8
    assert math.isfinite(float(texts[-2].text or ""))


def test_a_colour_for_each_of_the_first() -> None:
    assert [colour_class(number) for number in (0, 7, 8)] == ["c0", "c7", "c"]
