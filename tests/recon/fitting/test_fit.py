from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from art_levelset.core.fields import as_field, values_and_jacobians
from art_levelset.recon import FitProgress, GridNetwork, Reconstruction, reconstruct
from art_levelset.recon.adam import Adam
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.fitting import checkpoint
from art_levelset.recon.fitting.progress import Budget


class Clock:
    """Stands for the time: it moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def small() -> torch.nn.Module:
    """A network that is made, stepped and written in no time."""
    return GridNetwork((8, 16), (2, 2), width=16, generator=torch.Generator().manual_seed(0))


def quick(points: Points, **options: Any) -> Reconstruction:
    return reconstruct(points, **{"network": small(), "batch_size": 64, "verbose": False} | options)


def test_steps_and_seconds_that_are_spent(clock: Clock) -> None:
    budget = Budget(10, None, clock)
    budget.begin()
    parts = []
    for budget.step in range(11):
        clock.now += 3
        parts.append(budget.part())
    assert parts == [step / 10 for step in range(11)]

    budget = Budget(None, 60.0, clock)
    clock.now += 10  # the set-up
    budget.begin()
    assert budget.part() == 0
    clock.now += 25
    budget.step = 7
    assert budget.part() == pytest.approx(0.5)
    assert budget.spent() == pytest.approx(35)
    assert budget.left() == pytest.approx(25)
    clock.now += 30
    assert budget.part() == 1

    budget = Budget(10, 100.0, clock)
    budget.begin()
    clock.now += 20
    budget.step = 5
    assert budget.part() == pytest.approx(0.5)
    clock.now += 60
    assert budget.part() == pytest.approx(0.8)


def test_seconds_before_an_interruption_count(clock: Clock) -> None:
    first = Budget(None, 60.0, clock)
    clock.now += 10
    first.begin()
    clock.now += 20
    assert first.part() == pytest.approx(0.4)
    state = first.state_dict()
    clock.now += 500
    second = Budget(None, 60.0, clock)
    second.load_state_dict(state)
    clock.now += 10  # the set-up, again
    second.begin()
    assert second.part() == pytest.approx(0.4)
    assert second.spent() == pytest.approx(40)
    clock.now += 10
    assert second.part() == pytest.approx(0.7)
    assert second.left() == pytest.approx(10)
    clock.now += 10
    assert second.part() == 1


def test_the_learning_rate_follows_the_time(clock: Clock, few_points: Points, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    real = Adam.step

    def step(self: Adam, learning_rate: float) -> None:
        clock.now += 0.5
        rates.append(learning_rate)
        real(self, learning_rate)

    monkeypatch.setattr(Adam, "step", step)
    quick(few_points, time_budget=20.0, clock=clock, learning_rate=1e-3)
    assert len(rates) == 40
    assert max(rates) == rates[10] == rates[19] == 1e-3
    assert rates[30] == pytest.approx(1e-3 * (0.02 + 0.98 * 0.5), rel=1e-3)
    assert rates[-1] < 3e-5


def test_a_time_budget_ends_a_fit_in_time(
    few_points: Points, caplog: pytest.LogCaptureFixture, ticking: Callable[[float], None]
) -> None:
    ticking(0.04)
    seen: list[FitProgress] = []
    with caplog.at_level(logging.WARNING):
        quick(few_points, time_budget=2.0, clock=time.process_time, callback=seen.append)
    assert 2 <= seen[-1].seconds < 2.1
    assert seen[-1].seconds_left == 0
    assert 40 < seen[-1].step < 50, "a look at the clock in each step, and some for the reports"
    assert f"time_budget: 2 s were enough for {seen[-1].step} steps only" in caplog.text


def test_a_time_budget_with_steps_ends_with_the_first(few_points: Points, clock: Clock) -> None:
    seen: list[FitProgress] = []
    quick(few_points, time_budget=600.0, clock=clock, steps=5, callback=seen.append)
    assert [progress.step for progress in seen] == [5]
    assert seen[0].seconds == 0


def test_a_time_budget_that_is_too_small(few_points: Points) -> None:
    with pytest.raises(ValueError, match=r"time_budget: 1e-06 s are too few, \d+\.\d s passed before the first step"):
        quick(few_points, time_budget=1e-6)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_bad_time_budgets(seconds: float, few_points: Points) -> None:
    with pytest.raises(ValueError, match="time_budget must be a finite number > 0"):
        quick(few_points, time_budget=seconds)


def test_progress_is_reported(sphere_points: Points) -> None:
    seen: list[FitProgress] = []
    result = quick(5 * sphere_points[:1000] + 100, steps=90, batch_size=512, learning_rate=1e-2, callback=seen.append)
    assert [progress.step for progress in seen] == [20, 40, 60, 80, 90]
    assert all(progress.seconds_left > 0 for progress in seen[:-1])
    assert seen[-1].seconds_left == 0
    assert seen == sorted(seen, key=lambda progress: progress.seconds)
    assert seen[-1].chamfer == (seen[-1].cloud_to_surface + seen[-1].surface_to_cloud) / 2
    # The measured distances are those of the mesh, in the scan's units.
    radii = np.linalg.norm(result.mesh(48).vertices - 100, axis=1)
    assert seen[-1].cloud_to_surface == pytest.approx(np.abs(radii - 5).mean(), rel=0.4)
    assert seen[-1].surface_to_cloud == pytest.approx(np.abs(radii - 5).mean(), rel=0.4)
    assert seen[-1].chamfer < seen[0].chamfer / 2


def test_watching_changes_nothing(few_points: Points) -> None:
    silent = quick(few_points, steps=25)
    watched = quick(few_points, steps=25, callback=lambda progress: None, verbose=True)
    np.testing.assert_array_equal(silent.sdf(few_points), watched.sdf(few_points))


def test_the_eikonal_term_makes_slopes_one(few_points: Points) -> None:
    def error(eikonal: float) -> float:
        result = quick(few_points, steps=80, batch_size=256, learning_rate=1e-2, eikonal=eikonal)
        places = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
        slopes = values_and_jacobians(as_field(result.network), places)[1].norm(dim=2)
        return float(((slopes - 1) ** 2).mean())

    assert error(1.0) < 0.7 * error(0.0)


def test_the_curvature_term_makes_bumps_lower() -> None:
    directions = np.random.default_rng(0).standard_normal((3000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cloud = directions * (1 + 0.1 * np.prod(np.sin(6 * directions), axis=1, keepdims=True))

    def bumps(curvature: float) -> float:
        mesh = quick(cloud, steps=80, batch_size=256, learning_rate=1e-2, curvature=curvature).mesh(48)
        return float(np.linalg.norm(mesh.vertices, axis=1).std())

    assert bumps(0.03) < 0.8 * bumps(0.0)


class Killed(Exception):
    pass


def interrupted(points: Points, path: Path, after: int, **options: Any) -> None:
    """A fit that does not survive a step."""

    def callback(progress: FitProgress) -> None:
        if progress.step >= after:
            raise Killed

    with pytest.raises(Killed):
        quick(points, checkpoint=path, callback=callback, **options)


@pytest.fixture
def at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)


@pytest.mark.usefixtures("at_every_step")
def test_an_interrupted_fit_goes_on(few_points: Points, tmp_path: Path) -> None:
    path = tmp_path / "fit.pt"
    whole = quick(few_points, steps=70).sdf(few_points)
    interrupted(few_points, path, 20, steps=70)
    interrupted(few_points, path, 60, steps=70)
    assert [file.name for file in tmp_path.iterdir()] == ["fit.pt"]
    seen: list[FitProgress] = []
    resumed = quick(few_points, steps=70, checkpoint=path, callback=seen.append)
    assert [progress.step for progress in seen] == [70]
    np.testing.assert_array_equal(resumed.sdf(few_points), whole)
    again = quick(few_points, steps=70, checkpoint=str(path), callback=seen.append)
    assert len(seen) == 1  # it had ended: no step was made
    np.testing.assert_array_equal(again.sdf(few_points), whole)


def test_between_two_checkpoints_nothing_is_written(few_points: Points, tmp_path: Path) -> None:
    interrupted(few_points, tmp_path / "fit.pt", 20, steps=70)
    assert not any(tmp_path.iterdir())
    quick(few_points, steps=5, checkpoint=tmp_path / "fit.pt")
    assert (tmp_path / "fit.pt").exists()


@pytest.mark.usefixtures("at_every_step")
def test_a_fit_with_a_time_budget_goes_on(few_points: Points, tmp_path: Path, ticking: Callable[[float], None]) -> None:
    ticking(0.05)
    interrupted(few_points, tmp_path / "fit.pt", 20, time_budget=3.0, clock=time.process_time)
    spent = torch.load(tmp_path / "fit.pt", weights_only=True)["state"]["budget"]["seconds"]
    seen: list[FitProgress] = []
    quick(few_points, time_budget=3.0, clock=time.process_time, checkpoint=tmp_path / "fit.pt", callback=seen.append)
    assert 0 < spent < 3
    assert seen[0].step > 20
    assert seen[-1].step < 60
    assert 3 <= seen[-1].seconds < 3.2


@pytest.mark.usefixtures("at_every_step")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"steps": 41}, "steps was 40, is 41"),
        ({"steps": None, "time_budget": 9.0}, "steps was 40, is None; time_budget was None, is 9.0"),
        ({"batch_size": 65}, "batch_size was 64, is 65"),
        ({"eikonal": 0.5}, "eikonal was 0.0, is 0.5"),
        ({"curvature": 0.5}, "curvature was 0.0, is 0.5"),
        ({"learning_rate": 2e-3}, "learning_rate was 0.001, is 0.002"),
        ({"network": GridNetwork((8, 16), (2, 4))}, "network was GridNetwork [0-9a-f]{16}, is GridNetwork"),
        ({"normals": [[0.0, 0.0, 1.0]] * 300}, "normals was None, is 300 points"),
        ({"points": 0}, "points was 300 points [0-9a-f]{16}, is 300 points"),
    ],
)
def test_the_checkpoint_of_another_fit(
    changed: dict[str, Any], message: str, few_points: Points, tmp_path: Path
) -> None:
    path = tmp_path / "fit.pt"
    interrupted(few_points, path, 20, steps=40)
    before = path.read_bytes()
    points = few_points * 1.001 if changed.pop("points", None) is not None else few_points
    with pytest.raises(ValueError, match=f"checkpoint: .*fit.pt is that of another fit: .*{message}"):
        quick(points, **{"steps": 40, "checkpoint": path} | changed)
    assert path.read_bytes() == before


@pytest.mark.usefixtures("at_every_step")
def test_damaged_checkpoints(few_points: Points, tmp_path: Path) -> None:
    path = tmp_path / "fit.pt"
    interrupted(few_points, path, 20, steps=40)
    whole = quick(few_points, steps=40).sdf(few_points)
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    messages = []
    for place in [*generator.integers(len(content), size=30), len(content) - 1, 0]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(flipped)
        try:
            result = quick(few_points, steps=40, checkpoint=path)
        except ValueError as error:
            messages.append(str(error))
        else:  # in the padding between the parts of the file
            np.testing.assert_array_equal(result.sdf(few_points), whole)
    assert len(messages) > 20
    assert all(message.startswith(f"checkpoint: {path} ") for message in messages)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04"])
def test_files_that_are_no_checkpoints(content: bytes, few_points: Points, tmp_path: Path) -> None:
    path = tmp_path / "fit.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint: .*fit.pt cannot be read"):
        quick(few_points, checkpoint=path)
    assert path.read_bytes() == content


def test_other_files_are_no_checkpoints(few_points: Points, tmp_path: Path) -> None:
    path = tmp_path / "fit.pt"
    quick(few_points, steps=2).save(path)
    with pytest.raises(ValueError, match="is not the checkpoint of a fit of this version"):
        quick(few_points, steps=2, checkpoint=path)
    with pytest.raises(ValueError, match="is a directory"):
        quick(few_points, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="there is no directory"):
        quick(few_points, checkpoint=tmp_path / "none" / "fit.pt")
    torch.save({"format": checkpoint.FORMAT, "fit": print}, path)
    with pytest.raises(ValueError, match=r"fit.pt cannot be read: it holds '__builtin__.print'"):
        quick(few_points, checkpoint=path)
