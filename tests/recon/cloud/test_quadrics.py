import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from art_levelset.recon.cloud.clouds import neighbours
from art_levelset.recon.cloud.quadrics import COUNTS, Means, fit_quadrics, fit_surface


def sphere(count, noise=0.0, seed=0, radius=1.0):
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(count, 3))
    points *= (radius + noise * generator.normal(size=(count, 1))) / np.linalg.norm(points, axis=1, keepdims=True)
    return points


def fit_one_size(cloud, places, count):
    reach, found = neighbours(cKDTree(cloud), places, count)
    return fit_quadrics(places, cloud[found], reach)


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.integers(0, 2**31), st.floats(-10, 10))
def test_a_quadric_that_the_points_lie_on_is_found(a, b, c, seed, shift):
    generator = np.random.default_rng(seed)
    u, v = generator.uniform(-0.2, 0.2, size=(2, 400))
    rotation = Rotation.random(random_state=seed).as_matrix()
    cloud = np.stack([u, v, a * u * u + b * u * v + c * v * v], axis=1) @ rotation.T + shift
    fits = fit_one_size(cloud, np.full((1, 3), shift), 200)
    # The apex: principal axes of a curved patch are tilted by little, and a quadric stays nearly one when tilted.
    assert np.linalg.norm(fits.centres[0] - shift) < 2e-3
    assert abs(fits.normals[0] @ rotation[:, 2]) > 0.999


def test_a_plane_is_found_exactly():
    generator = np.random.default_rng(0)
    cloud = np.concatenate([generator.uniform(-1, 1, size=(500, 2)), np.full((500, 1), 0.25)], axis=1)
    fits = fit_surface(cloud, cloud[:50])
    assert np.allclose(fits.centres[:, 2], 0.25, atol=1e-9)
    assert np.allclose(np.abs(fits.normals), [0, 0, 1], atol=1e-6)
    assert fits.errors.max() < 1e-9


def test_the_standard_error_is_the_error():
    cloud = sphere(20_000, noise=0.01)
    places = sphere(500, seed=1)
    for count in (48, 96):
        fits = fit_one_size(cloud, places, count)
        errors = np.linalg.norm(fits.centres, axis=1) - 1
        assert 0.8 < np.sqrt((errors**2).mean() / (fits.errors**2).mean()) < 1.3


def test_where_the_surface_is_smooth_noise_is_averaged_over_many_neighbours():
    cloud = sphere(20_000, noise=0.01)
    places = sphere(500, seed=1)
    chosen = np.abs(np.linalg.norm(fit_surface(cloud, places).centres, axis=1) - 1).mean()
    few = np.abs(np.linalg.norm(fit_one_size(cloud, places, COUNTS[0]).centres, axis=1) - 1).mean()
    assert chosen < 0.55 * few


def test_the_number_of_neighbours_is_nearly_the_best_one_everywhere():
    generator = np.random.default_rng(0)
    u, v = generator.uniform(-1, 1, size=(2, 40_000))
    height = np.where(np.abs(v) < 0.5, 0.02 * np.sin(40 * u), 0.0)  # waves beside a plane
    cloud = np.stack([u, v, height + 0.01 * generator.normal(size=len(u))], axis=1)
    inside = np.abs(u) < 0.8
    waves, plane = cloud[inside & (np.abs(v) < 0.3)][:1500], cloud[inside & (v > 0.7) & (v < 0.9)][:1500]
    for places, amplitude in ((waves, 0.02), (plane, 0.0)):

        def error(fits, amplitude=amplitude):
            return np.sqrt(((fits.centres[:, 2] - amplitude * np.sin(40 * fits.centres[:, 0])) ** 2).mean())

        sizes = [error(fit_one_size(cloud, places, count)) for count in COUNTS[1:]]
        assert max(sizes) > 2 * min(sizes)
        assert error(fit_surface(cloud, places)) < 1.2 * min(sizes)


def test_no_neighbourhood_larger_than_allowed_is_tried():
    cloud = sphere(20_000, noise=0.01)
    places = sphere(500, seed=1)
    errors = [np.median(fit_surface(cloud, places, most=most).errors) for most in (48, 192, 384)]
    assert np.allclose(np.divide(errors[:2], errors[2]), np.sqrt([384 / 48, 384 / 192]), rtol=0.15)
    few = fit_surface(cloud[:20], places, most=10)
    assert np.isfinite(few.centres).all()


