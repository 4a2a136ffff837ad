from __future__ import annotations

import numpy as np
import pytest
import torch

from art_levelset.recon.cloud.clouds import Frame, Points
from art_levelset.recon.cloud.orientation import Indicator
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.cloud.quadrics import Means
from art_levelset.recon.cloud.scan import Scan


def flat_sheet(up: Points | None) -> Scan:
    """z = 0 in the unit frame, of a scan 10 times as large around (100, 0, 0)."""
    x, y = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41))
    points = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], axis=1)
    normals = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    nodes = torch.linspace(1, 0, 27)[None, None].expand(27, 27, 27).contiguous()
    means = Means(np.arange(len(points), dtype=np.float64) + 1, 0.05)
    planes = Planes(points, normals, 0.1, 0.01)
    return Scan(Frame(np.array([100.0, 0.0, 0.0]), 10.0), points, means, planes, Indicator(nodes, 0.1), up)


LOW, HIGH = np.array([-0.01, -0.01, -0.5]), np.array([1.0, 1.0, 0.5])
BLOCK = Frame(np.array([0.5, 0.5, 0.0]), 0.5)


def test_a_part_has_what_lies_in_its_box_in_a_frame_of_its_own() -> None:
    scan = flat_sheet(None)
    part = scan.part(LOW, HIGH, BLOCK)
    assert len(part.points) == len(part.planes) == 21**2
    np.testing.assert_allclose([part.points.min(axis=0), part.points.max(axis=0)], [[-1, -1, 0], [1, 1, 0]], atol=1e-9)
    np.testing.assert_allclose(part.planes.centres, part.points)
    assert (part.planes.reach, part.planes.error) == pytest.approx((0.2, 0.02))
    assert part.means is not None
    assert part.means.side == pytest.approx(0.1)
    inner = (scan.points[:, :2] > -0.01).all(axis=1)
    assert scan.means is not None
    np.testing.assert_array_equal(part.means.counts, scan.means.counts[inner])
    np.testing.assert_allclose(part.frame.from_unit(part.points), scan.frame.from_unit(scan.points[inner]))


def test_the_indicator_function_is_the_same_in_both_frames() -> None:
    scan = flat_sheet(None)
    part = scan.part(LOW, HIGH, BLOCK)
    places = np.random.default_rng(0).uniform(-1, 1, (100, 3))
    there = part.indicator(torch.as_tensor(BLOCK.to_unit(places), dtype=torch.float32))
    torch.testing.assert_close(there, scan.indicator(torch.as_tensor(places, dtype=torch.float32)))


def test_that_of_an_open_sheet_is_finer_in_a_part() -> None:
    scan = flat_sheet(np.array([0.0, 0.0, 1.0]))
    part = scan.part(LOW, HIGH, BLOCK)
    assert part.indicator.cell * BLOCK.scale < scan.indicator.cell
    values = part.indicator(torch.tensor([[0.0, 0.0, -0.5], [0.0, 0.0, 0.0], [0.0, 0.0, 0.5]]))
    torch.testing.assert_close(values, torch.tensor([1.0, 0.5, 0.0]), atol=1e-5, rtol=0)
