from __future__ import annotations

import numpy as np
import pytest

from art_levelset.recon.curves.loops import WALL, Loop, close_pieces, match_loops, trim_to_data
from art_levelset.recon.curves.polylines import Polyline


def arc(degrees: float) -> Polyline:
    angle = np.deg2rad(np.linspace(0, degrees, 100))
    return Polyline(np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1), False)


def test_a_closed_piece_is_its_own_loop() -> None:
    ring = Polyline(arc(350).points, True)
    (loop,) = close_pieces([ring], 0.1)
    assert loop.line is ring
    assert loop.cut is None


@pytest.mark.parametrize("degrees", [90, 180, 300])
def test_an_open_piece_is_closed_at_a_distance(degrees: float) -> None:
    piece = arc(degrees)
    (loop,) = close_pieces([piece], 0.1)
    assert loop.line.closed
    assert loop.cut is not None
    np.testing.assert_array_equal(loop.line.points[: len(piece)], piece.points)
    assert np.abs(loop.line.points).max() <= WALL
    assert loop.line.project(loop.cut[None])[1][0] < 1e-6
    assert piece.project(loop.cut[None])[1][0] > 0.1
    assert np.linalg.norm(np.diff(loop.line.chain, axis=0), axis=1).max() < 0.2


def test_the_way_keeps_clear_of_a_wall_of_other_curves() -> None:
    straight = Polyline(np.linspace([-0.8, 0, 0], [0.8, 0, 0], 80), False)
    other = Polyline(np.linspace([-0.8, 0.5, 0], [0.8, 0.5, 0], 80), False)
    loops = close_pieces([straight, other], 0.1)
    way = loops[0].line.points[len(straight) + 8 : -8]
    assert other.project(way)[1].min() > 0.2
    assert loops[1].line.project(way)[1].min() > 0.1


def test_trimming_undoes_closing() -> None:
    piece = arc(200)
    loops = close_pieces([piece], 0.1)
    spurious = Polyline(arc(350).points * 0.1 + [0, 0, 1], True)
    cloud = piece.resampled(0.005).points
    pieces, left_out = trim_to_data([spurious, loops[0].line], loops, cloud, 0.1)
    assert left_out == 1
    assert [line.closed for line in pieces] == [False]
    assert pieces[0].length == pytest.approx(piece.length, rel=0.01)
    assert match_loops(pieces, loops, 0.05)


def test_what_does_not_hold() -> None:
    ring = Polyline(arc(350).points, True)
    loops = [Loop(ring, ring, None)]
    assert match_loops([ring], loops, 0.05)
    assert not match_loops([arc(350)], loops, 0.05)
    assert not match_loops([ring, ring], loops, 0.05)
    assert not match_loops([Polyline(1.1 * ring.points, True)], loops, 0.05)
    assert trim_to_data([], loops, ring.points, 0.05) == ([], 0)