def test_at_an_edge_few_neighbours_are_used():
    generator = np.random.default_rng(0)
    u, v = generator.uniform(-1, 1, size=(2, 20_000))
    roof = np.stack([u, v, -np.abs(u)], axis=1)
    places = roof[(np.abs(u) < 0.15) & (np.abs(v) < 0.8)]
    chosen = fit_surface(roof, places).centres
    many = fit_one_size(roof, places, COUNTS[-1]).centres
    assert np.abs(chosen[:, 2] + np.abs(chosen[:, 0])).mean() < 0.5 * np.abs(many[:, 2] + np.abs(many[:, 0])).mean()


def test_outliers_do_not_count():
    cloud = sphere(5_000, noise=1e-3)
    outliers = sphere(250, seed=2, radius=1.03)
    places = sphere(300, seed=1)
    errors = np.linalg.norm(fit_surface(np.concatenate([cloud, outliers]), places).centres, axis=1) - 1
    assert np.abs(errors).mean() < 1.5e-3


def test_neighbours_at_one_place_are_no_error():
    for spread in (0.0, 1e-17):
        members = 0.3 + spread * np.random.default_rng(0).standard_normal((2, 12, 3))
        fits = fit_quadrics(np.full((2, 3), 0.3), members, np.linalg.norm(members - 0.3, axis=2))
        assert np.allclose(fits.centres, 0.3)
        assert np.isfinite(fits.normals).all()
        assert np.allclose(fits.errors, 0)


def test_a_cloud_smaller_than_any_neighbourhood_is_one():
    cloud = sphere(12)
    fits = fit_surface(cloud, cloud)
    assert np.isfinite(fits.centres).all()
    assert np.allclose(np.linalg.norm(fits.normals, axis=1), 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_a_mean_is_worth_the_points_that_it_stands_for(seed):
    """As if each of them were in its place: twice as many of all have the error of one over the root of 2."""
    generator = np.random.default_rng(seed)
    cloud = sphere(4000, noise=0.01, seed=seed)
    places = sphere(20, seed=seed + 1)
    reach, found = neighbours(cKDTree(cloud), places, 96)
    alone, same = (fit_quadrics(places, cloud[found], reach, means) for means in (None, Means(np.ones((20, 96)), 0.0)))
    for column in ("centres", "normals", "errors", "residuals"):
        np.testing.assert_allclose(getattr(same, column), getattr(alone, column), rtol=1e-6, atol=1e-9)
    counts = generator.integers(1, 4, (20, 96)).astype(float)
    weighted = fit_quadrics(places, cloud[found], reach, Means(counts, 0.0))
    for i in range(20):
        rows = np.repeat(np.arange(96), counts[i].astype(int))
        repeated = fit_quadrics(places[i : i + 1], cloud[found[i : i + 1, rows]], reach[i : i + 1, rows])
        np.testing.assert_allclose(weighted.centres[i], repeated.centres[0], atol=2e-4)
        assert 0.9 < weighted.errors[i] / repeated.errors[0] < 1.1


def test_means_are_no_surer_than_their_cells_allow():
    cloud = sphere(20_000, noise=0.01)
    places = sphere(200, seed=1)
    reach, found = neighbours(cKDTree(cloud), places, 96)
    alone = fit_quadrics(places, cloud[found], reach)
    many = np.full(found.shape, 1e12)
    narrow, wide = (fit_quadrics(places, cloud[found], reach, Means(many, side)) for side in (0.007, 10.0))
    np.testing.assert_allclose(wide.errors, alone.errors, rtol=1e-5)  # sigma is smaller than the cells
    np.testing.assert_allclose(narrow.errors, alone.errors * 0.001 / alone.residuals, rtol=1e-3)


def test_heavy_means_outweigh_light_ones():
    """Of two sheets a thousandth of the points is on one."""
    flat = np.random.default_rng(0).uniform(-1, 1, size=(4000, 3)) * [1, 1, 0]
    flat[::2, 2] = 0.3
    counts = np.where(flat[:, 2] > 0, 1.0, 1000.0)
    fits = fit_surface(flat, flat[:100], means=Means(counts, 0.0))
    assert np.abs(fits.centres[1::2, 2]).max() < 1e-3
