"""Exact networks: to files and back, to meshes and back."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from trimesh.creation import box, torus

from art_levelset.core import circuits
from art_levelset.core.universality import exact_network
from art_levelset.recon.exact import agreement, load_exact, march, save_exact
from art_levelset.recon.inspect.metrics import compare

RING = torus(1, 0.4, 12, 8)
SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 1], [1, 2], [2, 3], [3, 0]]


@pytest.mark.parametrize("sparse", [False, True])
def test_files(sparse: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuits, "DENSE", 0 if sparse else 1 << 30)
    network = exact_network(RING)
    save_exact(tmp_path / "ring.pt", network, *RING.bounds)
    again, low, high = load_exact(tmp_path / "ring.pt")
    assert [type(module) for module in again] == [type(module) for module in network]
    assert again.size == network.size
    np.testing.assert_array_equal([low, high], RING.bounds)
    points = torch.randn(100, 3, dtype=torch.float64)
    assert torch.equal(again(points), network(points))
    assert (tmp_path / "ring.pt").stat().st_size < 150_000


def test_what_is_no_file_of_a_network(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is not an exact network"):
        load_exact(path)
    torch.save({"format": "another"}, path)
    with pytest.raises(ValueError, match="is not an exact network of this version"):
        load_exact(path)
    with pytest.raises(FileNotFoundError):
        load_exact(tmp_path / "missing.pt")


def test_marching_gives_the_mesh() -> None:
    mesh = march(exact_network(RING), *RING.bounds, 48, verbose=False)
    assert mesh.is_watertight
    assert mesh.euler_number == 0
    assert mesh.volume == pytest.approx(RING.volume, rel=0.01)  # positive: the normals point outwards
    cell = np.ptp(RING.bounds, axis=0).max() / 48
    found = compare(mesh, RING, samples=2000)
    assert found.hausdorff_to_surface < cell
    assert found.chamfer_to_surface < 0.05 * cell


def test_marching_finds_what_is_smaller_than_a_brick() -> None:
    whole = box(extents=[4, 4, 4]) + box(extents=[0.3, 0.3, 0.3]).apply_translation([7, 0, 0])
    mesh = march(exact_network(whole), *whole.bounds, 80, verbose=False)
    assert mesh.body_count == 2


def test_only_surfaces_in_space_are_marched() -> None:
    with pytest.raises(ValueError, match=r"hypersurface of R\^2"):
        march(exact_network(SQUARE), np.zeros(2), np.ones(2), 16)


def test_agreement_and_its_lack() -> None:
    network = exact_network(RING)
    found = agreement(network, RING, samples=1000)
    assert found.on_surface < 1e-14
    assert (found.wrong, found.points) == (0, 1000)
    last = copy.deepcopy(network)
    assert isinstance(last[-1], nn.Linear)
    with torch.no_grad():
        last[-1].bias += 0.01
    found = agreement(last, RING, samples=1000)
    diagonal = np.linalg.norm(np.ptp(RING.bounds, axis=0))
    assert found.on_surface == pytest.approx(0.01 / diagonal)
    assert 100 < found.wrong < 500
    square = agreement(exact_network(SQUARE), SQUARE, samples=100)
    assert (square.on_surface, square.wrong) == pytest.approx((0, 0), abs=1e-14)


@pytest.mark.parametrize("wrong", [{"samples": 1}, {"seed": -1}])
def test_numbers_out_of_range(wrong: dict[str, int]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        agreement(exact_network(SQUARE), SQUARE, **wrong)
