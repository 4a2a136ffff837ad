from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from art_levelset import memory
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.meshing import estimate
from art_levelset.recon.meshing.bricks import Grid, crossed_bricks
from art_levelset.recon.meshing.estimate import needed
from art_levelset.recon.meshing.extract import zero_set

LOW, HIGH = np.full(3, -1.0), np.full(3, 1.0)


def ball(points: Points) -> NDArray[np.float32]:
    return (np.linalg.norm(points, axis=1) - 0.7).astype(np.float32)


def free(monkeypatch: pytest.MonkeyPatch, count: float) -> None:
    for module in (memory, estimate):
        monkeypatch.setattr(module, "available", lambda: count)


def density(resolution: int) -> float:
    grid = Grid(LOW, 2 / resolution, np.full(3, resolution))
    return sum(brick.cells().sum() for brick in crossed_bricks(ball, grid, 1.5, verbose=False)) / resolution**2


def test_a_refusal_says_what_would_fit_and_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 300e6)
    with pytest.raises(
        ValueError, match=r"^resolution: 4,096 needs about \d+ GB of memory, 300 MB are free; "
    ) as refused:
        zero_set(ball, LOW, HIGH, 4096, verbose=False)
    fits = int(re.findall(r"([\d,]+) would fit$", str(refused.value))[0].replace(",", ""))
    crossed = density(64)
    assert needed(fits, np.ones(3), crossed) <= 300e6 < needed(fits + 1, np.ones(3), crossed)
    estimate.check_resolution(ball, LOW, HIGH, fits, slope=1.5, point=estimate.POINT)


def test_a_resolution_is_refused_before_the_corners_of_its_bricks_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 300e6)
    with pytest.raises(
        ValueError, match=r"^resolution: 10,000,000 needs about [\d,]+ TB of memory, 300 MB are free; [\d,]+ would fit"
    ):
        zero_set(ball, LOW, HIGH, 10**7, verbose=False)


def test_nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 1e6)
    with pytest.raises(
        ValueError, match=r"resolution: 32 needs about [0-9]+ MB of memory, 1 MB are free; not even 8 would"
    ):
        zero_set(ball, LOW, HIGH, 32, verbose=False)


def test_the_mesh_is_the_same_where_cells_were_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = zero_set(ball, LOW, HIGH, 40, verbose=False)
    free(monkeypatch, needed(40, np.ones(3), estimate.DENSE) - 1)
    counted, same = zero_set(ball, LOW, HIGH, 40, verbose=False)
    assert (vertices == counted).all()
    assert (faces == same).all()


def test_the_cells_of_a_finer_grid_are_foreseen() -> None:
    assert density(64) == pytest.approx(density(256), rel=0.05)


@given(
    resolution=st.integers(8, 10**6),
    finer=st.integers(0, 10**6),
    sides=st.tuples(*[st.floats(0, 1)] * 2),
    crossed=st.floats(0, 100),
    more=st.floats(0, 100),
)
def test_more_needs_more(resolution: int, finer: int, sides: tuple[float, float], crossed: float, more: float) -> None:
    box = np.array([1.0, *sides])
    least = needed(resolution, box, crossed)
    assert 0 < least <= needed(resolution + finer, box, crossed) <= needed(resolution + finer, box, crossed + more)
