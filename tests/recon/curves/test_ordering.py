from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import dijkstra

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves import ordering
from art_levelset.recon.curves.ordering import fit_lines, join_ends, linear_radius, order_points, orders_at_radius
from art_levelset.recon.curves.polylines import Polyline


def ordered(cloud: Points, closed: bool | None = None) -> list[Polyline]:
    generator = np.random.default_rng(0)
    return next(orders_at_radius(cloud, linear_radius(cloud, generator), closed, generator))


def arc(degrees: float, count: int = 400, noise: float = 0.01) -> Points:
    generator = np.random.default_rng(0)
    angle = np.deg2rad(generator.uniform(0, degrees, count))
    points: Points = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    return points + noise * generator.standard_normal(points.shape)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("circle", ()),
        ("trefoil", ()),
        ("figure_eight", ()),
        ("torus_knot", (2, 5)),
        ("torus_knot", (3, 4)),
        ("through_points", (0,)),
        ("through_points", (1,)),
        ("protein", ()),
    ],
)
def test_known_curves_come_out_in_one_piece(name: str, arguments: tuple[int, ...], known: Any) -> None:
    truth = getattr(known, name)(*arguments)
    cloud = known.sample(truth, 2000, 0.005, np.random.default_rng(0))
    scale = np.ptp(cloud, axis=0).max() / 2
    (line,) = ordered(cloud / scale)
    assert line.closed == truth.closed
    found = known.errors([Polyline(line.points * scale, line.closed)], truth)
    assert found.chamfer < 0.004
    assert found.length == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    ("degrees", "closed", "expected"),
    [(360, None, True), (290, None, True), (180, None, False), (180, True, True), (290, False, False)],
)
def test_gaps(degrees: float, closed: bool | None, expected: bool) -> None:
    (line,) = ordered(arc(degrees), closed)
    assert line.closed is expected


def test_two_rings_are_two_pieces() -> None:
    lines = ordered(np.concatenate([arc(360), 0.5 * arc(360) + [0, 0, 1]]))
    assert [line.closed for line in lines] == [True, True]
    assert sorted(line.length for line in lines) == pytest.approx([np.pi, 2 * np.pi], rel=0.05)


def test_the_branch_of_a_y_is_a_piece() -> None:
    generator = np.random.default_rng(0)
    ends = np.array([[1.0, 0, 0], [-0.5, 0.9, 0], [-0.5, -0.9, 0]])
    cloud = np.concatenate([generator.uniform(0, 1, (300, 1)) * end for end in ends])
    lines = ordered(cloud + 0.01 * generator.standard_normal(cloud.shape))
    assert [line.closed for line in lines] == [False, False]
    assert sum(line.length for line in lines) == pytest.approx(np.linalg.norm(ends, axis=1).sum(), rel=0.1)


def test_the_order_of_the_points_does_not_matter_much() -> None:
    cloud = arc(360)
    (one,), (other,) = ordered(cloud), ordered(cloud[::-1])
    assert one.length == pytest.approx(other.length, rel=0.02)
    assert one.project(other.points)[1].max() < 0.03


def test_a_chain_of_pieces_is_joined_the_right_way_round() -> None:
    places = np.linspace(0, 1, 11)[:, None] * [1.0, 0, 0]
    (line,) = join_ends([places[4:7], places[:3][::-1], places[8:]], 0.1, None)
    assert not line.closed
    assert np.abs(np.diff(line.points[:, 0], n=1)).max() < 0.25
    assert line.length == pytest.approx(1)


def test_nothing_like_a_curve() -> None:
    with pytest.raises(ValueError, match="points: no curve can be seen in them"):
        next(orders_at_radius(np.random.default_rng(0).standard_normal((12, 3)), 0.1, None, np.random.default_rng(0)))


def test_lines_follow_the_tangents() -> None:
    cloud = arc(360, 2000)
    lines = fit_lines(cloud[:50], cloud, 0.2)
    radial = cloud[:50] / np.linalg.norm(cloud[:50], axis=1, keepdims=True)
    assert np.abs((lines.directions * radial).sum(axis=1)).max() < 0.15
    assert lines.linearity.min() > 0.9
    assert np.abs(np.linalg.norm(lines.centres, axis=1) - 1).max() < 0.02


def test_a_lonely_query_point_is_its_own_centre() -> None:
    lines = fit_lines(np.array([[9.0, 9, 9]]), arc(360), 0.2)
    np.testing.assert_array_equal(lines.centres, [[9.0, 9, 9]])
    assert lines.counts[0] == 0


@pytest.mark.parametrize(
    ("at_radii", "radius"),
    [
        (["oc oc oc", "o c c", "c o c"], 0.08),
        (["o o c", "c c o", "c c c"], 0.08),
        (["o o c", "o o c", "c c c"], 0.1),
        (["oc o oc", "oc c c", "oc oc oc"], 0.08),
        (["c oc oc", "oc oc oc", "oc oc oc"], 0.06),
        (["o o c c c", "c c c", "c c c"], 0.06),  # three more where the first ones differ
    ],
)
def test_the_usual_order_wins_of_those_with_the_fewest_pieces(
    at_radii: list[str], radius: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, broken = Polyline(arc(360), True), Polyline(arc(90), False)
    known = {"o": broken, "c": ring}
    results = iter(at_radii)
    monkeypatch.setattr(
        ordering, "orders_at_radius", lambda *_: ([known[kind] for kind in lines] for lines in next(results).split())
    )
    assert order_points(arc(360), 0.1, None, np.random.default_rng(0)) == ([ring], pytest.approx(radius))


def test_the_shortest_of_the_usual_orders_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    jumping, right = Polyline(arc(360, noise=0.1), True), Polyline(arc(360, noise=0.001), True)
    monkeypatch.setattr(ordering, "orders_at_radius", lambda *_: iter([[jumping], [right], [jumping]]))
    assert order_points(arc(360), 0.1, None, np.random.default_rng(0))[0] == [right]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(0, 10_000))
def test_the_longest_paths_of_a_forest_are_disjoint_and_ever_shorter(size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    parents = np.array([generator.integers(0, node) for node in range(1, size)])
    kept = generator.random(size - 1) < 0.9
    lengths = generator.uniform(0.1, 1, size - 1)
    edges = coo_matrix((lengths[kept], (parents[kept], np.arange(1, size)[kept])), shape=(size, size))
    forest = csr_matrix(edges + edges.T)
    dense = forest.toarray()
    paths = list(ordering._longest_paths(forest, 0.0))
    found = [sum(dense[a, b] for a, b in pairwise(path)) for path in paths]
    everywhere = dijkstra(forest)
    if paths:
        assert found[0] == pytest.approx(everywhere[np.isfinite(everywhere)].max())
    assert found == sorted(found, reverse=True)
    assert all(dense[a, b] > 0 for path in paths for a, b in pairwise(path))
    assert len(np.unique(np.concatenate([*paths, []]))) == sum(map(len, paths))
