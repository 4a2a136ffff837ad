from __future__ import annotations

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from art_levelset.recon.clouds import Points
from art_levelset.recon.extract import zero_set
from art_levelset.recon.parts import supported_parts

LOW, HIGH = np.array([-1.0, -1.2, -0.9]), np.array([1.1, 1.0, 1.3])


def torus(points: Points) -> NDArray[np.float32]:
    ring = np.hypot(points[:, 0], points[:, 1]) - 0.6
    return (np.hypot(ring, points[:, 2]) - 0.2).astype(np.float32)


@pytest.mark.parametrize("resolution", [33, 64])
def test_a_torus(resolution: int) -> None:
    vertices, faces = zero_set(torus, LOW, HIGH, resolution, verbose=False)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    step = 2.2 / resolution
    assert np.abs(torus(vertices)).max() < step**2 / 0.4
    assert mesh.is_watertight
    assert mesh.euler_number == 0
    assert mesh.volume == pytest.approx(2 * np.pi**2 * 0.6 * 0.2**2, rel=0.1)


def test_a_level_set_outside_the_box() -> None:
    with pytest.raises(ValueError, match="the reconstruction is empty"):
        zero_set(lambda points: torus(points) + 2, LOW, HIGH, 32, verbose=False)


@pytest.mark.parametrize("slope", [0.0, -1.0, float("nan")])
def test_a_bad_slope(slope: float) -> None:
    with pytest.raises(ValueError, match="slope must be positive, got"):
        zero_set(torus, LOW, HIGH, 32, slope=slope, verbose=False)


def test_parts_without_data_are_told_from_the_others() -> None:
    parts = [trimesh.creation.icosphere(subdivisions=1, radius=r).apply_translation([x, 0, 0]) for r, x in
             ((1.0, 0.0), (0.1, 0.0), (0.5, 5.0))]  # fmt: skip
    mesh = trimesh.util.concatenate(parts)
    data = np.concatenate([parts[0].vertices, parts[2].vertices[:10]])
    kept = supported_parts(np.asarray(mesh.vertices), np.asarray(mesh.faces), data, 0.05)
    assert kept.tolist() == [True] * 80 + [False] * 80 + [True] * 80
