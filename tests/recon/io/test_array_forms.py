"""Clouds as NumPy's arrays, in the shapes that cameras and records have."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from art_levelset.recon import read_cloud

from .forms import COLOURS, NORMALS, POINTS, packed_colours


def test_arrays_of_cameras_and_records(tmp_path: Path) -> None:
    kinds = [("id", "i4"), ("x", "f8"), ("y", "f8"), ("z", "f8"), ("rgb", "f4"), ("normal", "f4", 3)]
    records = np.zeros(40, dtype=kinds)
    records["x"], records["y"], records["z"] = POINTS.T
    records["rgb"], records["normal"] = packed_colours()[:, 0], NORMALS
    arrays = {
        "transposed": POINTS.T,
        "of a camera": POINTS.reshape(4, 10, 3),
        "channels first": np.moveaxis(POINTS.reshape(4, 10, 3), -1, 0),
        "records": records,
        "records of a camera": records.reshape(4, 10),
        "columns": np.hstack([POINTS, NORMALS]),
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
        np.savez_compressed(tmp_path / f"{name}.npz", array)
        for suffix in (".npy", ".npz"):
            cloud = read_cloud(tmp_path / f"{name}{suffix}")
            np.testing.assert_array_equal(cloud.points, POINTS, err_msg=name)
            assert (cloud.colours is not None) == name.startswith("records")
    assert cloud.normals is None
    cloud = read_cloud(tmp_path / "records.npy")
    np.testing.assert_array_equal(cloud.colours, COLOURS)
    np.testing.assert_allclose(cloud.normals, NORMALS, atol=1e-6)


def test_archives(tmp_path: Path) -> None:
    archives: dict[str, dict[str, NDArray[np.generic]]] = {
        "xyz": {"xyz": POINTS, "rgb": COLOURS, "normals": NORMALS, "labels": np.zeros(40)},
        "camera": {"xyz": POINTS.reshape(4, 10, 3), "rgb": COLOURS.reshape(4, 10, 3), "Normals": NORMALS.T},
        "columns": {"x": POINTS[:, 0], "y": POINTS[:, 1], "z": POINTS[:, 2:], "colors": COLOURS, "normal": NORMALS},
    }
    for name, arrays in archives.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        cloud = read_cloud(tmp_path / f"{name}.npz")
        np.testing.assert_array_equal(cloud.points, POINTS)
        np.testing.assert_array_equal(cloud.colours, COLOURS)
        np.testing.assert_array_equal(cloud.normals, NORMALS)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (POINTS[:3], r"an array \(3, 3\) can be in its rows or columns: .*--columns 1,2,3"),
        (POINTS[:5].T, r"an array \(3, 5\) can be in its rows or columns"),
        (np.ones((6, 500)), r"an array \(6, 500\) can be in its rows or columns"),
        (np.ones((3, 20, 4)), r"an array \(3, 20, 4\) can be in its first or last axis"),
        (np.ones((48, 640)), r"an array \(48, 640\) looks like an image"),
        (np.ones((40, 2)), r"the points must have the shape \(n, 3\), got \(40, 2\)"),
        (np.ones(40), r"the points must have the shape \(n, 3\), got \(40,\)"),
        (np.ones((40, 3), dtype=complex), "it is an array of complex128, not of numbers"),
        (np.full((40, 3), "1"), "it is an array of <U1, not of numbers"),
        (np.zeros(40, dtype=[("a", "f4"), ("b", "f4"), ("c", "f4")]), "no columns are called x, y and z, but a, b, c"),
    ],
)
def test_arrays_that_are_no_points(array: NDArray[np.generic], message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", array)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(ValueError, match=message):
            read_cloud(tmp_path / name)


def test_rows_of_few_points_are_told_by_their_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", POINTS[:3])
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.npy", columns="1,2,3").points, POINTS[:3])


def test_archives_that_are_larger_than_they_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("art_levelset.untrusted.FREE", 0)
    np.savez_compressed(tmp_path / "a.npz", points=np.zeros((2_000_000, 3)))
    assert (tmp_path / "a.npz").stat().st_size < 100_000
    with pytest.raises(ValueError, match="claims to hold 48,000,128 bytes, but the file has"):
        read_cloud(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", POINTS)
    data = (tmp_path / "b.npy").read_bytes()
    longer = data.replace(b"(40, 3), }          ", b"(40000000000, 3), }"[:20].ljust(20))
    assert len(longer) == len(data)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("points.npy", longer)
    with pytest.raises(ValueError, match="claims to be an array of 960,000,000,000 bytes"):
        read_cloud(tmp_path / "b.npz")
