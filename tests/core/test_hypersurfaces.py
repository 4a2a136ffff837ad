"""Watertight hypersurfaces, their planes, and the even-odd rule."""

from __future__ import annotations

import pytest
import torch

from art_levelset.core import hypersurfaces
from art_levelset.core.hypersurfaces import facet_planes, hypersurface, is_inside, parity_beyond

from .shapes import NESTED, SOLIDS, around, blocks, cube, lattice, on_facets, polygon, simplex, star, winding_number


def test_coordinates_are_positive_and_faces_come_modulo_2() -> None:
    vertices, faces = blocks(cube(3))
    surface = hypersurface((vertices - 7, torch.cat([faces, faces[:2], faces[:2], faces[:3], faces[:3]])))
    assert surface.simplices.shape == (12, 3, 3)
    assert surface.simplices.min() > 0
    assert surface.diagonal == pytest.approx(3**0.5)
    corners = (surface.simplices + surface.origin).reshape(-1, 3)
    torch.testing.assert_close(torch.unique(corners.round(decimals=9), dim=0), torch.unique(vertices - 7, dim=0))


def test_coplanar_faces_have_one_plane_with_a_unit_normal() -> None:
    planes, simplices, owners = facet_planes(hypersurface(blocks(NESTED)))
    assert planes.normals.shape == (18, 3)
    torch.testing.assert_close(planes.normals.norm(dim=1), torch.ones(18).double())
    distances = planes(simplices)[torch.arange(len(owners)), :, owners]
    assert distances.abs().max() < 1e-12
    assert len(owners.unique()) == 18


def test_faces_without_area_have_no_plane() -> None:
    flat = polygon([(0, 0), (1, 0), (1, 1), (1, 1), (0, 1)])
    assert len(facet_planes(hypersurface(flat))[0].offsets) == 4
    # A square cut in three: the middle one has all its corners on the diagonal.
    vertices, faces = simplex(3)
    middle = torch.cat([vertices, (vertices[1:2] + vertices[2:3]) / 2])
    split = torch.tensor([[1, 4, 3], [4, 2, 3], [0, 1, 2], [1, 2, 4]])
    mended = torch.cat([faces[[1, 2]], split])
    planes, simplices, _ = facet_planes(hypersurface((middle, mended)))
    assert (len(planes.offsets), len(simplices)) == (4, 5)


def test_a_surface_without_area_is_refused() -> None:
    line = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]]), simplex(3)[1]
    with pytest.raises(ValueError, match="no faces with an area"):
        facet_planes(hypersurface(line))


@pytest.mark.parametrize("name", SOLIDS)
def test_inside_of_unions_of_cubes(name: str) -> None:
    points, signs = lattice(SOLIDS[name])
    away = signs != 0
    assert torch.equal(is_inside(points[away], blocks(SOLIDS[name])), signs[away] > 0)


def test_inside_is_where_the_winding_number_is_odd() -> None:
    points = around(star(), 2000)
    assert torch.equal(is_inside(points, star()), winding_number(points, star()) != 0)


@pytest.mark.parametrize("d", [2, 3, 5])
def test_the_sides_of_facets(d: int) -> None:
    """Of points on the facets themselves, and of points that are next to many of them."""
    vertices, facets = simplex(d)
    points = vertices[facets].mean(dim=1)
    outwards = points - vertices.mean(dim=0)
    for sign in (1, -1):
        found = parity_beyond(points, sign * outwards, vertices[facets], 1e-12)
        assert (found == (sign < 0)).all()


def test_points_must_have_the_dimension() -> None:
    with pytest.raises(ValueError, match=r"points must be \(n, 2\), got \(4, 3\)"):
        is_inside(torch.zeros(4, 3), star())


def test_on_facets_is_what_it_says() -> None:
    surface = hypersurface(star())
    planes, _, _ = facet_planes(surface)
    assert planes(on_facets(star(), 100) - surface.origin).abs().amin(dim=1).max() < 1e-12


def test_the_diagonal_is_that_of_the_bounding_box() -> None:
    vertices, facets = blocks(cube(3))
    sides = torch.tensor([1.0, 2.0, 3.0])
    surface = hypersurface((vertices * sides + 5, facets))
    assert surface.diagonal == pytest.approx(14**0.5)
    torch.testing.assert_close(surface.origin, torch.full((3,), 5 - 0.3 * 14**0.5, dtype=torch.float64))


def test_planes_up_to_the_tolerance_are_not_crossed() -> None:
    """From below each face of a cube outwards, and from above it inwards."""
    vertices, facets = blocks(cube(3))
    simplices = vertices[facets].double()
    normals = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    middles = 0.5 + 0.5 * normals + 0.011 * torch.tensor([1.0, 2.0, 3.0]) * (1 - normals.abs())
    for depth, passed in ((0.00095, False), (0.00105, True)):
        assert (parity_beyond(middles - depth * normals, normals, simplices, 0.001) == passed).all()
        assert (parity_beyond(middles + depth * normals, -normals, simplices, 0.001) != passed).all()


def test_where_every_ray_meets_a_ridge_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypersurfaces, "_NEAR_RIDGE", 1.0)
    with pytest.raises(ValueError, match="mesh is too thin somewhere to tell its inside from its outside"):
        is_inside(torch.full((1, 3), 0.4), blocks(cube(3)))
