"""A torus in blocks: the same surface as that of one network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trimesh import Trimesh

from art_levelset.recon import FitProgress, GridNetwork, Reconstruction, compare, reconstruct
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.fitting import attempts
from art_levelset.recon.fitting.blocks import block_file

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
    """So few and small steps that they leave the surface where the planes are, and the last corrections."""
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
    planes = [block.planes for block in reconstruction.blocks]
    assert len(planes) == number
    assert sum(planes) > len(reconstruction.planes)  # those of overlaps are in several
    assert max(planes) < 1.1 * min(planes)
    assert all(len(block.attempts) == 1 for block in reconstruction.blocks)


def test_it_comes_back_from_a_file(in_blocks: Callable[[int], Reconstruction], tmp_path: Path) -> None:
    reconstruction = in_blocks(2)
    reconstruction.save(tmp_path / "torus.pt")
    again = Reconstruction.load(tmp_path / "torus.pt")
    queries = np.random.default_rng(0).uniform(-1.5, 1.5, (500, 3))
    np.testing.assert_array_equal(again.sdf(queries), reconstruction.sdf(queries))


def two_balls() -> Points:
    """Far from each other: half of the cells is empty space."""
    directions = np.random.default_rng(0).standard_normal((3000, 3))
    ball = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    away = np.array([12.0, 5.0, 0.0])
    return np.vstack([ball[:1500], ball[1500:] + away])


def fitted(points: Points, **others: Any) -> Reconstruction:
    return reconstruct(points, **{"steps": 3, "batch_size": 256, "blocks": 2, "verbose": False, **others})


def test_empty_space_has_no_sheets() -> None:
    reconstruction = fitted(two_balls())
    mesh = reconstruction.mesh(96)
    assert mesh.body_count == 2
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(2 * 4 / 3 * np.pi, rel=0.06)
    generator = np.random.default_rng(0)
    anywhere = generator.uniform([-3, -3, -3], [15, 8, 3], (3000, 3))
    far = np.minimum(np.linalg.norm(anywhere, axis=1), np.linalg.norm(anywhere - [12.0, 5.0, 0.0], axis=1)) > 1.2
    assert (reconstruction.sdf(anywhere[far]) > 0).all()
    assert [block.low[0] < 0 for block in reconstruction.blocks] == [True, False]


class Killed(Exception):
    pass


def test_finished_blocks_are_not_made_again(tmp_path: Path) -> None:
    points, path = two_balls(), tmp_path / "fit.pt"
    seen: list[int] = []

    def killed(progress: FitProgress) -> None:
        seen.append(progress.step)
        if len(seen) == 2:
            raise Killed

    with pytest.raises(Killed):
        fitted(points, checkpoint=path, callback=killed)
    seen = [0] * 9
    result = fitted(points, checkpoint=path, callback=killed)
    assert seen == [0] * 9, "the second one was finished as well"
    block_file(path, 1).unlink()
    again = fitted(points, checkpoint=path, callback=killed)
    assert seen == [0] * 9 + [3]
    np.testing.assert_array_equal(again.sdf(points), result.sdf(points))
    np.testing.assert_array_equal(again.sdf(points), fitted(points).sdf(points))
    assert sorted(tmp_path.iterdir()) == [block_file(path, 0), block_file(path, 1)]
    with pytest.raises(ValueError, match="is that of another fit: .*block was 1 of 2, is 1 of 3"):
        fitted(points, checkpoint=path, blocks=3)


def test_a_damaged_checkpoint_is_told_before_anything_is_done(tmp_path: Path) -> None:
    path = tmp_path / "fit.pt"
    block_file(path, 1).write_bytes(b"damaged")
    with pytest.raises(ValueError, match=f"checkpoint: .*{block_file(path, 1).name} cannot be read"):
        fitted(two_balls(), checkpoint=path)
    assert [*tmp_path.iterdir()] == [block_file(path, 1)], "the first block was not fitted"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"blocks": 0}, "blocks must be an integer >= 1, got 0"),
        ({"blocks": 2, "network": GridNetwork((4,), (1,))}, "network cannot be given for several blocks"),
        ({"blocks": 2, "time_budget": 1.0}, "time_budget cannot be given for several blocks"),
        ({"blocks": 100}, "blocks: 100 are too many for 300 local planes"),
    ],
)
def test_what_does_not_go_with_blocks(given: dict[str, Any], message: str, few_points: Points) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(few_points, **given)
