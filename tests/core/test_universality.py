"""Theorem 1: the network's zero level set is the hypersurface, exactly."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from trimesh import Trimesh
from trimesh.creation import icosphere, torus

from art_levelset import project
from art_levelset.core import circuits
from art_levelset.core.circuits import SparseLinear
from art_levelset.core.hypersurfaces import facet_planes, hypersurface, is_inside
from art_levelset.core.partition import partition
from art_levelset.core.universality import ExactNetwork, exact_network, exact_polytope

from .networks import properties
from .shapes import (
    ELL,
    NESTED,
    SOLIDS,
    Cell,
    Mesh,
    around,
    blocks,
    cube,
    lattice,
    on_facets,
    polygon,
    simplex,
    star,
    winding_number,
)

EXACT = 1e-9
"""|F| on the hypersurface, as a part of the diagonal."""

HOLE = polygon([(0, 0), (4, 0), (4, 3), (0, 3)], [(1, 1), (1, 2), (3, 2), (2, 1)])
ROUND = {
    "star": star(),
    "hole": HOLE,
    "sphere": icosphere(subdivisions=2),
    "torus": torus(1, 0.4, major_sections=9, minor_sections=7),
}


def values(network: nn.Module, points: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = network(points)
    assert found.shape == (len(points), 1)
    return found[:, 0]


def tensors(mesh: Trimesh | Mesh) -> Mesh:
    if isinstance(mesh, Trimesh):
        return torch.tensor(mesh.vertices.tolist(), dtype=torch.float64), torch.tensor(mesh.faces.tolist())
    return mesh


def diagonal(mesh: Mesh) -> float:
    return float((mesh[0].amax(dim=0) - mesh[0].amin(dim=0)).norm())


def check_lattice(cells: set[Cell]) -> ExactNetwork:
    """At corners, on edges, faces and inner walls, and in the middle of cells: F has the sign that it must have."""
    network = exact_network(blocks(cells))
    points, signs = lattice(cells)
    found = values(network, points)
    assert (torch.where(found.abs() < 1e-12, 0, found).sign() == signs).all()
    assert found[signs != 0].abs().min() > 0.05
    return network


@properties
@given(st.sets(st.tuples(*[st.integers(0, 3)] * 2), min_size=1))
def test_unions_of_squares(cells: set[Cell]) -> None:
    check_lattice(cells)


@properties
@given(st.sets(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=14))
def test_unions_of_cubes(cells: set[Cell]) -> None:
    check_lattice(cells)


@pytest.mark.parametrize("name", SOLIDS)
def test_solids(name: str) -> None:
    network = check_lattice(SOLIDS[name])
    mesh = blocks(SOLIDS[name])
    assert values(network, on_facets(mesh, 1000)).abs().max() <= EXACT * diagonal(mesh)


def test_four_dimensions() -> None:
    check_lattice({(0, 0, 0, 0), (1, 0, 0, 0), (1, 1, 0, 1)})


def test_sizes() -> None:
    def counts(mesh: object) -> tuple[int, int, int]:
        size = exact_network(mesh).size
        return size.faces, size.planes, size.pieces

    assert counts(blocks(cube(3))) == (12, 6, 1)  # coplanar faces are merged
    assert counts(blocks(ELL))[:2] == (8, 6)
    nested = counts(blocks(NESTED))
    assert nested[:2] == (2 * (6 * 25 + 6 * 9 + 6), 18)
    assert nested[2] < 30
    assert counts(icosphere(subdivisions=2)) == (320, 320, 1)
    sphere = exact_network(icosphere(subdivisions=2)).size
    assert sphere.units < 2 * 320
    assert sphere.depth == 1 + 9  # coordinates, and the minimum of 2^8 < 320 <= 2^9 functions


@pytest.mark.parametrize("name", ROUND)
def test_signs_agree_with_the_winding_number(name: str) -> None:
    mesh = tensors(ROUND[name])
    network = exact_network(ROUND[name])
    points = around(mesh, 1500)
    assert ((values(network, points) > 0) == (winding_number(points, mesh) != 0)).all()
    assert values(network, on_facets(mesh, 1500)).abs().max() <= EXACT * diagonal(mesh)


radii = st.lists(st.sampled_from([0.25, 0.5, 0.75, 1.0]), min_size=3, max_size=12)


@properties
@given(radii, st.floats(-100, 100), st.floats(1e-3, 1e3))
def test_polygons(radii: list[float], shift: float, scale: float) -> None:
    angles = 2 * torch.pi * torch.arange(len(radii)) / len(radii)
    corners = torch.stack([angles.cos(), angles.sin()], dim=1).double() * torch.tensor(radii)[:, None]
    mesh = polygon((scale * (corners + torch.tensor([shift, 2 * shift]))).tolist())
    network = exact_network(mesh)
    points = around(mesh, 300)
    distinct = values(network, points).abs() > 1e-11 * diagonal(mesh)
    inside = winding_number(points, mesh) != 0
    assert ((values(network, points) > 0) == inside)[distinct].all()
    assert distinct.float().mean() > 0.95
    assert values(network, on_facets(mesh, 300)).abs().max() <= EXACT * diagonal(mesh)


@pytest.mark.parametrize("name", ["star", "torus"])
def test_f_is_positive_on_the_inner_walls(name: str) -> None:
    """Points on the planes of the partition: where a maximum over its cells would vanish."""
    mesh = tensors(ROUND[name])
    surface = hypersurface(mesh)
    planes = partition(surface, 10**6).planes
    points = around(mesh, 1500) - surface.origin
    chosen = torch.arange(len(points)) % len(planes.offsets)
    normals = planes.normals[chosen]
    points = points - ((points * normals).sum(dim=1) + planes.offsets[chosen])[:, None] * normals + surface.origin
    found = values(exact_network(mesh), points)
    inside = winding_number(points, mesh) != 0
    off = found.abs() > 1e-9
    assert ((found > 0) == inside)[off].all()
    assert (off & inside).sum() > 200
    near = on_facets(mesh, 20_000)
    assert (torch.cdist(points[~off], near).amin(dim=1) < 0.1).all()


@pytest.mark.parametrize("d", [2, 3, 4, 5])
def test_simplices(d: int) -> None:
    """In two ways; inside of it, min_i x_i and (1 - sum x_i) / sqrt d are the distances to the facets."""
    by_facets = exact_network(simplex(d))
    by_halfspaces = exact_polytope(
        torch.cat([-torch.eye(d), torch.ones(1, d)]), torch.cat([torch.zeros(d), -torch.ones(1)])
    )
    points = around(simplex(d), 1000)
    expected = torch.minimum(points.amin(dim=1), (1 - points.sum(dim=1)) / d**0.5)
    for network in (by_facets, by_halfspaces):
        torch.testing.assert_close(values(network, points), expected, rtol=0, atol=1e-13)
    assert (expected > 0).any()


@pytest.mark.parametrize("d", [1, 2, 5])
def test_cross_polytopes(d: int) -> None:
    normals = torch.tensor(list(product([1.0, -1.0], repeat=d)))
    network = exact_polytope(7 * normals, torch.full((2**d,), -7.0))
    points = torch.randn(500, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (1 - points.abs().sum(dim=1)) / d**0.5
    torch.testing.assert_close(values(network, points), expected, rtol=0, atol=1e-13)


def test_an_unbounded_polyhedron_and_an_empty_one() -> None:
    slab = exact_polytope(torch.tensor([[0.0, 2.0], [0.0, -2.0]]), torch.tensor([-2.0, -2.0]))
    points = torch.tensor([[1e6, 0.25], [-1e6, 3.0], [0.0, -1.0]], dtype=torch.float64)
    assert values(slab, points).tolist() == [0.75, -2.0, 0.0]
    empty = exact_polytope(torch.tensor([[1.0], [-1.0]]), torch.tensor([1.0, 1.0]))
    assert values(empty, torch.linspace(-5, 5, 101, dtype=torch.float64)[:, None]).max() == pytest.approx(-1)


@pytest.mark.parametrize("name", ROUND)
def test_f_is_a_lower_bound_of_the_distance(name: str) -> None:
    """Its gradient has length 1, and it is 1-Lipschitz."""
    mesh = tensors(ROUND[name])
    network = exact_network(mesh)
    points = around(mesh, 300).requires_grad_()
    (gradients,) = torch.autograd.grad(network(points).sum(), points)
    assert (gradients.norm(dim=1) - 1).abs().median() < 1e-12
    assert gradients.norm(dim=1).max() < 1 + 1e-12
    distances = torch.cdist(points.detach(), on_facets(mesh, 3000)).amin(dim=1)
    assert (values(network, points.detach()).abs() <= distances + 1e-12).all()


@pytest.mark.parametrize("name", ["star", "torus"])
def test_projection_lands_on_the_surface(name: str) -> None:
    mesh = tensors(ROUND[name])
    near = on_facets(mesh, 500)
    near += 0.01 * torch.randn(near.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    samples = project(exact_network(mesh), near, tol=1e-12)
    assert samples.converged.float().mean() > 0.9
    landed = samples.points[samples.converged]
    # The middle of a piece of the surface is between a point inside and one outside.
    step = 1e-6 * torch.nn.functional.normalize(samples.jacobians[samples.converged][:, 0], dim=1)
    sides = [winding_number(landed + sign * step, mesh) != 0 for sign in (1, -1)]
    assert (sides[0] & ~sides[1]).float().mean() > 0.99


@pytest.mark.parametrize("seed", [40, 77])
def test_faces_that_are_coplanar_but_for_rounding(seed: int) -> None:
    """A union of cubes, turned and rounded to float32: planes cross each other at angles of 10^-7."""
    generator = torch.Generator().manual_seed(seed)
    cells = {tuple(cell) for cell in torch.randint(4, (14, 3), generator=generator).tolist()}
    vertices, faces = blocks(cells)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    mesh = (vertices @ turn.T + 3.3).float().double(), faces
    network = exact_network(mesh)
    assert network.size.planes > network.size.faces / 2
    points = around(mesh, 500)
    assert ((values(network, points) > 0) == is_inside(points, mesh)).all()
    assert values(network, on_facets(mesh, 500)).abs().max() <= EXACT * diagonal(mesh)


def test_neither_the_order_of_vertices_nor_the_way_a_mesh_is_given_matters() -> None:
    mesh = icosphere(subdivisions=1)
    vertices, faces = tensors(mesh)
    faces[::2] = faces[::2].flip(dims=[1])
    points = around((vertices, faces), 500)
    found = values(exact_network(mesh), points)
    soup = vertices[faces].reshape(-1, 3), torch.arange(3 * len(faces)).reshape(-1, 3)
    for given_ in ((vertices, faces), (vertices.tolist(), faces.tolist()), (mesh.vertices, mesh.faces), soup):
        torch.testing.assert_close(values(exact_network(given_), points), found, rtol=0, atol=1e-13)


def test_polygons_that_cross_themselves_follow_the_even_odd_rule() -> None:
    corners = [(torch.tensor(2 * torch.pi * i / 5).sin(), torch.tensor(2 * torch.pi * i / 5).cos()) for i in range(5)]
    pentagram = polygon([corners[2 * i % 5] for i in range(5)])
    network = exact_network(pentagram)
    points = around(pentagram, 1500)
    assert ((values(network, points) > 0) == (winding_number(points, pentagram).abs() == 1)).all()
    assert values(network, on_facets(pentagram, 1000)).abs().max() <= EXACT


def test_layers_are_linear_and_relu_and_the_random_state_stays() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    network = exact_network(blocks(NESTED))
    assert torch.equal(torch.get_rng_state(), before)
    assert [type(module) for module in network] == [nn.Linear, nn.ReLU] * network.size.depth + [nn.Linear]
    assert all(parameter.dtype == torch.float64 for parameter in network.parameters())
    assert network.size.units == sum(layer.out_features for layer in network if isinstance(layer, nn.Linear)) - 1
    assert network.size.weights == sum(int((parameter != 0).sum()) for parameter in network.parameters())


def test_sparse_matrices_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = tensors(ROUND["torus"])
    dense = exact_network(mesh)
    monkeypatch.setattr(circuits, "DENSE", 0)
    sparse = exact_network(mesh)
    assert [type(module) for module in sparse] == [SparseLinear, nn.ReLU] * sparse.size.depth + [SparseLinear]
    points = around(mesh, 1000).requires_grad_()
    torch.testing.assert_close(sparse(points), dense(points), rtol=0, atol=1e-13)
    gradients = [torch.autograd.grad(network(points).sum(), points)[0] for network in (sparse, dense)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
    again = copy.deepcopy(sparse)
    torch.testing.assert_close(again(points), dense(points), rtol=0, atol=1e-13)
    torch.testing.assert_close(again.float()(points.float()), dense(points).float(), rtol=0, atol=1e-5)
    for one, other in zip(sparse[::2], dense[::2], strict=True):
        assert isinstance(one, nn.Linear)
        assert isinstance(other, nn.Linear)
        assert torch.equal(one.weight, other.weight)
    dense(points).sum().backward()
    sparse(points).sum().backward()
    last = sparse[-1]
    assert isinstance(last, SparseLinear)
    assert last.values.grad is not None
    torch.testing.assert_close(last.values.grad, dense[-1].weight.grad[tuple(last.positions)])


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (3, "mesh must have vertices and faces"),
        (([[0.0, 0.0]],), "mesh must have vertices and faces"),
        (([[0.0], [1.0]], [[0], [1]]), "vertices must be"),
        (([[0.0, float("nan")], [1.0, 0.0]], [[0, 1]]), "finite"),
        (([[0.0, 0.0], [1.0, 0.0]], [[0.0, 1.0]]), "faces must be"),
        (([[0.0, 0.0], [1.0, 0.0]], [[0, 1, 1]]), "faces must be"),
        (([[0.0, 0.0], [1.0, 0.0]], [[0, 2]]), "not there"),
        (([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]], [[0, 1], [1, 2]]), "2 of its vertices"),
        (([[0.0, 0.0], [1.0, 0.0]], [[0, 1], [1, 0]]), "enclose"),
        (([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]], [[0, 1], [1, 2], [2, 0]]), "overlap"),
    ],
)
def test_what_is_no_mesh(mesh: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exact_network(mesh)


def test_open_and_distant_meshes() -> None:
    vertices, faces = blocks(cube(3))
    with pytest.raises(ValueError, match="3 of its edges belong to an odd number of faces"):
        exact_network((vertices, faces[1:]))
    with pytest.raises(ValueError, match="too far from the origin"):
        exact_network((vertices + 1e9, faces))
    exact_network((vertices + 1e4, faces))


def test_what_would_not_fit_is_refused_with_an_estimate() -> None:
    mesh = blocks(NESTED)
    units = exact_network(mesh).size.units
    exact_network(mesh, max_units=max(units, 6 * 18))
    with pytest.raises(ValueError, match="18 planes has about 108 units, which are more than max_units = 100"):
        exact_network(mesh, max_units=100)
    with pytest.raises(ValueError, match="max_units = 50"):
        exact_network(icosphere(), max_units=50)
    with pytest.raises(ValueError, match="100 half-spaces"):
        exact_polytope(torch.ones(100, 2), torch.zeros(100), max_units=50)
    with pytest.raises(ValueError, match="max_units"):
        exact_network(mesh, max_units=0)


@pytest.mark.parametrize(
    ("normals", "offsets", "message"),
    [
        (torch.ones(3), torch.ones(3), "normals"),
        (torch.zeros(1, 2), torch.ones(1), "normals"),
        (torch.ones(0, 2), torch.ones(0), "normals"),
        (torch.ones(2, 2) / 0, torch.ones(2), "normals"),
        (torch.ones(2, 2), torch.ones(3), "offsets"),
        (torch.ones(2, 2), torch.ones(2) / 0, "offsets"),
    ],
)
def test_what_are_no_half_spaces(normals: Tensor, offsets: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exact_polytope(normals, offsets)


def test_coplanar_faces_have_one_plane_and_faces_without_area_none() -> None:
    vertices, faces = blocks(NESTED)
    planes, simplices, owners = facet_planes(hypersurface((vertices, faces)))
    assert len(planes.offsets) == 18
    assert len(simplices) == len(owners) == len(faces)
    # A needle: two triangles between the ends of an edge and a point on it.
    flat = polygon([(0, 0), (1, 0), (1, 1), (1, 1), (0, 1)])
    assert len(facet_planes(hypersurface(flat))[0].offsets) == 4
