from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from art_levelset.recon import read_cloud
from art_levelset.recon.cloud.clouds import Points

from .forms import COLOURS, POINTS

FAR = np.array([5e6, 4e5, 100.0])


def columns(points: Points, colours: Any = None) -> dict[str, Any]:
    found = {f"cartesian{axis}": points[:, i].copy() for i, axis in enumerate("XYZ")}
    if colours is not None:
        found |= {f"color{name}": colours[:, i].copy() for i, name in enumerate(("Red", "Green", "Blue"))}
    return found


def written(path: Path, *scans: dict[str, Any], **pose: Any) -> Path:
    pye57 = pytest.importorskip("pye57")
    file = pye57.E57(str(path), mode="w")
    for scan in scans:
        file.write_scan_raw(scan, **pose)
    file.close()
    return path


def test_scans_come_where_they_belong(tmp_path: Path) -> None:
    """Turned by a quarter about z, then moved; the numbers of both scans far from the origin."""
    own = np.stack([POINTS[:, 1], -POINTS[:, 0], POINTS[:, 2]], axis=1).astype(np.float32)  # as pye57 writes them
    half = np.sqrt(0.5)
    pose = {"rotation": np.array([half, 0, 0, half]), "translation": FAR}
    path = written(tmp_path / "a.e57", columns(own[:20], COLOURS[:20]), columns(own[20:], COLOURS[20:]), **pose)
    found = read_cloud(path)
    turned = np.stack([-own[:, 1], own[:, 0], own[:, 2]], axis=1).astype(np.float64)
    np.testing.assert_allclose(found.points, turned + FAR, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(found.colours, COLOURS)
    np.testing.assert_array_equal(found.sensors, np.tile(FAR, (40, 1)))


def test_invalid_points_are_left_out(tmp_path: Path) -> None:
    scan = columns(POINTS)
    scan["cartesianInvalidState"] = np.where(np.arange(40) < 7, 1, 0).astype(np.int8)
    np.testing.assert_allclose(read_cloud(written(tmp_path / "a.e57", scan)).points, POINTS[7:], atol=1e-3)


def test_colours_that_not_all_scans_have(tmp_path: Path) -> None:
    found = read_cloud(written(tmp_path / "a.e57", columns(POINTS[:20], COLOURS[:20]), columns(POINTS[20:])))
    assert len(found.points) == 40
    assert found.colours is None


def test_damaged_files(tmp_path: Path) -> None:
    pytest.importorskip("pye57")
    good = written(tmp_path / "a.e57", columns(POINTS)).read_bytes()
    changed = good.replace(b'recordCount="40"', b'recordCount="99"')
    assert changed != good
    for contents in (b"", b"garbage" * 200, good[: len(good) // 2], changed):
        (tmp_path / "b.e57").write_bytes(contents)
        with pytest.raises(ValueError, match=r"b\.e57: cannot be read as \.e57"):
            read_cloud(tmp_path / "b.e57")


def test_the_library_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pye57", None)
    (tmp_path / "a.e57").write_bytes(b"")
    with pytest.raises(ImportError, match=r"a\.e57: \.e57 files need pye57: pip install 'art-levelset\[e57\]'"):
        read_cloud(tmp_path / "a.e57")
