from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.consistency import drop_contradicted, in_narrow_slits, refit_planes, turn_outvoted
from art_levelset.recon.cloud.planes import Planes, fit_planes


def lattice(side: int = 12) -> Planes:
    """The plane z = 0."""
    grid = np.linspace(-0.5, 0.5, side)
    centres = np.stack(np.meshgrid(grid, grid, [0.0]), axis=-1).reshape(-1, 3)
    return Planes(centres, np.tile([0.0, 0.0, 1.0], (len(centres), 1)), 0.1)


def turned(planes: Planes, outwards: Points) -> Planes:
    return planes.flipped((planes.normals * outwards).sum(axis=1) < 0)


def test_planes_of_one_plane_support_each_other() -> None:
    planes = lattice()
    assert len(drop_contradicted(planes)) == len(planes)


@pytest.mark.parametrize(
    ("centre", "normal"),
    [((0.01, 0.02, 0.06), (0.0, 0.0, 1.0)), ((0.01, 0.02, 0.0), (0.0, 0.0, -1.0)), ((0.3, 0.1, 0.0), (1.0, 0.0, 0.0))],
    ids=["beside the others", "the wrong way round", "across"],
)
def test_a_plane_that_the_others_contradict_is_left_out(centre: tuple[float, ...], normal: tuple[float, ...]) -> None:
    planes = lattice()
    with_ghost = replace(
        planes, centres=np.vstack([planes.centres, centre]), normals=np.vstack([planes.normals, normal])
    )
    np.testing.assert_array_equal(drop_contradicted(with_ghost).centres, planes.centres)


def test_both_sheets_of_a_wall_thinner_than_the_gaps_between_planes_are_kept() -> None:
    front = lattice()
    wall = replace(
        front,
        centres=np.vstack([front.centres, front.centres - [0.0, 0.0, 0.02]]),
        normals=np.vstack([front.normals, -front.normals]),
    )
    assert len(drop_contradicted(wall)) == len(wall)


def test_the_few_planes_on_the_wall_of_a_deep_hole_are_kept() -> None:
    """Most of their nearest ones are on the faces, and only 7 of them have three neighbours of their own sheet."""
    grid, count, radius = np.arange(-15, 16) * 0.04, 15, 0.12
    flat = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    face = np.pad(flat[np.linalg.norm(flat, axis=1) > radius], [(0, 0), (0, 1)], constant_values=0.15)
    up = np.tile([0.0, 0.0, 1.0], (len(face), 1))
    angles = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    inwards = -np.stack([np.cos(angles), np.sin(angles), np.zeros(count)], axis=1)
    walls = np.linspace(-0.12, 0.12, count)[:, None] * [0.0, 0.0, 1.0] - radius * inwards
    plate = Planes(np.vstack([face, face * [1, 1, -1], walls]), np.vstack([up, -up, inwards]), 0.12, 0.003)
    assert len(drop_contradicted(plate)) == len(plate)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_planes_are_enough(count: int) -> None:
    planes = lattice()
    few = replace(planes, centres=planes.centres[:count], normals=planes.normals[:count])
    assert len(drop_contradicted(few)) == count
    assert len(turn_outvoted(few)) == count


def test_planes_that_all_contradict_each_other() -> None:
    planes = lattice(2)
    with pytest.raises(ValueError, match="points: they are of no surface"):
        drop_contradicted(replace(planes, normals=np.array([[0.0, 0, 1], [0, 0, -1], [0, 1, 0], [1, 0, 0]])))


def ball(count: int, noise: float, generator: np.random.Generator) -> Points:
    directions = generator.standard_normal((count, 3))
    directions *= (0.8 + noise * generator.standard_normal((count, 1))) / np.linalg.norm(directions, axis=1)[:, None]
    return directions


def outward(planes: Planes) -> float:
    return float(((planes.normals * planes.centres).sum(axis=1) > 0).mean())


def test_a_patch_that_is_turned_round_is_outvoted() -> None:
    planes = fit_planes(ball(6000, 0.002, np.random.default_rng(0)))
    planes = turned(planes, planes.centres)
    wrong = planes.flipped(planes.centres[:, 2] > 0.7)
    assert 0.02 < 1 - outward(wrong) < 0.1
    assert outward(turn_outvoted(wrong)) == 1


def test_the_sides_of_two_solids_do_not_depend_on_each_other() -> None:
    """The normals of a cavity point to its middle."""
    cloud = ball(4000, 0.0, np.random.default_rng(0))
    planes = fit_planes(np.concatenate([cloud, 0.5 * cloud]))
    hollow = turned(planes, planes.centres * np.where(np.linalg.norm(planes.centres, axis=1) > 0.6, 1, -1)[:, None])
    np.testing.assert_array_equal(turn_outvoted(hollow).normals, hollow.normals)


