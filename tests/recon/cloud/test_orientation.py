from __future__ import annotations

import numpy as np
import pytest
import torch

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.consistency import turn_outvoted
from art_levelset.recon.cloud.orientation import Indicator, indicator_of, orient
from art_levelset.recon.cloud.planes import PlaneDistance, Planes, fit_planes
from art_levelset.recon.fitting.samples import INSIDE, OUTSIDE

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shells() -> Planes:
    """Two solids of different size beside each other, a quarter of the first unseen."""
    generator = np.random.default_rng(0)
    directions = generator.standard_normal((2400, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    large = 0.5 * directions[:1600] + [-0.45, 0, 0]
    large = large[large[:, 2] > -0.25]
    return fit_planes(np.concatenate([large, 0.3 * directions[1600:] + [0.6, 0, 0]]))


@pytest.fixture(scope="module", params=[0, 1])
def turned(shells: Planes, request: pytest.FixtureRequest) -> tuple[Planes, Indicator]:
    """What is made of them if their normals point to either side at random."""
    planes = orient(shells.flipped(np.random.default_rng(request.param).random(len(shells)) < 0.5), CPU)
    return planes, indicator_of(planes, CPU)


def centre_of_own_solid(places: Points) -> Points:
    return np.where(places[:, :1] < 0.175, [[-0.45, 0.0, 0.0]], [[0.6, 0.0, 0.0]])


def test_planes_are_tangent(shells: Planes) -> None:
    outward = shells.centres - centre_of_own_solid(shells.centres)
    radii = np.linalg.norm(outward, axis=1)
    assert np.abs((outward * shells.normals).sum(axis=1) / radii).min() > 0.9
    np.testing.assert_allclose(np.minimum(np.abs(radii - 0.5), np.abs(radii - 0.3)), 0, atol=0.02)


def test_noisy_points_have_fewer_planes() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.uniform(-0.5, 0.5, (2, 40_000))
    bowl = np.stack([x, y, 0.3 * (x * x + y * y)], axis=1)
    exact = fit_planes(bowl)
    noisy = fit_planes(bowl + 0.02 * generator.standard_normal(bowl.shape))
    assert len(noisy) < 0.75 * len(exact)
    assert noisy.reach > exact.reach


def test_signs_of_the_given_normals_do_not_matter(turned: tuple[Planes, Indicator]) -> None:
    planes, _ = turned
    outward = planes.centres - centre_of_own_solid(planes.centres)
    assert ((outward * planes.normals).sum(axis=1) > 0).mean() > 0.999


@pytest.mark.parametrize("count", [300, 1500, 4000])
@pytest.mark.parametrize("sides", [(1.0, 1.0, 1.0), (1.0, 1.0, 0.3), (1.0, 0.6, 0.8)])
def test_boxes_along_the_axes_are_not_inside_out(count: int, sides: tuple[float, float, float]) -> None:
    generator = np.random.default_rng(count)
    lengths = np.array(sides)
    areas = lengths.prod() / lengths
    axis, end = generator.choice(3, count, p=areas / areas.sum()), generator.choice([-0.5, 0.5], count)
    points = generator.uniform(-0.5, 0.5, (count, 3))
    points[np.arange(count), axis] = end
    points = points * lengths + 0.003 * generator.standard_normal(points.shape)
    planes = turn_outvoted(orient(fit_planes(2 * points), CPU))
    faces = np.abs(planes.centres / lengths).argmax(axis=1)
    outward = np.take_along_axis(planes.normals * np.sign(planes.centres), faces[:, None], axis=1)
    assert (outward > 0).mean() > 0.98
    middle, corner = indicator_of(planes, CPU)(torch.tensor([[0.0, 0.0, 0.0], [1.2, 1.2, 1.2]]))
    assert middle > INSIDE
    assert corner < OUTSIDE


def thin_ring(count: int) -> Points:
    """A torus of radii 0.85 and 0.05 about the z-axis, with a noise of 0.004."""
    generator = np.random.default_rng(0)
    u, v = generator.uniform(0, 2 * np.pi, (2, count))
    tube = 0.05 + 0.004 * generator.standard_normal(count)
    ring = 0.85 + tube * np.cos(v)
    return np.stack([ring * np.cos(u), ring * np.sin(u), tube * np.sin(v)], axis=1)


def test_few_points_of_a_thin_limb() -> None:
    planes = orient(fit_planes(thin_ring(1000)), CPU)
    around = np.linalg.norm(planes.centres[:, :2], axis=1, keepdims=True)
    axis = 0.85 * np.pad(planes.centres[:, :2] / around, ((0, 0), (0, 1)))
    outward = planes.centres - axis
    assert ((outward * planes.normals).sum(axis=1) > 0).mean() > 0.98
    errors = np.abs(np.linalg.norm(outward, axis=1) - 0.05)
    assert np.median(errors) < 0.004
    assert 0.5 < planes.error / np.median(errors) < 4


def test_the_indicator_knows_inside_and_outside(turned: tuple[Planes, Indicator]) -> None:
    planes, indicator = turned
    inside = torch.tensor([[-0.45, 0.0, 0.0], [-0.45, 0.3, 0.0], [0.6, 0.0, 0.0], [0.6, 0.0, 0.2]])
    outside = torch.tensor([[0.15, 0.0, 0.6], [-0.45, 0.0, 0.7], [0.0, 1.0, -1.0], [1.0, 0.4, 0.0], [0.17, 0, 0]])
    assert (indicator(inside) > 0.75).all()
    assert (indicator(outside) < 0.25).all()
    assert indicator(torch.tensor(planes.centres, dtype=torch.float32)).median() == pytest.approx(0.5, abs=0.05)


def sphere_of(count: int) -> Points:
    """Evenly spread directions: turned by the golden angle."""
    polar = np.arccos(1 - (2 * np.arange(count) + 1) / count)
    azimuth = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    return np.stack([np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], axis=1)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_grid_of_a_thin_solid_is_as_thin_and_knows_all_of_the_box(order: tuple[int, ...]) -> None:
    axes = np.array([1.0, 0.45, 0.25])[list(order)]
    directions = sphere_of(4000)
    normals = directions / axes
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    turned_in = np.random.default_rng(0).random(len(normals)) < 0.5
    planes = orient(Planes(axes * directions, np.where(turned_in[:, None], -normals, normals), 0.05), CPU)
    assert ((planes.normals * normals).sum(axis=1) > 0).all()
    indicator = indicator_of(planes, CPU)
    lengths = np.array(indicator.nodes.shape) * indicator.cell
    np.testing.assert_allclose(lengths, 2 * (axes + 0.3), rtol=0.05)
    places = np.random.default_rng(1).uniform(-1.1, 1.1, (2000, 3))
    sizes = np.linalg.norm(places / axes, axis=1)
    found = indicator(torch.tensor(places, dtype=torch.float32)).numpy()
    assert (found[sizes < 0.8] > INSIDE).all()
    assert (found[sizes > 1.25] < OUTSIDE).all()


def on_axis(x: float, *z: float) -> torch.Tensor:
    return torch.tensor([[x, 0.0, height] for height in z])


def test_a_bare_underside_bulges_by_no_more_than_the_height_of_what_is_above() -> None:
    """A ball, and beside it a cap of the height 0.12 whose base nothing has seen."""
    ball, cap = sphere_of(4000), sphere_of(2000)
    cap = cap[cap[:, 2] > 0.6]
    centres = np.concatenate([0.45 * ball - [0.4, 0, 0], 0.3 * cap + [0.55, 0, -0.18]])
    indicator = indicator_of(Planes(centres, np.concatenate([ball, cap]), 0.05), CPU)
    assert (indicator(on_axis(0.55, 0.03, 0.06, 0.09)) > INSIDE).all()
    assert (indicator(on_axis(0.55, -0.15, -0.2, -0.4)) < 0.5).all()


def test_a_pit_whose_walls_nobody_saw_is_outside() -> None:
    """A ball with a pit of which only the bottom was seen, at the height 0.1."""
    ball = sphere_of(4000)
    ball = ball[ball[:, 2] < 0.7]
    radius = 0.5 * np.sqrt((np.arange(150) + 0.5) / 150)
    azimuth = np.pi * (1 + np.sqrt(5)) * np.arange(150)
    bottom = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), np.full(150, 0.1)], axis=1)
    normals = np.concatenate([ball, np.tile([0.0, 0.0, 1.0], (150, 1))])
    indicator = indicator_of(Planes(np.concatenate([0.7 * ball, bottom]), normals, 0.05), CPU)
    assert (indicator(on_axis(0.0, 0.15, 0.2, 0.3, 0.4, 0.5)) < OUTSIDE).all()
    assert (indicator(on_axis(0.0, 0.0, -0.2, -0.4)) > INSIDE).all()


