"""The network that is linear in its weights, and what is solved for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.core.fields import as_field
from art_levelset.core.projection import project
from art_levelset.recon.curves.loops import Loop
from art_levelset.recon.curves.polylines import Polyline, distance_to
from art_levelset.recon.curves.result import CurveNetwork
from art_levelset.recon.curves.samples import Samples
from art_levelset.recon.curves.solve import ANYWHERE, LAYERS, _normal, _offsets, _solve, network_around, solve


def ring(radius: float = 0.7) -> Polyline:
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    return Polyline(radius * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1), True)


def samples_of(line: Polyline, cloud: Any, seed: int = 0) -> Samples:
    return Samples(cloud, [Loop(line, line, None)], 0.02, torch.Generator().manual_seed(seed), torch.device("cpu"))


def solved(line: Polyline, target: Polyline | None = None) -> tuple[CurveNetwork, Samples]:
    """The network whose field winds around one line, while the data's tangents are those of another one."""
    target = line if target is None else target
    loop = Loop(line, target, None)
    samples = Samples(target.points, [loop], 0.02, torch.Generator().manual_seed(0), torch.device("cpu"))
    network = network_around([loop], 1.0, torch.Generator().manual_seed(0))
    solve(network, samples)
    return network, samples


def test_units_are_around_the_curve() -> None:
    line = ring()
    network = network_around([Loop(line, line, None)], 1.0, torch.Generator().manual_seed(0))
    width, anywhere = ANYWHERE
    counts = [int(for_length * line.length) for _, for_length, _ in LAYERS]
    assert network.units == anywhere + sum(counts)
    assert (network.widths[:anywhere] == width).all()
    near = network.centres[anywhere : anywhere + counts[0]].double().numpy()
    assert np.median(distance_to(near, [line])) < LAYERS[0][0]
    assert not network(torch.rand(5, 3)).any()


def test_a_ring_is_the_zero_set() -> None:
    line = ring()
    network, _ = solved(line)
    found = project(as_field(network), torch.as_tensor(line.points, dtype=torch.float32) + 0.01)
    assert found.converged.all()
    assert distance_to(found.points.double().numpy(), [line]).max() < 5e-4
    far = torch.tensor([[0.0, 0, 0], [0, 0, 1], [1, 1, 1]])
    assert torch.linalg.vector_norm(network(far), dim=1).min() > 0.1


def test_eq_13_moves_the_zero_set_to_the_data() -> None:
    """The field winds around a ring that is 2% too large: the squares of eq. 13 move its zero set most of the way."""
    network, _ = solved(ring(0.714), ring(0.7))
    found = project(as_field(network), torch.as_tensor(ring().points, dtype=torch.float32))
    radii = torch.linalg.vector_norm(found.points[:, :2], dim=1)
    assert 0.7 < float(radii.mean()) < 0.709


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_offsets_are_those_of_the_sample_network(seed: int) -> None:
    """Where F - c is what :func:`_offsets` wants at a sample, eq. 9 puts the sample on the tangent of the data."""
    generator = torch.Generator().manual_seed(seed)
    line = ring()
    samples = samples_of(line, line.points)
    places = torch.as_tensor(line.points[::40], dtype=torch.float64)
    radial = places / 0.7
    points = places + 0.01 * radial
    across = torch.stack([radial, torch.tensor([0.0, 0, 1], dtype=torch.float64).expand(len(places), 3)], dim=1)
    mixing = torch.eye(2, dtype=torch.float64) + 0.3 * torch.rand(len(places), 2, 2, generator=generator).double()
    jacobians = mixing @ across  # rows in the plane that the tangent is perpendicular to
    wanted, roots = _offsets(points, jacobians, samples)
    moved = points - (torch.linalg.pinv(jacobians) @ wanted[:, :, None])[:, :, 0]
    assert distance_to(moved.numpy(), [line]).max() < 1e-4
    assert (roots > 0).all()


def test_normal_equations_by_hand() -> None:
    network = CurveNetwork(1).double()
    points = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [0, 2, 0], [0, 0, 3], [1, 1, 1]], dtype=torch.float64)
    values = torch.stack([points[:, 0] + 1, points[:, 1] - points[:, 2]], dim=1)  # affine: the unit is not needed
    with torch.no_grad():
        _solve(network, _normal(network, points, values, torch.ones(5, 1, dtype=torch.float64)))
        torch.testing.assert_close(network(points), values, atol=1e-6, rtol=0)
    expected = torch.tensor([[0.0, 0], [1, 0], [0, 1], [0, -1], [1, 0]], dtype=torch.float64)
    torch.testing.assert_close(network.weights.detach(), expected, atol=1e-5, rtol=0)


def test_weights_of_rows_count() -> None:
    """Of two contradicting values the one with twice the root has four times the say."""
    network = CurveNetwork(1).double()
    points = torch.zeros(2, 3, dtype=torch.float64)
    values = torch.tensor([[0.0, 0], [1, 5]], dtype=torch.float64)
    with torch.no_grad():
        _solve(network, _normal(network, points, values, torch.tensor([[1.0], [2.0]], dtype=torch.float64)))
        torch.testing.assert_close(network(points[:1]), torch.tensor([[0.8, 4.0]], dtype=torch.float64))


def test_more_detail_is_more_and_narrower_units() -> None:
    line = ring()
    one, two = (network_around([Loop(line, line, None)], detail, torch.Generator()) for detail in (1.0, 2.0))
    anywhere = ANYWHERE[1]
    assert two.units - anywhere == pytest.approx(2 * (one.units - anywhere), abs=2)
    assert float(two.widths.min()) == pytest.approx(float(one.widths.min()) / 2)
