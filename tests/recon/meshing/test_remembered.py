from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from art_levelset.recon import GridNetwork, Reconstruction, reconstruction
from art_levelset.recon.cloud.clouds import Frame, Points
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.meshing.bricks import Grid, Values
from art_levelset.recon.meshing.remembered import Remembered


class Counted:
    def __init__(self) -> None:
        self.points = 0

    def __call__(self, points: Points) -> Values:
        self.points += len(points)
        return (points @ [1.0, 2.0, 4.0]).astype(np.float32)


def test_nodes_are_evaluated_once_and_other_places_always() -> None:
    function, grid = Counted(), Grid(np.array([-1.0, 0.0, 0.5]), 0.1, np.array([3, 5, 4]))
    remembered = Remembered(function, grid)
    nodes = grid.positions(np.indices((4, 6, 5)).reshape(3, -1).T)
    beyond = np.array([[-1.1, 0.0, 0.5], [-0.7, 0.5, 1.0]])
    elsewhere = np.concatenate([nodes[:7] + 0.03, beyond])
    both = np.concatenate([nodes, elsewhere])
    expected = Counted()(both)
    for known in (0, len(nodes)):
        function.points = 0
        np.testing.assert_array_equal(remembered(both), expected)
        assert function.points == len(both) - known
    np.testing.assert_array_equal(remembered(np.zeros((0, 3))), np.zeros(0))


@pytest.fixture
def sphere(monkeypatch: pytest.MonkeyPatch) -> Reconstruction:
    monkeypatch.setattr(reconstruction, "FINEST", 32)
    monkeypatch.setattr("art_levelset.recon.meshing.handles.FINEST", 32)
    directions = np.random.default_rng(0).standard_normal((500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    network = GridNetwork((8,), (1,), radius=0.7, generator=torch.Generator().manual_seed(0))
    planes = Planes(0.7 * directions, directions, 0.1)
    return Reconstruction(network, Frame(np.zeros(3), 1.0), planes, correction=0.1 / 16).without_handles()


def test_a_mesh_is_the_same_whether_its_values_are_known_or_not(sphere: Reconstruction) -> None:
    calls = []
    sphere.network.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    known = sphere.mesh(32, polish=False)
    assert sum(calls) < 100
    again = replace(sphere).mesh(32, polish=False)
    assert sum(calls) > 1000
    np.testing.assert_allclose(known.vertices, again.vertices, atol=1e-6)
    np.testing.assert_array_equal(known.faces, again.faces)


def test_what_is_known_of_other_weights_does_not_count(sphere: Reconstruction) -> None:
    before = sphere.mesh(32).volume
    assert isinstance(sphere.network, GridNetwork)
    with torch.no_grad():
        sphere.network.output.bias += 0.2
    assert sphere.mesh(32).volume < 0.9 * before
