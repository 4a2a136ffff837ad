from __future__ import annotations

import numpy as np
import pytest

from art_levelset import memory
from art_levelset.recon import reconstruct
from art_levelset.recon.cloud.clouds import Points, check_cloud, check_counts, thin, unit_frame, without_outliers

POINTS: Points = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32).astype(np.float64)


def test_check_cloud_drops_duplicates() -> None:
    np.testing.assert_array_equal(check_cloud(np.repeat(POINTS, 3, axis=0)), np.unique(POINTS, axis=0))


def test_unit_frame_fits_and_inverts() -> None:
    points = POINTS * [1.0, 5.0, 2.0] + [1e6, 0.0, -3e7]
    frame = unit_frame(points)
    unit = frame.to_unit(points)
    assert np.abs(unit).max() == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(unit[:, 1].min(), -1.0, atol=1e-6)
    np.testing.assert_allclose(frame.from_unit(unit), points, rtol=0, atol=1e-7)


def test_outliers_are_left_out() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(8.0)] * 2, [0.0]), axis=-1).reshape(-1, 3)
    outliers = np.array([[0.0, 0.0, 60.0], [90.0, 0.0, 0.0]])
    np.testing.assert_array_equal(without_outliers(np.concatenate([grid, outliers])), grid)
    np.testing.assert_array_equal(without_outliers(grid), grid)


def test_thin_takes_the_mean_of_each_cell() -> None:
    points = np.array([[0.1, 0.1, 0.1], [0.3, 0.1, 0.1], [-0.1, 0.1, 0.1], [1.5, 0.0, 0.0]])
    np.testing.assert_allclose(thin(points, 1.0), [[-0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [1.5, 0.0, 0.0]])


def test_more_points_than_there_is_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 4e9)
    many = np.broadcast_to(0.5, (30_000_000, 3))  # takes no memory
    with pytest.raises(
        ValueError, match=r"^points: 30,000,000 needs about 12 GB of memory, 4 GB are free; 10,000,000 would"
    ):
        check_cloud(many)


def test_a_surface_takes_more_than_its_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 300e3)
    check_cloud(POINTS)
    with pytest.raises(ValueError, match=r"^points: 40 needs about 0.34 MB of memory, 0.3 MB are free; 35 would fit$"):
        reconstruct(POINTS, steps=1, verbose=False)


def test_counts_of_distinct_points() -> None:
    points = np.concatenate([POINTS, POINTS[:10]])
    found = check_counts(np.arange(1, 51), points)
    order = np.lexsort(POINTS.T[::-1])
    wanted = np.arange(1.0, 41.0) + np.pad(np.arange(41.0, 51.0), (0, 30))
    np.testing.assert_array_equal(found, wanted[order])
    np.testing.assert_array_equal(check_cloud(points), POINTS[order])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.ones((40, 1)), r"counts must have one number for each point, \(40,\), got \(40, 1\)"),
        (np.ones(39), r"counts must have one number for each point, \(40,\), got \(39,\)"),
        (np.r_[np.ones(39), 0], "counts: all must be finite and positive"),
        (np.r_[np.ones(39), np.nan], "counts: all must be finite and positive"),
        (["many"] * 40, r"counts must be an array of numbers, \(n,\)"),
    ],
)
def test_bad_counts(counts: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_counts(counts, POINTS)
