"""Neighbours by comparing all pairs: the same as a tree's, and the same fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.recon import reconstruct
from art_levelset.recon.cloud import nearest as module
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.nearest import nearest
from art_levelset.recon.cloud.planes import PlaneDistance, Planes

from ..conftest import medium


@given(st.integers(1, 60), st.integers(0, 40), st.integers(1, 4), st.integers(0, 2**31))
def test_the_neighbours_of_a_tree(members: int, points: int, dimensions: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    one, other = generator.standard_normal((points, dimensions)), generator.standard_normal((members, dimensions))
    count = int(generator.integers(1, members + 1))
    distances, indices = nearest(torch.as_tensor(one), torch.as_tensor(other), count)
    assert distances.shape == indices.shape == (points, count)
    expected = cKDTree(other).query(one, k=np.arange(1, count + 1))[0] if points else np.zeros((0, count))
    np.testing.assert_allclose(distances.numpy(), expected, atol=1e-12)
    reached = np.linalg.norm(one[:, None] - other[indices.numpy()], axis=2)
    np.testing.assert_allclose(reached, expected, atol=1e-12)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    points, members = torch.randn(50, 3), torch.randn(30, 3)
    whole = nearest(points, members, 5)
    monkeypatch.setattr(module, "PAIRS", 7)
    for one, other in zip(nearest(points, members, 5), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_small_distances_keep_their_digits() -> None:
    members = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 1.001]])
    distances, indices = nearest(torch.tensor([[1.0, 1.0, 1.0004]]), members, 2)
    assert indices.tolist() == [[0, 1]]
    np.testing.assert_allclose(distances.numpy(), [[4e-4, 6e-4]], rtol=1e-3)


def test_a_plane_distance_without_a_tree_measures_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    made = Planes(generator.uniform(-1, 1, (300, 3)), np.tile([0.0, 0.0, 1.0], (300, 1)), 0.1)
    distance = PlaneDistance(made, torch.device("cpu"))
    points = torch.rand(100, 3)
    by_tree = distance.neighbours(points)
    distance._tree = None
    on_device = distance.neighbours(points)
    torch.testing.assert_close(on_device[0], by_tree[0])
    torch.testing.assert_close(on_device[1], by_tree[1])


def test_the_fit_of_a_device_is_that_of_the_processor(sphere_points: Points, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way through the code of a device, which is told apart by the kind of the device alone."""

    def fitted() -> NDArray[np.float64]:
        result = reconstruct(sphere_points, network=medium(), steps=20, batch_size=64, verbose=False)
        return result.sdf(1.2 * sphere_points[:100])

    on_processor, whole = fitted(), PlaneDistance.__init__

    def without_a_tree(self: PlaneDistance, *arguments: Any) -> None:
        whole(self, *arguments)
        self._tree = None

    monkeypatch.setattr(PlaneDistance, "__init__", without_a_tree)
    np.testing.assert_allclose(fitted(), on_processor, atol=2e-3)
