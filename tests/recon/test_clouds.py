from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from art_levelset.recon import demo_scan_path, read_points
from art_levelset.recon.clouds import Points, check_cloud, thin, unit_frame, without_strays

POINTS: Points = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32).astype(np.float64)


def text(points: Points, separator: str = " ") -> str:
    return "".join(separator.join(repr(float(number)) for number in point) + "\n" for point in points)


def write_ply_double(path: Path, points: Points) -> None:
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property double {axis}\n" for axis in "xyz") + "end_header\n"
    path.write_bytes(header.encode() + points.astype("<f8").tobytes())


def write_stl(path: Path, points: Points) -> None:
    faces = np.arange(len(points) // 3 * 3).reshape(-1, 3)
    trimesh.Trimesh(points, faces, process=False).export(path)


WRITERS: dict[str, Callable[[Path, Points], object]] = {
    "cloud.ply": lambda path, points: trimesh.PointCloud(points).export(path),
    "double.ply": write_ply_double,
    "cloud.obj": lambda path, points: path.write_text("# a cloud\n" + "".join(f"v {row}" for row in rows(points))),
    "cloud.xyz": lambda path, points: path.write_text("# x y z\n\n" + text(points)),
    "commas.xyz": lambda path, points: path.write_text(text(points, ", ")),
    "colours.xyz": lambda path, points: path.write_text("".join(row.replace("\n", " 9 9 9\n") for row in rows(points))),
    "cloud.pts": lambda path, points: path.write_text(f"{len(points)}\n" + text(points)),
    "bare.PTS": lambda path, points: path.write_text(text(points)),
    "cloud.npy": lambda path, points: np.save(path, points),
    "integers.npy": lambda path, points: np.save(path, np.rint(points * 100).astype(np.int32)),
    "single.npz": lambda path, points: np.savez(path, points),
    "named.npz": lambda path, points: np.savez(path, labels=np.zeros(3), points=points),
    "cloud.stl": write_stl,
}


def rows(points: Points) -> list[str]:
    return text(points).splitlines(keepends=True)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_comes_back(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, POINTS)
    expected = np.rint(POINTS * 100) if name.startswith("integers") else POINTS
    found = read_points(tmp_path / name)
    assert found.dtype == np.float64
    if name == "cloud.stl":  # has triangles of points, in any order
        found, expected = np.unique(found, axis=0), np.unique(expected[:39], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


def test_large_coordinates_keep_their_digits(tmp_path: Path) -> None:
    points = POINTS + 1e6
    for name in ("double.ply", "cloud.xyz", "cloud.npy"):
        WRITERS[name](tmp_path / name, points)
        np.testing.assert_array_equal(read_points(tmp_path / name), points)


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("a.ply", b"not a ply", r"a\.ply: cannot be read as \.ply"),
        ("a.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nproperty float x\n", r"a\.ply: "),
        ("a.stl", b"short", r"a\.stl: cannot be read as \.stl"),
        ("a.npy", b"nothing", r"a\.npy: cannot be read as \.npy"),
        ("a.npz", b"nothing", r"a\.npz: cannot be read as \.npz"),
        ("a.xyz", b"1 2 x\n", r"a\.xyz: cannot be read as \.xyz .*could not convert string to float: 'x'"),
        ("a.xyz", b"1 2 3\n4 5\n", r"a\.xyz: cannot be read as \.xyz"),
        ("a.xyz", b"1 2\n3 4\n", r"a\.xyz: the points must have the shape \(n, 3\), got \(2, 2\)"),
        ("a.xyz", b"\xff\xfe\x00", r"a\.xyz: cannot be read as \.xyz"),
        ("a.obj", b"", r"a\.obj: the points must have the shape \(n, 3\), got \(0,\)"),
        ("a.las", b"", r"a\.las: unsupported suffix '\.las', use one of \.npy \.npz \.obj \.ply \.pts \.stl \.xyz"),
        ("a", b"", "unsupported suffix ''"),
    ],
)
def test_corrupt_files(name: str, contents: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(ValueError, match=message):
        read_points(tmp_path / name)


def test_archives_must_say_which_array_is_the_cloud(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=POINTS, b=POINTS)
    with pytest.raises(ValueError, match=r"needs one array, or one called 'points', and has \['a', 'b'\]"):
        read_points(tmp_path / "a.npz")


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read as"):
        read_points(tmp_path / "a.npy")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.ply"):
        read_points(tmp_path / "missing.ply")


def test_check_cloud_drops_duplicates() -> None:
    np.testing.assert_array_equal(check_cloud(np.repeat(POINTS, 3, axis=0)), np.unique(POINTS, axis=0))


def test_unit_frame_fits_and_inverts() -> None:
    points = POINTS * [1.0, 5.0, 2.0] + [1e6, 0.0, -3e7]
    frame = unit_frame(points)
    unit = frame.to_unit(points)
    assert np.abs(unit).max() == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(unit[:, 1].min(), -1.0, atol=1e-6)
    np.testing.assert_allclose(frame.from_unit(unit), points, rtol=0, atol=1e-7)


def test_strays_are_left_out() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(8.0)] * 2, [0.0]), axis=-1).reshape(-1, 3)
    strays = np.array([[0.0, 0.0, 60.0], [90.0, 0.0, 0.0]])
    np.testing.assert_array_equal(without_strays(np.concatenate([grid, strays])), grid)
    np.testing.assert_array_equal(without_strays(grid), grid)


def test_thin_takes_the_mean_of_each_cell() -> None:
    points = np.array([[0.1, 0.1, 0.1], [0.3, 0.1, 0.1], [-0.1, 0.1, 0.1], [1.5, 0.0, 0.0]])
    np.testing.assert_allclose(thin(points, 1.0), [[-0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [1.5, 0.0, 0.0]])


def test_the_demo_scan_is_raw_and_small() -> None:
    path = demo_scan_path()
    assert path.stat().st_size < 300_000
    assert b"nx" not in path.read_bytes()[:300]
    assert check_cloud(read_points(path)).shape == (12_000, 3)
