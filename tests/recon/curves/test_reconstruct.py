from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from art_levelset.models import fc_1
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves import CurveNetwork, CurveReconstruction, reconstruct_curve
from art_levelset.recon.curves.solve import ANYWHERE, LAYERS


def test_a_gap_of_a_ring_far_away_is_closed(ring: CurveReconstruction, far_away: Points) -> None:
    (piece,) = ring.pieces
    assert piece.closed
    assert ring.length == pytest.approx(10 * np.pi, rel=0.02)
    offsets = piece.points - far_away
    errors = np.hypot(np.linalg.norm(offsets[:, :2], axis=1) - 5, offsets[:, 2])
    assert errors.mean() < 0.05
    assert errors.max() < 0.5  # in the gap
    assert len(ring.junctions) == 0


@pytest.mark.parametrize("shape", ["half a circle", "a parabola"])
def test_a_gap_as_wide_as_the_curve_is_closed_on_demand(shape: str, far_away: Points) -> None:
    generator = np.random.default_rng(5)
    t = generator.uniform(-1, 1, 300)
    x, y = (np.sin(np.pi / 2 * t), np.cos(np.pi / 2 * t)) if shape == "half a circle" else (t, t * t)
    points = np.stack([x, y, 0 * t], axis=1) + 0.005 * generator.standard_normal((300, 3)) + far_away
    (piece,) = reconstruct_curve(points, closed=True, verbose=False).pieces
    assert piece.closed
    assert piece.length > 5
    assert np.median(piece.project(points)[1]) < 0.02
    (piece,) = reconstruct_curve(points, verbose=False).pieces
    assert not piece.closed


def test_the_noise_is_found(ring: CurveReconstruction, known: Any) -> None:
    assert ring.noise == pytest.approx(0.01 * 5 * known.diagonal(known.circle()), rel=0.15)


def test_the_vertices_are_on_the_zero_set(ring: CurveReconstruction) -> None:
    vertices = torch.as_tensor(ring.frame.to_unit(ring.pieces[0].points), dtype=torch.float32)
    with torch.no_grad():
        assert ring.network(vertices).abs().max() < 1e-4


def test_the_two_gradients_are_independent_on_the_curve(ring: CurveReconstruction) -> None:
    places = torch.as_tensor(ring.frame.to_unit(ring.pieces[0].points), dtype=torch.float32).requires_grad_()
    values = ring.network(places)
    rows = [torch.autograd.grad(values[:, i].sum(), places, retain_graph=True)[0] for i in range(2)]
    area = torch.linalg.vector_norm(torch.linalg.cross(rows[0], rows[1]), dim=1)
    assert area.min() > 0.3  # the field wound around the curve has two unit gradients at right angles


def test_the_seed_determines_the_result(ring_cloud: Points) -> None:
    def lengths(seed: int) -> float:
        torch.rand(1)  # the global generator has no say
        return reconstruct_curve(ring_cloud, seed=seed, verbose=False).length

    assert lengths(1) == lengths(1)


def test_a_network_of_ones_own(ring_cloud: Points, caplog: pytest.LogCaptureFixture) -> None:
    network = fc_1(3, 2, width=16)
    result = reconstruct_curve(ring_cloud, network=network, steps=5, verbose=False)
    assert result.network is network
    assert "try another seed or network" in caplog.text


def test_a_network_of_ones_own_is_descended_to(known: Any) -> None:
    cloud = known.sample(known.circle(), 200, 0.005, np.random.default_rng(0))
    network = Sines(torch.Generator().manual_seed(0))
    result = reconstruct_curve(cloud, network=network, steps=400, verbose=False)
    assert result.network is network
    assert [piece.closed for piece in result.pieces] == [True]
    assert result.length == pytest.approx(2 * np.pi, rel=0.02)


class Sines(torch.nn.Module):
    """A sinusoidal network, with the weights that keep the activations' distribution."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(*sizes) for sizes in ((3, 48), (48, 48), (48, 2))])
        for layer, bound in zip(self.layers, (1 / 3, 0.35 / 8, 0.35 / 8), strict=True):
            torch.nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            torch.nn.init.uniform_(layer.bias, -bound, bound, generator=generator)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            points = torch.sin(8 * layer(points))
        values: torch.Tensor = self.layers[-1](points)
        return values


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.full((20, 3), np.nan), "points: 20 of 20 have NaN"),
        (np.eye(3), "points: need at least 10, got 3"),
        (np.ones((20, 2)), "points must have the shape"),
    ],
)
def test_bad_clouds(points: Points, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruct_curve(points, verbose=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 2, "network": fc_1(3, 2, width=4)}, "steps must be an integer >= 3, got 2"),
        ({"learning_rate": 0.0, "network": fc_1(3, 2, width=4)}, "learning_rate must be a finite number > 0"),
        ({"learning_rate": np.nan, "network": fc_1(3, 2, width=4)}, "learning_rate must be a finite number > 0"),
        ({"steps": 100}, "steps: is that of a given network's fit, and there is no network"),
        ({"learning_rate": 0.1}, "learning_rate: is that of a given network's fit"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"network": torch.nn.Linear(3, 1)}, r"network: must map \(batch, 3\) to \(batch, 2\)"),
        ({"network": torch.nn.Linear(2, 2)}, r"network: must map \(batch, 3\) to \(batch, 2\)"),
        ({"network": torch.nn.Identity()}, "network: has no parameters"),
        ({"closed": "no"}, "closed must be True, False or None, got 'no'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str, ring_cloud: Points) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruct_curve(ring_cloud, verbose=False, **options)


@pytest.mark.parametrize("name", ["trefoil", "figure_eight", "torus_knot", "through_points", "protein"])
def test_known_curves(name: str, known: Any) -> None:
    arguments: tuple[int, ...] = {"torus_knot": (2, 5), "through_points": (0,)}.get(name, ())
    truth = getattr(known, name)(*arguments)
    cloud = known.sample(truth, 2000, 0.003, np.random.default_rng(0))
    result = reconstruct_curve(cloud, verbose=False)
    assert [piece.closed for piece in result.pieces] == [truth.closed]
    assert isinstance(result.network, CurveNetwork)
    most = ANYWHERE[1] + sum(count for _, _, count in LAYERS)
    assert result.network.units <= most  # of the first network
    found = known.errors(result.pieces, truth)
    assert found.chamfer < 0.002
    assert found.hausdorff < 0.01
    assert found.length == pytest.approx(1, abs=0.01)


def test_a_link_of_two_rings(known: Any) -> None:
    generator = np.random.default_rng(0)
    ring = known.sample(known.circle(), 800, 0.005, generator)
    other = known.sample(known.circle(), 800, 0.005, generator)[:, [0, 2, 1]] + [1, 0, 0]
    result = reconstruct_curve(np.concatenate([ring, other]), verbose=False)
    assert [piece.closed for piece in result.pieces] == [True, True]
    for piece in result.pieces:
        assert piece.length == pytest.approx(2 * np.pi, rel=0.01)
