"""A torus in blocks: the same surface as that of one network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trimesh import Trimesh

from art_levelset.recon import Reconstruction, compare, reconstruct
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.fitting import attempts
from art_levelset.recon.fitting.blocks import block_file
from art_levelset.recon.fitting.judgement import Judgement

RADIUS = 0.35


def torus_cloud(count: int) -> Points:
    """Evenly spread on a torus around z, without noise."""
    angles = np.linspace(0, 2 * np.pi, 10_001)
    i = np.arange(count)
    about = np.interp((i + 0.5) / count, (angles + RADIUS * np.sin(angles)) / (2 * np.pi), angles)
    around = 2 * np.pi * ((i * (np.sqrt(5) - 1) / 2) % 1)
    ring = 1 + RADIUS * np.cos(about)
    return np.stack([ring * np.cos(around), ring * np.sin(around), RADIUS * np.sin(about)], axis=1)


@pytest.fixture(scope="module")
def in_blocks() -> Callable[[int], Reconstruction]:
    """Nearly where the planes are, with the last corrections."""
    known: dict[int, Reconstruction] = {}
    cloud = torus_cloud(7000)

    def made(number: int) -> Reconstruction:
        if number not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(attempts, "FEWEST_STEPS", 1)
                known[number] = reconstruct(
                    cloud, quality="draft", steps=30, learning_rate=3e-4, blocks=number, verbose=False
                )
        return known[number]

    return made


@pytest.fixture(scope="module")
def whole(in_blocks: Callable[[int], Reconstruction]) -> Trimesh:
    return in_blocks(1).mesh(160)


@pytest.mark.parametrize("number", [2, 4])
def test_blocks_are_welded_without_seams(
    number: int, whole: Trimesh, in_blocks: Callable[[int], Reconstruction]
) -> None:
    reconstruction = in_blocks(number)
    mesh = reconstruction.mesh(160)
    distances = compare(mesh, whole)
    assert distances.chamfer_to_surface < 1e-4 * distances.diagonal
    assert distances.hausdorff_to_surface < 1e-4 * distances.diagonal
    ring = np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 1]) - 1
    errors = np.hypot(ring, mesh.vertices[:, 2]) - RADIUS
    assert np.abs(errors).max() < 1e-4 * distances.diagonal
    assert mesh.is_watertight
    assert mesh.euler_number == 0
    assert mesh.body_count == 1
    assert reconstruction.rejected is None
    assert len(reconstruction.blocks) == number
    planes = [block.planes for block in reconstruction.blocks]
    assert sum(planes) > len(reconstruction.planes)  # those of overlaps are in several
    assert max(planes) < 1.1 * min(planes)
    assert all(len(block.attempts) == 1 for block in reconstruction.blocks)


def test_it_comes_back_from_a_file(in_blocks: Callable[[int], Reconstruction], tmp_path: Path) -> None:
    reconstruction = in_blocks(2)
    reconstruction.save(tmp_path / "torus.pt")
    again = Reconstruction.load(tmp_path / "torus.pt")
    queries = np.random.default_rng(0).uniform(-1.5, 1.5, (500, 3))
    np.testing.assert_array_equal(again.sdf(queries), reconstruction.sdf(queries))