def test_in_much_noise_nobody_is_outvoted() -> None:
    generator = np.random.default_rng(0)
    planes = lattice()
    wrong = replace(planes, error=0.2).flipped(generator.random(len(planes)) < 0.3)
    np.testing.assert_array_equal(turn_outvoted(wrong).normals, wrong.normals)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.2, 0.9), st.floats(0, 0.01))
def test_planes_of_a_sphere_stay_tangent(seed: int, radius: float, noise: float) -> None:
    generator = np.random.default_rng(seed)
    directions = generator.standard_normal((2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cloud = directions * (radius + noise * generator.standard_normal((len(directions), 1)))
    first = fit_planes(cloud)
    again = refit_planes(cloud, turned(first, first.centres))
    assert len(again) > 0.9 * len(first)
    radii = np.linalg.norm(again.centres, axis=1)
    assert np.abs(radii - radius).mean() < 0.02 * radius + noise
    assert (np.einsum("ni,ni->n", again.normals, again.centres) / radii).mean() > 0.95


def wall(thickness: float, noise: float) -> Points:
    """A slab's two faces."""
    generator = np.random.default_rng(0)
    sides = np.where(generator.random(8000) < 0.5, 1.0, -1.0)
    heights = sides * thickness / 2 + noise * generator.standard_normal(len(sides))
    return np.concatenate([generator.uniform(-1, 1, (len(sides), 2)), heights[:, None]], axis=1)


def test_the_sheets_of_a_thin_wall_are_told_apart() -> None:
    """Neighbourhoods of 48 points reach from one to the other."""
    cloud = wall(0.06, 0.001)
    first = fit_planes(cloud)
    first = turned(first, np.sign(first.centres[:, 2:]) * [0.0, 0.0, 1.0])
    again = refit_planes(cloud, first)
    before, after = (np.abs(np.abs(planes.centres[:, 2]) - 0.03).mean() for planes in (first, again))
    assert after < 0.3 * before
    assert len(again) > 0.8 * len(first)


def test_points_of_a_thin_wall_follow_the_planes_that_pass_by_them() -> None:
    """Of a thinner one the nearest plane is often on the other sheet, and one in a hundred was fitted to both."""
    cloud = wall(0.05, 0.001)
    first = fit_planes(cloud)
    again = refit_planes(cloud, turned(first, np.sign(first.centres[:, 2:]) * [0.0, 0.0, 1.0]))
    misses = np.abs(np.abs(again.centres[:, 2]) - 0.025)
    assert (misses > 0.05 / 3).mean() < 0.005


def test_an_edge_is_sharper_than_in_neighbourhoods_of_both_faces() -> None:
    generator = np.random.default_rng(0)
    u, v = generator.uniform(-1, 1, size=(2, 20_000))
    roof = np.stack([u, v, -np.abs(u)], axis=1) + 0.002 * generator.standard_normal((len(u), 3))
    first = fit_planes(roof)
    again = refit_planes(roof, turned(first, np.array([0.0, 0.0, 1.0])))

    def error(planes: Planes) -> float:
        x, y, z = planes.centres.T
        near = (np.abs(x) < 0.1) & (np.abs(y) < 0.9)
        return float(np.abs(z + np.abs(x))[near].mean())

    assert error(again) < 0.85 * error(first)


@pytest.mark.parametrize("gap", [-0.02, 0.02, 0.04, 0.06])
def test_planes_in_narrow_slits_are_found(gap: float) -> None:
    below = lattice()
    count = len(below)
    above = replace(below, centres=below.centres + np.array([0.003, 0.0, gap]), normals=-below.normals)
    both = replace(
        below, centres=np.vstack([below.centres, above.centres]), normals=np.vstack([below.normals, above.normals])
    )
    assert in_narrow_slits(both).tolist() == 2 * count * [0 < gap < 0.05]  # the reach is 0.1
    assert not in_narrow_slits(below).any()
    assert not in_narrow_slits(below.chosen(np.arange(count) == 0)).any()


def test_the_inner_sides_of_a_bend_are_no_slit() -> None:
    angles = np.linspace(0, np.pi, 60)
    inwards = np.c_[-np.cos(angles), np.zeros(60), -np.sin(angles)]
    rows = [replace(lattice(1), centres=[0, y, 0] - 0.2 * inwards, normals=inwards) for y in np.linspace(0, 0.3, 20)]
    bend = replace(
        rows[0], centres=np.vstack([row.centres for row in rows]), normals=np.vstack([row.normals for row in rows])
    )
    assert not in_narrow_slits(bend).any()
