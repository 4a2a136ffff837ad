from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.inspect.accounting import CUT, MISSED, OUTLIERS, THIN, Account, Cluster, account_for

STEP = 0.05
"""Of the grids of points: the usual eighth neighbour is at sqrt(2) steps."""


def square(low: float = 0.0, high: float = 1.0, x: float = 0.0) -> trimesh.Trimesh:
    corners = [[x + low, low, 0], [x + high, low, 0], [x + high, high, 0], [x + low, high, 0]]
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)


def grid(count: int = 21, x: float = 0.0, height: float = 0.0, step: float = STEP) -> Points:
    """The nodes of a square grid, with one corner at (x, 0, height)."""
    i, j = np.indices((count, count)).reshape(2, -1)
    return np.stack([x + step * i, step * j, np.full(count**2, height)], axis=1)


def plane(points: Points) -> NDArray[np.float64]:
    """The signed distance to z = 0."""
    return points[:, 2]


def account(points: Points, mesh: trimesh.Trimesh, centres: Points | None = None) -> Account:
    return account_for(points, mesh, grid() if centres is None else centres, 2 * STEP, plane)


def test_all_is_near() -> None:
    found = account(grid(), square())
    assert (found.points, found.far, found.scattered, found.clusters, found.share) == (441, 0, 0, (), 0)
    assert found.spacing == pytest.approx(np.sqrt(2) * STEP)
    assert found.noise == pytest.approx(0, abs=1e-6)
    assert not found.worth_a_warning
    assert found.lines() == ["points: all 441 within 0.0707 of the surface"]


def test_a_part_that_the_mesh_lacks() -> None:
    """There are planes, and the function is zero: it has been left out of the mesh."""
    other = grid(9, x=3.0)
    found = account(np.vstack([grid(), other]), square(), np.vstack([grid(), other]))
    assert (found.points, found.far, found.scattered) == (522, 81, 0)
    (cluster,) = found.clusters
    assert cluster.points == 81
    assert cluster.why == CUT
    np.testing.assert_allclose([cluster.low, cluster.high], [[3, 0, 0], [3.4, 0.4, 0]], atol=1e-12)
    assert found.reasons == {CUT: 81}
    assert found.share == pytest.approx(81 / 522)
    assert found.worth_a_warning
    assert found.lines() == [
        "points: 81 of 522 (15.52%) farther than 0.0707 from the surface, 1 cluster",
        f"  81 in x 3.000 to 3.400, y 0.000 to 0.400, z 0.000 to 0.000: {CUT}",
    ]


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (
            (500_000.25, 5e6, 1.0),
            (500_000.75, 5e6 + 0.25, 1.0),
            "x 500000.250 to 500000.750, y 5000000.000 to 5000000.250",
        ),
        ((0.0, 0.0, 0.0), (2e4, 1e3, 0.0), "x 0 to 20000, y 0 to 1000, z 0 to 0"),
        ((1.5, 2.5, 0.0), (1.5, 2.5, 0.0), "x 1.500000 to 1.500000"),
    ],
)
def test_boxes_have_the_digits_that_they_need(
    low: tuple[float, float, float], high: tuple[float, float, float], text: str
) -> None:
    assert str(Cluster(12, low, high, CUT)).startswith(f"12 in {text}")


def test_the_reasons() -> None:
    """Planes but no zero of the function: missed. No planes: too thin. Far from everything: outliers."""
    missed = grid(8, x=3.0, height=0.5)
    thin = grid(5, x=6.0, step=5 * STEP)
    strays = np.array([[0.5, 0.5, 9.0], [-8.0, 0.5, 0.5]])
    found = account(np.vstack([grid(), missed, thin, strays]), square(), np.vstack([grid(), missed]))
    assert found.reasons == {MISSED: 64, THIN: 25, OUTLIERS: 2}
    assert [(cluster.points, cluster.why) for cluster in found.clusters] == [(64, MISSED), (25, THIN)]
    assert (found.far, found.scattered) == (91, 2)
    assert found.lines()[0].endswith("from the surface, 2 clusters and 2 scattered")


