from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from art_levelset.recon.cloud import cells as module
from art_levelset.recon.cloud.cells import Cells, Columns, condense, condense_noise
from art_levelset.recon.cloud.clouds import Points

ORIGIN = np.array([0.3, -0.2, 0.1])


def parts(columns: Columns, count: int) -> Iterator[Columns]:
    for rows in np.array_split(np.arange(len(columns["points"])), count):
        yield {name: column[rows] for name, column in columns.items()}


def direct(points: Points, origin: Points, side: float) -> tuple[Points, NDArray[np.int64]]:
    """Means and numbers of points of the cells, sorted by the means."""
    places = np.floor((points - origin) / side)
    _, owner, counts = np.unique(places, axis=0, return_inverse=True, return_counts=True)
    sums = [np.bincount(owner.ravel(), weights=column) for column in points.T]
    return ordered(np.stack(sums, axis=1) / counts[:, None], counts)


def ordered(means: Points, counts: NDArray[np.int64]) -> tuple[Points, NDArray[np.int64]]:
    order = np.lexsort(means.T.round(9))
    return means[order], counts[order]


def sphere(count: int, noise: float = 0.0, seed: int = 0) -> Points:
    generator = np.random.default_rng(seed)
    points = generator.standard_normal((count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points + noise * generator.standard_normal((count, 3))


@given(st.integers(0, 2**31), st.integers(1, 400), st.integers(1, 6), st.integers(8, 60))
def test_the_means_are_those_of_numpy_whatever_the_order(seed: int, count: int, batches: int, most: int) -> None:
    generator = np.random.default_rng(seed)
    points = generator.standard_normal((count, 3))
    one, other = (Cells(ORIGIN, 1 / 64, most) for _ in range(2))
    for part in parts({"points": points}, batches):
        if len(part["points"]):
            one.add(part)
    other.add({"points": points[generator.permutation(count)]})
    for cells in (one, other):
        assert len(cells) <= most
        assert cells.counts.sum() == count
        means, counts = ordered(cells.means()["points"], cells.counts)
        wanted, numbers = direct(points, ORIGIN, cells.side)
        np.testing.assert_allclose(means, wanted, atol=1e-12)
        np.testing.assert_array_equal(counts, numbers)
    assert one.side == other.side
    assert one.side == 1 / 64 or len(direct(points, ORIGIN, one.side / 2)[1]) > most


def test_to_double_twice_is_to_begin_with_a_side_four_times_as_long() -> None:
    points = sphere(3000)
    fine, coarse = Cells(ORIGIN, 0.02, 2000), Cells(ORIGIN, 0.08, 10_000)
    for cells in (fine, coarse):
        cells.add({"points": points})
    assert fine.side == 0.08
    for found, wanted in zip(
        ordered(fine.means()["points"], fine.counts), ordered(coarse.means()["points"], coarse.counts), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_groups_of_cells_have_their_points() -> None:
    cells = Cells(ORIGIN, 0.02, 10_000)
    cells.add({"points": sphere(3000)})
    other = cells.grouped(0.03)
    assert (cells.side, other.side) == (0.02, 0.03)
    assert len(other) < len(cells)
    assert other.counts.sum() == 3000
    np.testing.assert_allclose(other.counts @ other.means()["points"], sphere(3000).sum(axis=0), atol=1e-9)
    places = np.floor((cells.means()["points"] - ORIGIN) / 0.03)
    assert len(other) == len(np.unique(places, axis=0))


def test_points_of_no_more_than_the_bound_stay_as_they_are() -> None:
    points = sphere(500).astype(np.float32)
    columns = {"points": points, "colours": np.arange(1500, dtype=np.uint16).reshape(-1, 3)}
    found, counts = condense(parts(columns, 7), 500)
    assert counts is None
    for name, column in columns.items():
        np.testing.assert_array_equal(found[name], column)
        assert found[name].dtype == column.dtype
    assert condense(iter([]), 500) == ({}, None)


def test_what_belongs_to_the_points(caplog: pytest.LogCaptureFixture) -> None:
    """Means of colours and normals, without NaN, of sensors one of a cell's own; of other columns nothing."""
    caplog.set_level(logging.INFO)
    points = np.repeat([[0.0, 0, 0], [10, 0, 0], [0, 10, 0]], [4, 2, 1], axis=0)
    columns = {
        "points": points,
        "normals": np.array([[0, 0, 2], [0, 0, 4], [np.nan, 0, 0], [0, 0, 0], [1, 0, 0], [3, 0, 0], [0, 5, 0]], float),
        "colours": np.array([[1, 2, 3]] * 4 + [[0, 0, 255], [1, 0, 255], [7, 8, 9]], np.uint8),
        "sensors": points + np.array([0, 0, 1]),
        "elsewhere": points,
    }
    batches = list(parts(columns, 3))
    del batches[1]["elsewhere"]
    found, counts = condense(batches, 3)
    assert counts is not None
    order = np.argsort(-counts)
    assert counts[order].tolist() == [4, 2, 1]
    assert set(found) == {"points", "normals", "colours", "sensors"}
    np.testing.assert_allclose(found["points"][order], [[0, 0, 0], [10, 0, 0], [0, 10, 0]], atol=1e-12)
    np.testing.assert_allclose(found["normals"][order], [[0, 0, 1.5], [2, 0, 0], [0, 5, 0]])
    np.testing.assert_array_equal(found["colours"][order], [[1, 2, 3], [0, 0, 255], [7, 8, 9]])
    assert found["colours"].dtype == np.uint8
    np.testing.assert_allclose(found["sensors"][order], [[0, 0, 1], [10, 0, 1], [0, 10, 1]], atol=1e-12)
    assert "7 points in 3 cells of side " in caplog.text


def test_coordinates_of_a_map_lose_nothing() -> None:
    """Of a part of a metre at millions of metres only what the numbers themselves have lost."""
    here = 2.0**-20 * np.rint(2.0**20 * sphere(4000))
    far = np.array([2.0**22, -(2.0**23), 2.0**10])
    (near, counts), (moved, same) = (condense(parts({"points": here + shift}, 9), 900) for shift in (0 * far, far))
    np.testing.assert_array_equal(counts, same)
    np.testing.assert_allclose(moved["points"] - far, near["points"], atol=2e-9)


def test_an_outlier_stays_one_and_the_cells_stay_small() -> None:
    strays = np.array([[1e4, 0, 0], [0, -2e5, 0], [0, 0, 1e300]])
    points = np.insert(sphere(6000), [0, 3000, 5000], strays, axis=0)
    found, counts = condense(parts({"points": points}, 5), 2000)
    assert counts is not None
    far = np.abs(found["points"]).max(axis=1) > 10
    assert counts[far].tolist() == [1, 1, 1]
    np.testing.assert_allclose(found["points"][far][np.argsort(found["points"][far].max(axis=1))], strays[[1, 0, 2]])
    assert 500 < len(counts) <= 2000


def test_points_in_one_place() -> None:
    found, counts = condense(parts({"points": np.full((40, 3), 7.0)}, 4), 10)
    np.testing.assert_array_equal(found["points"], [[7, 7, 7]])
    assert counts is not None
    assert counts.tolist() == [40]


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
def test_cells_are_no_smaller_than_the_noise(
    noise: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "FEWEST_CELLS", 300)
    points = sphere(60_000, noise)
    found, counts = condense(parts({"points": points}, 8), 15_000)
    assert counts is not None
    assert counts.sum() == 60_000
    assert float(caplog.messages[-1].rsplit(" ", 1)[1]) > noise
    heights = np.linalg.norm(found["points"], axis=1) - 1
    assert abs(np.average(heights, weights=counts) - noise**2) < 3e-3
    if not noise:
        assert len(counts) > 7000
        assert np.abs(heights).max() < 3e-3


def test_two_near_sheets_are_no_noise() -> None:
    """Of a wall of four sides."""
    generator = np.random.default_rng(0)
    flat = generator.uniform(-1, 1, (60_000, 3)) * [1, 1, 0]
    flat[::2, 2] = 4 * 2 / 75
    cells = Cells(np.array([-1.003, -1.003, -0.013]), 2 / 75, 50_000)
    cells.add({"points": flat})
    assert cells.roughness() < 0.01
    solid = Cells(np.zeros(3), 0.05, 50_000)
    solid.add({"points": generator.random((60_000, 3))})
    assert solid.roughness() > module.ROUGH


def test_noisy_points_become_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the noise is wider than their distances, and not for a surface that the nearest points show."""
    monkeypatch.setattr(module, "FEWEST_CELLS", 2000)
    noisy, clear = sphere(20_000, 0.06), sphere(20_000, 0.003)
    columns = {"points": noisy, "normals": noisy}
    found, counts = condense_noise(columns)
    assert counts is not None
    assert counts.sum() == 20_000
    assert 2000 <= len(counts) < 12_000
    np.testing.assert_allclose(found["normals"], found["points"], atol=1e-9)
    heights = np.linalg.norm(found["points"], axis=1) - 1
    assert abs(np.average(heights, weights=counts) - 0.06**2) < 1e-2
    for kept in ({"points": clear}, {"points": noisy[:2000]}, {"points": np.repeat(noisy[:300], 20, axis=0)}):
        same, none = condense_noise(kept)
        assert none is None
        assert same is kept
