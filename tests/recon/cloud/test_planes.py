from __future__ import annotations

import numpy as np
import pytest

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.planes import Planes, fit_planes

from ..conftest import sphere_cloud


def half_thin(upper: int, lower: int) -> Points:
    """Points of the unit sphere, one half of them much further apart than the other."""
    points = sphere_cloud(2 * upper)
    above, below = points[points[:, 2] > 0], points[points[:, 2] < 0]
    return np.concatenate([above, below[:lower]])


def gaps(planes: Planes, points: Points) -> Points:
    """The distances from points to the nearest centres, in reaches."""
    distances = np.linalg.norm(points[:, None] - planes.centres, axis=2).min(axis=1)
    return np.asarray(distances / planes.reach)


@pytest.mark.parametrize("times", [12, 25, 40])
def test_where_points_are_thin_planes_stand_between_them(times: int) -> None:
    planes = fit_planes(half_thin(4000, 4000 // times))
    below = planes.centres[:, 2] < -0.1
    assert 0.5 < below.sum() * planes.reach**2 / (2 * np.pi) < 2  # about one a reach
    np.testing.assert_allclose(np.linalg.norm(planes.centres[below], axis=1), 1, atol=0.02)
    slopes = np.abs(np.einsum("ni,ni->n", planes.centres[below], planes.normals[below]))
    assert slopes.min() > 0.97
    everywhere = np.random.default_rng(1).standard_normal((500, 3))
    everywhere /= np.linalg.norm(everywhere, axis=1, keepdims=True)
    assert np.quantile(gaps(planes, everywhere), 0.95) < 1.1


def test_strays_get_no_planes() -> None:
    generator = np.random.default_rng(2)
    strays = generator.uniform(-1, 1, (600, 3))
    strays = strays[np.linalg.norm(strays, axis=1) > 0.75][:120]
    planes = fit_planes(np.concatenate([0.5 * sphere_cloud(3000), strays]))
    np.testing.assert_allclose(np.linalg.norm(planes.centres, axis=1), 0.5, atol=0.01)


def test_a_thin_noisy_place_gets_no_planes() -> None:
    """Its quadrics fit no better than those through strays."""
    cloud = half_thin(4000, 100)
    below = cloud[:, 2] < 0
    cloud[below] *= 1 + 0.15 * np.random.default_rng(3).standard_normal((below.sum(), 1))
    assert (fit_planes(cloud).centres[:, 2] < -0.3).mean() < 0.02


def test_a_smaller_unit_has_finer_planes() -> None:
    x, y = np.meshgrid(np.linspace(0, 0.2, 51), np.linspace(0, 0.2, 51))
    patch = np.stack([x.ravel(), y.ravel(), 0.1 * x.ravel() ** 2], axis=1)
    whole, part = fit_planes(patch), fit_planes(patch, None, 0.5)
    assert len(whole) < 0.5 * len(patch)  # 0.006 apart
    assert len(part) == len(patch)  # at each point: these are 0.004 apart
    assert part.reach < whole.reach
