from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.meshing.bricks import CHUNK, Function
from art_levelset.recon.meshing.extract import zero_set

LOW, HIGH = np.array([-1.0, -1.2, -0.9]), np.array([1.1, 1.0, 1.3])

Faces = NDArray[np.int64]


def dense(function: Function, low: Points, high: Points, resolution: int) -> tuple[Points, Faces]:
    """Marching cubes of the values at all nodes."""
    step = (high - low).max() / resolution
    shape = np.ceil((high - low) / step - 1e-6).astype(int) + 1
    nodes = np.indices(tuple(shape)).reshape(3, -1).T
    values = function(nodes * step + low).reshape(shape)
    vertices, faces, _, _ = marching_cubes(values, 0.0)
    return vertices * step + low, faces


def turned(faces: Faces) -> set[tuple[int, ...]]:
    """The triangles, each beginning with its least vertex."""
    first = faces.argmin(axis=1)[:, None]
    return {tuple(face) for face in np.take_along_axis(faces, (first + np.arange(3)) % 3, axis=1).tolist()}


def tolerance(low: Points, high: Points, resolution: int) -> float:
    """How far apart vertices of the two meshes may be that are the same one."""
    return float(1e-5 * (high - low).max() / resolution * resolution**0.5)


def assert_same(function: Function, low: Points, high: Points, resolution: int, slope: float = 1.5) -> None:
    """The bricks and the whole grid give the same mesh, up to the order of vertices and triangles."""
    vertices, faces = zero_set(function, low, high, resolution, slope=slope, verbose=False)
    expected, triangles = dense(function, low, high, resolution)
    distance, match = cKDTree(vertices).query(expected)
    assert len(vertices) == len(expected) == len(np.unique(match))
    assert distance.max() < tolerance(low, high, resolution)
    assert len(faces) == len(triangles)
    assert turned(faces) == turned(match[triangles])


def network(seed: int, sharpness: float) -> tuple[Function, float]:
    """A random network with a wild zero level set, and a bound of its slope."""
    generator = torch.Generator().manual_seed(seed)
    sizes = ((3, 12), (12, 12), (12, 1))
    weights = [torch.randn(*size, generator=generator, dtype=torch.float64) / size[0] ** 0.5 for size in sizes]
    weights[0] *= sharpness
    biases = torch.randn(12, generator=generator, dtype=torch.float64)

    def function(points: Points) -> NDArray[np.float32]:
        hidden = torch.tanh(torch.tanh(torch.as_tensor(points) @ weights[0] + biases) @ weights[1])
        return (hidden @ weights[2]).squeeze(1).numpy().astype(np.float32)

    return function, float(torch.stack([torch.linalg.matrix_norm(weight, 2) for weight in weights]).prod())


@settings(max_examples=25, deadline=None)
@example(seed=694, sharpness=10.94802024175382, resolution=32, sides=(0.5, 0.5, 0.5504592167695443))
@given(
    seed=st.integers(0, 10_000),
    sharpness=st.floats(1.0, 12.0),
    resolution=st.integers(8, 45),
    sides=st.tuples(*[st.floats(0.2, 1.0)] * 3),
)
def test_random_networks_give_the_mesh_of_the_whole_grid(
    seed: int, sharpness: float, resolution: int, sides: tuple[float, float, float]
) -> None:
    function, slope = network(seed, sharpness)
    low = np.array([-0.4, -0.5, -0.6])
    high = low + sides
    try:
        expected, _ = dense(function, low, high, resolution)
    except (ValueError, RuntimeError):  # scikit-image finds no surface
        with pytest.raises(ValueError, match="the reconstruction is empty"):
            zero_set(function, low, high, resolution, slope=slope, verbose=False)
    else:
        # Where F is almost zero at a node, vertices on two of its edges coincide, and cannot be told apart.
        assume(cKDTree(expected).query(expected, k=2)[0][:, 1].min() > tolerance(low, high, resolution))
        assert_same(function, low, high, resolution, slope)


@pytest.mark.parametrize("resolution", [63, 64, 97])
def test_signed_distances_give_the_mesh_of_the_whole_grid(resolution: int) -> None:
    def function(points: Points) -> NDArray[np.float32]:
        ring = np.hypot(points[:, 0] - 0.011, points[:, 1] - 0.007) - 0.6
        torus = np.hypot(ring, points[:, 2] + 0.003) - 0.2
        crumb = np.linalg.norm(points - [0.813, 0.777, 0.9], axis=1) - 0.02  # smaller than a cell or two
        return np.minimum(torus, crumb).astype(np.float32)

    assert_same(function, LOW, HIGH, resolution)