def test_strays_alone_are_no_warning() -> None:
    points = np.vstack([grid(21), [[0.5, 0.5, 9.0], [-8.0, 0.5, 0.5]]])
    found = account(points, square())
    assert not found.worth_a_warning
    (line,) = found.lines()
    assert line == (f"points: 2 of 443 (0.45%) farther than 0.0707 from the surface, 2 scattered ({OUTLIERS}: 2)")


def test_few_points_beside_each_other_are_a_warning_in_a_large_scan() -> None:
    large = grid(80, step=1 / 79)
    other = grid(8, x=3.0, step=1 / 79)
    found = account_for(np.vstack([large, other]), square(), large, 0.1, plane)
    assert found.share < 0.01
    assert found.worth_a_warning
    fewer = account_for(np.vstack([large, other[:49]]), square(), large, 0.1, plane)
    assert not fewer.worth_a_warning
    (line,) = fewer.lines()
    assert line.startswith("points: 49 of 6,449 (0.76%) farther than 0.0")
    assert line.endswith(f" from the surface, 1 cluster ({THIN}: 49)")


def test_noise_explains_distances() -> None:
    """Half of all points would be far if the gaps between them alone counted."""
    generator = np.random.default_rng(0)
    points = np.hstack([generator.uniform(0, 1, (20_000, 2)), 0.03 * generator.standard_normal((20_000, 1))])
    found = account(points, square())
    assert found.noise == pytest.approx(0.03, rel=0.25)
    assert found.spacing < 0.05
    assert found.far == 0


def test_a_surface_that_is_wrong_everywhere() -> None:
    found = account(grid(height=0.3), square())
    assert (found.far, found.share) == (441, 1)
    assert found.clusters[0].why == THIN


def test_where_points_are_thin_the_surface_may_miss_them_by_their_spacing() -> None:
    sparse = grid(6, x=2.0, height=0.15, step=2.5 * STEP)
    mesh = trimesh.util.concatenate([square(), square(x=2.0)])
    assert account(np.vstack([grid(), sparse]), mesh).far == 0
    assert account(np.vstack([grid(), sparse + np.array([0, 0, 0.1])]), mesh).far == 36


def test_equal_points_count_as_often_as_they_are_there() -> None:
    twice = np.vstack([grid(), np.tile([[0.5, 0.5, 9.0]], (30, 1))])
    found = account(twice, square())
    assert (found.points, found.far, found.scattered) == (471, 30, 30)
    assert found.worth_a_warning


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e3), st.tuples(*[st.floats(-1e7, 1e7)] * 3), st.integers(0, 99))
def test_neither_unit_nor_origin_nor_order_matter(unit: float, origin: tuple[float, float, float], seed: int) -> None:
    points = np.vstack([grid(), grid(9, x=3.0), [[0.5, 0.5, 9.0]]])
    scale = max(unit, 1e-7 * float(np.abs(origin).max()))  # of what float64 can hold there
    moved = scale * np.random.default_rng(seed).permutation(points) + origin
    mesh = square().apply_scale(scale).apply_translation(origin)
    found = account_for(moved, mesh, moved, 2 * STEP * scale, lambda queries: queries[:, 2] - origin[2])
    assert found.reasons == {CUT: 81, OUTLIERS: 1}
    assert [cluster.points for cluster in found.clusters] == [81]
    np.testing.assert_allclose(found.clusters[0].low, scale * np.array([3.0, 0, 0]) + origin, rtol=1e-9, atol=1e-9)


def test_means_count_as_their_points() -> None:
    stray = np.array([[0.5, 0.5, 7.0], [0.5, 0.5, 0.4]])
    points = np.vstack([grid(), stray])
    counts = np.append(np.full(441, 9), [3, 20])
    found = account_for(points, square(), grid(), 2 * STEP, plane, counts)
    assert (found.points, found.far, found.scattered) == (9 * 441 + 23, 23, 23)
    assert found.reasons[OUTLIERS] == 3
    assert found.lines()[0].startswith("points: 23 of 3,992 (0.58%) farther than 0.0707")
