from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from art_levelset.recon import read_cloud
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.io.poses import Pose, conf_in, read_poses

from .forms import COLOURS, POINTS, lines

HALF = 0.7071067811865476


def folder_of(path: Path, *, conf: str = "a.conf") -> Path:
    """Two scans of one cloud: the second one turned by a quarter about z, and moved."""
    (path / "one.xyz").write_text(lines(POINTS[:20]))
    own = np.stack([-POINTS[20:, 1] + 2, POINTS[20:, 0] - 1, POINTS[20:, 2] - 3], axis=1)  # R (x - t)
    (path / "the other.xyz.gz").write_bytes(gzip.compress(lines(own, form="%.17g").encode()))
    (path / conf).write_text(
        "# a comment\ncamera 0 0 0 0 0 0 1\n\nbmesh one.xyz 0 0 0 0 0 0 1\n"
        f"bmesh the other.xyz.gz 1 2 3 0 0 {HALF} {HALF}\n"
    )
    return path


def test_scans_come_where_they_belong(tmp_path: Path) -> None:
    for path in (folder_of(tmp_path), tmp_path / "a.conf"):
        np.testing.assert_allclose(read_cloud(path).points, POINTS, rtol=1e-7, atol=1e-6)


def test_sensors_move_with_their_scan() -> None:
    pose = Pose("", Rotation.from_rotvec([0.0, 0.0, -np.pi / 2]).as_matrix(), np.array([1.0, 2.0, 3.0]))
    up = np.tile([0.0, 0.0, 5.0], (40, 1))
    moved = pose.applied({"points": POINTS, "sensors": POINTS + up})
    np.testing.assert_allclose(moved["sensors"] - moved["points"], up, atol=1e-9)


def test_the_second_scan_of_the_bunny() -> None:
    """The farthest right of its points, as the scanner saw it and as the aligned scans have it."""
    quaternion = np.array([0.00548449, -0.294635, -0.0038555, 0.955586])
    pose = Pose("", Rotation.from_quat(quaternion).as_matrix(), np.array([-0.0520211, -0.000383981, -0.0109223]))
    moved = pose.applied({"points": np.array([[0.1, 0.0, 0.0]])})["points"][0] - pose.translation
    x, y, z, w = quaternion / np.linalg.norm(quaternion)
    first_row = np.array([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)])  # of R(q)
    np.testing.assert_allclose(moved, 0.1 * first_row, atol=1e-12)


coordinates = st.floats(-10, 10)


@given(
    st.tuples(*[coordinates] * 3),
    st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
    st.tuples(*[coordinates] * 3),
)
def test_poses_keep_distances_and_normals_turn_with_the_points(
    translation: tuple[float, ...], quaternion: tuple[float, ...], normal: tuple[float, ...]
) -> None:
    pose = Pose("", Rotation.from_quat(quaternion).as_matrix(), np.array(translation))
    points: Points = np.array([[0.0, 0, 0], [1, 2, 3], normal])
    moved = pose.applied({"points": points, "normals": points, "colours": points})
    lengths = np.linalg.norm(moved["points"] - moved["points"][0], axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(points, axis=1), atol=1e-9)
    np.testing.assert_allclose(moved["points"] - moved["points"][0], moved["normals"], atol=1e-9)
    assert moved["colours"] is points


def test_what_all_scans_have_is_kept(tmp_path: Path) -> None:
    (tmp_path / "one.xyzrgb").write_text(lines(POINTS[:20], COLOURS[:20]))
    (tmp_path / "two.xyz").write_text(lines(POINTS[20:]))
    (tmp_path / "a.conf").write_text("mesh one.xyzrgb 0 0 0 0 0 0 1\nmesh two.xyz 0 0 0 0 0 0 1\n")
    assert read_cloud(tmp_path).colours is None
    (tmp_path / "a.conf").write_text("mesh one.xyzrgb 0 0 0 0 0 0 1\n")
    np.testing.assert_array_equal(read_cloud(tmp_path).colours, COLOURS[:20])


def test_zeros_are_those_of_each_camera(tmp_path: Path) -> None:
    """Before they are moved."""
    for name, points in (("one", POINTS[:20]), ("two", POINTS[20:])):
        (tmp_path / f"{name}.xyz").write_text(lines(np.vstack([np.zeros((5, 3)), points, [[np.nan, 0, 0]]])))
    (tmp_path / "a.conf").write_text("bmesh one.xyz 0 0 0 0 0 0 1\nbmesh two.xyz 0 0 9 0 0 0 1\n")
    found = read_cloud(tmp_path)
    assert (len(found.points), found.left_out.zeros, found.left_out.invalid) == (40, 10, 2)


def test_points_of_all_scans_are_in_the_same_cells(tmp_path: Path) -> None:
    """And none is left out."""
    for name, points in (("one", POINTS[:20]), ("two", POINTS[20:] - [0, 0, 9])):
        (tmp_path / f"{name}.xyz").write_text(lines(np.vstack([np.zeros((2, 3)), points])))
    (tmp_path / "a.conf").write_text("bmesh one.xyz 0 0 0 0 0 0 1\nbmesh two.xyz 0 0 9 0 0 0 1\n")
    some = read_cloud(tmp_path, most=30)
    assert some.counts is not None
    assert 10 < len(some.points) <= 30
    assert (some.number, some.left_out.zeros) == (40, 4)
    np.testing.assert_allclose(some.counts @ some.points, POINTS.sum(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ("camera 0 0 0 0 0 0 1\n", "it has no line of a scan: bmesh FILE x y z qx qy qz qw"),
        ("bmesh one.xyz 0 0 0 0 0 1\n", "the line 'bmesh one.xyz 0 0 0 0 0 1' must be bmesh FILE"),
        ("bmesh one.xyz 0 0 0 0 0 0 0\n", "with a unit quaternion"),
        ("bmesh one.xyz 0 0 nan 0 0 0 1\n", "must be bmesh FILE"),
        ("bmesh ../one.xyz 0 0 0 0 0 0 1\n", "names a file that is not beside it"),
        ("bmesh /etc/passwd 0 0 0 0 0 0 1\n", "names a file that is not beside it"),
        ("bmesh a.conf 0 0 0 0 0 0 1\n", "'a.conf' has an unsupported suffix"),
        ("bmesh none.xyz 0 0 0 0 0 0 1\n", "'none.xyz': .*No such file"),
        ("bmesh bad.xyz 0 0 0 0 0 0 1\n", r"a\.conf: cannot be read as \.conf: 'bad\.xyz': none of its first"),
        ("bmesh one.xyz 0 0 0 0 0 0 1\n" * 10_001, "it has more than 10,000 scans"),
    ],
)
def test_bad_files(conf: str, message: str, tmp_path: Path) -> None:
    folder_of(tmp_path)
    (tmp_path / "bad.xyz").write_text("nothing\n")
    (tmp_path / "a.conf").write_text(conf)
    with pytest.raises(ValueError, match=message):
        read_cloud(tmp_path / "a.conf")


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"is a folder with 0 \.conf files"):
        read_cloud(tmp_path)
    folder_of(tmp_path)
    assert conf_in(tmp_path) == tmp_path / "a.conf"
    assert [pose.file for pose in read_poses(tmp_path / "a.conf")] == ["one.xyz", "the other.xyz.gz"]
    folder_of(tmp_path, conf="b.conf")
    with pytest.raises(IsADirectoryError, match=r"is a folder with 2 \.conf files"):
        conf_in(tmp_path)