def test_distance_to_planes_and_to_points() -> None:
    grid = np.linspace(-0.5, 0.5, 21)
    centres = np.stack(np.meshgrid(grid, grid, [0.0]), axis=-1).reshape(-1, 3)
    normals = np.tile([0.0, 0.0, 1.0], (len(centres), 1))
    distance = PlaneDistance(Planes(centres, normals, 0.1), CPU)
    points = torch.tensor([[0.01, 0.02, 0.3], [0.01, 0.02, 0.3], [0.01, 0.02, -0.3], [0.9, 0.0, 0.3]])
    found_distances, beside = distance(points, torch.tensor([0.2, -0.2, 0.2, 0.2]), *distance.neighbours(points))
    # Above is outside: there F should be positive.
    torch.testing.assert_close(found_distances, torch.tensor([0.3, -0.3, -0.3, 0.5]), atol=1e-5, rtol=0)
    assert beside.tolist() == [True, True, True, False]


def test_the_other_side_of_a_thin_sheet_does_not_count() -> None:
    grid = np.linspace(-0.5, 0.5, 21)
    top = np.stack(np.meshgrid(grid, grid, [0.005]), axis=-1).reshape(-1, 3)
    sheet = Planes(np.concatenate([top, top * [1, 1, -1]]), np.repeat([[0.0, 0, 1], [0, 0, -1]], len(top), axis=0), 0.1)
    distance = PlaneDistance(sheet, CPU)
    points = torch.tensor([[0.02, 0.01, 0.03], [0.02, 0.01, -0.03]])
    heights, _ = distance(points, torch.ones(2), *distance.neighbours(points))
    torch.testing.assert_close(heights, torch.full((2,), 0.025), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_distance_to_planes_of_a_sphere_is_that_to_the_sphere(side: float) -> None:
    """Tangent planes of a ball all lie outside of it, those of a cavity inside."""
    generator = np.random.default_rng(0)
    directions = sphere_of(4000)
    distance = PlaneDistance(Planes(0.5 * directions, side * directions, 0.1), CPU)
    places = generator.standard_normal((500, 3))
    places *= generator.uniform(0.49, 0.51, (500, 1)) / np.linalg.norm(places, axis=1, keepdims=True)
    points = torch.tensor(places, dtype=torch.float32)
    heights, beside = distance(points, torch.ones(500), *distance.neighbours(points))
    expected = side * (torch.linalg.vector_norm(points, dim=1) - 0.5)
    errors = heights - expected
    assert beside.all()
    assert errors.abs().max() < 2e-4
    assert errors.mean().abs() < 5e-5  # of the tangent planes alone: 8e-4


def test_distance_is_differentiable_in_the_samples() -> None:
    planes = Planes(np.eye(3), np.eye(3), 0.5)
    distance = PlaneDistance(planes, CPU)
    points = torch.tensor([[1.2, 0.1, 0.0]], requires_grad=True)
    reach, found = distance.neighbours(points)
    value, _ = distance(points, torch.tensor([0.1]), reach, found)
    (gradient,) = torch.autograd.grad(value.sum(), points)
    assert torch.linalg.vector_norm(gradient) == pytest.approx(1.0, abs=1e-5)
    assert gradient[0, 0] > 0.5
