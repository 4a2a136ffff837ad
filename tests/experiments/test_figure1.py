from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from art_levelset.experiments import figure1


def test_the_points_leave_room_for_the_distance_asked_for() -> None:
    x, y = figure1.points()
    assert x.shape == (16, 2)
    assert x.min() >= 0
    assert x.max() <= 0.5
    assert set(y) == {0, 1}
    between = np.abs(x[y == 0][:, None] - x[y == 1][None]).max(axis=2)
    assert between.min() > 2 * figure1.EPS


def test_distances_of_a_known_boundary() -> None:
    ticks = np.linspace(-0.05, 0.55, 301)
    across, _ = np.meshgrid(ticks, ticks)
    (line,) = figure1._curves(across - 0.2, 0.0)
    np.testing.assert_allclose(line[:, 0], 0.2, atol=1e-12)
    assert figure1._curves(across + 1, 0.0) == []
    dense = figure1._densely([line])
    assert len(dense) == 8 * (len(line) - 1)
    np.testing.assert_allclose(dense[:, 0], 0.2, atol=1e-12)


def test_the_four_panels_in_few_steps(tmp_path: Path) -> None:
    panels = figure1.draw_continued(tmp_path / "figure1.png", nb_epochs=3, verbose=False)
    assert [panel.name for panel in panels] == list("abcd")
    assert (tmp_path / "figure1.png").read_bytes().startswith(b"\x89PNG")
    assert all(panel.distance_inf <= panel.distance_2 for panel in panels)
    json.dumps([panel.metrics() for panel in panels], allow_nan=False)