def test_a_surface_that_the_corners_do_not_show_is_followed_to_its_end() -> None:
    def function(points: Points) -> NDArray[np.float32]:
        offset = points - (LOW + 32 * 2.2 / 96)  # a corner of bricks
        ball = np.linalg.norm(offset, axis=1) - 0.25
        along = np.clip(offset @ [0.6, 0.64, 0.48], 0, 1.3)
        needle = np.linalg.norm(offset - along[:, None] * [0.6, 0.64, 0.48], axis=1) - 0.025
        return np.tanh(500 * np.minimum(ball, needle)).astype(np.float32)

    assert_same(function, LOW, HIGH, 96)


def test_a_part_is_found_whole_or_not_at_all() -> None:
    def function(points: Points) -> NDArray[np.float32]:
        seen = np.linalg.norm(points, axis=1) - 0.7
        hidden = np.linalg.norm(points - [0.9, 0.8, 1.1], axis=1) - 0.03
        return np.tanh(1000 * np.minimum(seen, hidden)).astype(np.float32)

    vertices, faces = zero_set(function, LOW, HIGH, 80, verbose=False)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight
    assert np.linalg.norm(vertices, axis=1).max() < 0.8
    _, triangles = dense(function, LOW, HIGH, 80)
    assert len(triangles) > len(faces)


def test_values_that_are_exactly_zero() -> None:
    def function(points: Points) -> NDArray[np.float32]:
        return (np.abs(points).max(axis=1) - 0.5).astype(np.float32)

    vertices, faces = zero_set(function, np.full(3, -1.0), np.full(3, 1.0), 64, verbose=False)
    expected, triangles = dense(function, np.full(3, -1.0), np.full(3, 1.0), 64)
    assert len(vertices) == len(expected)
    assert len(faces) == len(triangles)
    np.testing.assert_array_equal(np.unique(vertices, axis=0), np.unique(expected, axis=0))
    assert trimesh.Trimesh(vertices, faces, process=False).is_watertight


def test_a_function_that_answers_differently_every_time() -> None:
    generator = np.random.default_rng(0)

    def function(points: Points) -> NDArray[np.float32]:
        noise = 1e-3 * generator.standard_normal(len(points))
        return (np.linalg.norm(points, axis=1) - 0.77 + noise).astype(np.float32)

    mesh = trimesh.Trimesh(*zero_set(function, LOW, HIGH, 128, verbose=False), process=False)
    assert mesh.is_watertight
    assert mesh.euler_number == 2


def test_where_the_surface_leaves_the_box_the_mesh_ends_on_its_walls() -> None:
    def function(points: Points) -> NDArray[np.float32]:
        return (np.linalg.norm(points - [0.3, 0.0, 0.1], axis=1) - 1.05).astype(np.float32)

    vertices, faces = zero_set(function, LOW, HIGH, 50, verbose=False)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    borders = trimesh.grouping.group_rows(mesh.edges_sorted, require_count=1)
    ends = vertices[mesh.edges[borders].ravel()]
    step = 2.2 / 50
    walls = np.concatenate([LOW, LOW + step * np.ceil((HIGH - LOW) / step - 1e-6)])
    assert len(borders)
    assert np.abs(np.tile(ends, 2) - walls).min(axis=1).max() < 1e-6


def test_each_node_near_the_surface_is_evaluated_about_once() -> None:
    places, calls = [], []

    def function(points: Points) -> NDArray[np.float32]:
        calls.append(len(points))
        places.append(points)
        return (np.linalg.norm(points, axis=1) - 0.7).astype(np.float32)

    zero_set(function, LOW, HIGH, 128, verbose=False)
    visited = np.concatenate(places)
    assert max(calls) <= CHUNK
    assert len(np.unique(visited, axis=0)) > 0.98 * len(visited)
    assert len(visited) < 0.15 * 128**3
    assert np.median(np.abs(np.linalg.norm(visited, axis=1) - 0.7)) < 3 * 2.2 / 128


def test_values_that_are_not_finite() -> None:
    def function(points: Points) -> NDArray[np.float32]:
        return np.where(points[:, 0] > 0.5, np.nan, points[:, 1]).astype(np.float32)

    with pytest.raises(ValueError, match="its values on the grid are not all finite"):
        zero_set(function, LOW, HIGH, 16, verbose=False)
