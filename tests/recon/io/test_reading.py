from __future__ import annotations

import logging
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from art_levelset.recon import demo_scan_path, read_cloud, read_points
from art_levelset.recon.cloud.clouds import Points, check_cloud

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
    "cloud.csv": lambda path, points: path.write_text(text(points, ",")),
    "names.csv": lambda path, points: path.write_text(
        'id,"X",Y,Z\n' + "".join(f"a,{row}" for row in rows(points, ","))
    ),
    "comment.csv": lambda path, points: path.write_text("//X;Y;Z\n" + text(points, ";")),
    "tabs.csv": lambda path, points: path.write_text("z\ty\tx\r\n" + text(points[:, ::-1], "\t")),
    "decimal_commas.csv": lambda path, points: path.write_text("x;y;z\n" + text(points, ";").replace(".", ",")),
    "excel.csv": lambda path, points: path.write_text("\ufeffx,y,z\n" + text(points, ","), encoding="utf-8"),
    "cloud.off": lambda path, points: write_stl(path, points),
    "cloud.stl": write_stl,
}


def rows(points: Points, separator: str = " ") -> list[str]:
    return text(points, separator).splitlines(keepends=True)


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
        ("a.ply", b"not a ply", r"a\.ply: cannot be read as \.ply: it does not begin with 'ply'"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement face 0\nend_header\n", "it has no vertices"),
        (
            "a.ply",
            b"ply\nformat ascii 1.0\nelement vertex 0\nproperty int x\nend_header\n",
            "no columns are called x, y and z, but x",
        ),
        ("a.ply", b"ply\nformat binary 1.0\n", "its header has the line"),
        (
            "a.ply",
            b"ply\nformat ascii 1.0\nelement a 2\nproperty list int int b\nelement vertex 1\nproperty float x\n"
            b"property float y\nproperty float z\nend_header\n1 5\n",
            "it ends in the element 'a', before its vertices",
        ),
        ("a.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nproperty float x\n", r"a\.ply: "),
        ("a.stl", b"short", r"a\.stl: cannot be read as \.stl"),
        ("a.npy", b"nothing", r"a\.npy: cannot be read as \.npy"),
        ("a.npz", b"nothing", r"a\.npz: cannot be read as \.npz"),
        ("a.xyz", b"1 2 x\n", r"a\.xyz: cannot be read as \.xyz: none of its first 1 lines has three numbers: '1 2 x'"),
        ("a.xyz", b"1 2 3\n4 5\n", r"a\.xyz: cannot be read as \.xyz"),
        ("a.xyz", b"1 2\n3 4\n", r"a\.xyz: cannot be read as \.xyz: none of its first 2 lines has three numbers"),
        ("a.xyz", b"\xff\xfe\x00", r"a\.xyz: cannot be read as \.xyz"),
        ("a.xyz", b"# nothing\n", r"a\.xyz: cannot be read as \.xyz: it has no points"),
        ("a.obj", b"", r"a\.obj: cannot be read as \.obj: it has no points"),
        ("a.csv", b"lon,lat,height\n1,2,3\n", "no columns are called x, y and z, but lon, lat, height"),
        ("a.csv", b"x,y,z\n1,2,3\n4,5\n", r"cannot be read as \.csv: the row '4,5' has no number in column 3"),
        ("a.csv", b"x,y,z\n", "none of its first 1 lines has three numbers: 'x,y,z'"),
        (
            "a.fls",
            b"",
            r"unsupported suffix '\.fls', use one of \.asc \.conf \.csv \.e57 \.las \.laz \.npy \.npz \.obj ",
        ),
        ("a", b"", "unsupported suffix ''"),
    ],
)
def test_corrupt_files(name: str, contents: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(ValueError, match=message):
        read_points(tmp_path / name)


NORMALS: Points = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)
COLOURS = np.random.default_rng(1).integers(0, 256, (40, 3), dtype=np.uint8)


def table(*columns: Points, separator: str = " ") -> str:
    return "".join(separator.join(f"{number:.9g}" for number in row) + "\n" for row in np.concatenate(columns, axis=1))


def write_ply(path: Path, form: str, colours: str = "uchar") -> None:
    """Vertices with something before and after them, and between their properties."""
    order = ">" if form == "binary_big_endian" else "<"
    code, scale = {"uchar": ("u1", 1), "ushort": ("u2", 257), "float": ("f4", 1 / 255)}[colours]
    kinds = [*((axis, order + "f8") for axis in "xyz"), ("quality", order + "f4")]
    kinds += [(f"n{axis}", order + "f4") for axis in "xyz"]
    kinds += [(name, order + code) for name in ("red", "green", "blue")]
    records = np.zeros(len(POINTS), dtype=kinds)
    for i, name in enumerate(name for name, _ in kinds if name != "quality"):
        records[name] = np.concatenate([POINTS, NORMALS, COLOURS * np.float64(scale)], axis=1)[:, i]
    names = {"f8": "double", "f4": "float", "u1": "uchar", "u2": "ushort"}
    header = f"ply\nformat {form} 1.0\ncomment made for a test\nelement camera 2\nproperty short id\n"
    header += f"element vertex {len(POINTS)}\n" + "".join(f"property {names[k[1:]]} {name}\n" for name, k in kinds)
    header += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    if form == "ascii":
        rows = "".join(" ".join(repr(number.item()) for number in row) + "\n" for row in records)
        path.write_text(f"{header}7\n8\n{rows}3 0 1 2\n")
    else:
        path.write_bytes(header.encode() + struct.pack(order + "hh", 7, 8) + records.tobytes() + b"\3" + bytes(12))


COLOURED: dict[str, Callable[[Path], object]] = {
    "binary.ply": lambda path: write_ply(path, "binary_little_endian"),
    "big.ply": lambda path: write_ply(path, "binary_big_endian"),
    "text.ply": lambda path: write_ply(path, "ascii"),
    "float.ply": lambda path: write_ply(path, "binary_little_endian", "float"),
    "short.ply": lambda path: write_ply(path, "binary_big_endian", "ushort"),
    "cloud.xyz": lambda path: path.write_text(table(POINTS, COLOURS, NORMALS)),
    "leica.pts": lambda path: path.write_text("40\n" + table(POINTS, NORMALS[:, :1], NORMALS, COLOURS)),
    "cloud.csv": lambda path: path.write_text(
        "B,G,R,nx,ny,nz,x,y,z\n" + table(COLOURS[:, ::-1], NORMALS, POINTS, separator=",")
    ),
    "cloud.obj": lambda path: path.write_text(
        "".join("v " + row for row in table(POINTS, COLOURS / 255).splitlines(keepends=True))
        + "".join("vn " + row for row in table(NORMALS).splitlines(keepends=True))
    ),
    "faces.obj": lambda path: path.write_text(
        "".join("v " + row for row in table(POINTS, COLOURS / 255).splitlines(keepends=True))
        + "".join("vn " + row for row in table(NORMALS[::-1]).splitlines(keepends=True))
        + "".join(f"f {i}//{41 - i} {i + 1}/1/{40 - i} -1//-40\n" for i in range(1, 40))
    ),
    "opacity.xyz": lambda path: path.write_text(table(POINTS, NORMALS, COLOURS, 0 * COLOURS[:, :1] + 255)),
    "intensity.pts": lambda path: path.write_text("40\n" + table(POINTS, COLOURS[:, :1], COLOURS, NORMALS)),
    "scalar.asc": lambda path: path.write_text(table(POINTS, COLOURS, NORMALS, NORMALS[:, :1] / 2)),
    "cloud.npz": lambda path: np.savez(path, points=POINTS, normals=NORMALS, colours=COLOURS),
}


@pytest.mark.parametrize("name", COLOURED)
@pytest.mark.parametrize("piece", [7, 1 << 17])
def test_normals_and_colours(name: str, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ply", "tables", "obj"):
        monkeypatch.setattr(f"art_levelset.recon.io.{module}.BATCH", piece)
    COLOURED[name](tmp_path / name)
    cloud = read_cloud(tmp_path / name)
    assert cloud.normals is not None
    np.testing.assert_allclose(cloud.points, POINTS, rtol=1e-7)
    np.testing.assert_allclose(cloud.normals, NORMALS, atol=1e-6)
    np.testing.assert_array_equal(cloud.colours, COLOURS)
    assert cloud.colours is not None
    assert cloud.colours.dtype == np.uint8


def test_an_intensity_written_as_a_fraction_is_no_colour(tmp_path: Path) -> None:
    """As CloudCompare writes colours and a scalar without a header."""
    scalars = [f" {number:.6f}" for number in COLOURS[::-1, 0]]
    rows = zip(table(POINTS, COLOURS).splitlines(), scalars, strict=True)
    (tmp_path / "a.txt").write_text("".join(row + scalar + "\n" for row, scalar in rows))
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.txt").colours, COLOURS)


def test_colours_that_are_not_clear_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text(table(POINTS, COLOURS, COLOURS[::-1, :1]))
    assert read_cloud(tmp_path / "a.txt").colours is None
    assert "colours are left out, for columns 4 to 6 or 5 to 7 could be them: name the columns" in caplog.text
    (tmp_path / "b.txt").write_text("x y z r g b intensity\n" + table(POINTS, COLOURS, COLOURS[::-1, :1]))
    np.testing.assert_array_equal(read_cloud(tmp_path / "b.txt").colours, COLOURS)


def test_the_normals_of_faces(tmp_path: Path) -> None:
    """Each corner has its own: a vertex gets their mean, and one without a face none."""
    corners = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 5 5 5\n"
    (tmp_path / "a.obj").write_text(corners + "vn 0 0 1\nvn 1 0 0\nf 1//1 2//1 3//1\nf 1//2 3//1 2//2\n")
    half = np.sqrt(0.5)
    np.testing.assert_allclose(
        read_cloud(tmp_path / "a.obj").normals, [[half, 0, half], [half, 0, half], [0, 0, 1], [0, 0, 0]]
    )
    (tmp_path / "b.obj").write_text(corners + "vn 0 0 1\nf 1//1 2//1 9//1\n")
    with pytest.raises(ValueError, match="faces name vertices or normals that are not there"):
        read_cloud(tmp_path / "b.obj")


def test_what_is_neither_normals_nor_colours_is_neither(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text(table(POINTS, 2 * NORMALS))
    (tmp_path / "b.xyz").write_text(table(POINTS, COLOURS[:, :2]))
    np.savez(tmp_path / "c.npz", points=POINTS, normals=0 * NORMALS, colours=0 * COLOURS)
    for name in ("a.xyz", "b.xyz", "c.npz"):
        cloud = read_cloud(tmp_path / name)
        assert len(cloud.points) == 40
        assert cloud.normals is None
        assert cloud.colours is None


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
def test_of_a_file_that_was_cut_off_the_rest_is_read(
    form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_ply(tmp_path / "a.ply", form)
    whole = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "a.ply").write_bytes(whole[: int(0.7 * len(whole))])
    cloud = read_cloud(tmp_path / "a.ply")
    assert 20 < len(cloud.points) < 40
    np.testing.assert_allclose(cloud.points, POINTS[: len(cloud.points)], rtol=1e-7)
    assert f"a.ply: it ends after {len(cloud.points)} of 40 points, which are used" in caplog.text


def test_means_of_many_points(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    many = np.random.default_rng(0).random((10_000, 3)).astype(np.float32)
    colours = np.full((10_000, 3), [1, 2, 250], np.uint8)
    np.savez(tmp_path / "a.npz", points=many, colours=colours, sensors=many + np.float32(1))
    np.save(tmp_path / "a.npy", many)
    caplog.set_level(logging.WARNING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("art_levelset.recon.io.arrays.BATCH", 97)
        found = read_cloud(tmp_path / "a.npy", most=100)
    assert found.counts is not None
    assert 30 < len(found.points) == len(found.counts) <= 100
    assert f"a.npy: its 10,000 points are used as their means in the {len(found.points)} cells of a grid" in caplog.text
    assert found.number == 10_000
    np.testing.assert_allclose(found.counts @ found.points, many.astype(np.float64).sum(axis=0), rtol=1e-9)
    whole = read_cloud(tmp_path / "a.npz", most=100)
    np.testing.assert_array_equal(whole.colours, colours[: len(whole.points)])
    assert whole.sensors is not None
    assert np.abs(whole.sensors - 1 - whole.points).max() < 0.5
    caplog.clear()
    for most in (10_000, 1_000_000):
        cloud = read_cloud(tmp_path / "a.npy", most=most)
        np.testing.assert_array_equal(cloud.points, many)
        assert (cloud.counts, cloud.number) == (None, 10_000)
    assert not caplog.text
    with pytest.raises(ValueError, match="most must be an integer >= 8, got 7"):
        read_cloud(tmp_path / "a.npy", most=7)


@pytest.mark.parametrize(("zeros", "number"), [(1, 10_001), (2, 10_000)])
def test_zeros_are_in_no_mean(zeros: int, number: int, tmp_path: Path) -> None:
    """But a single one may be a point."""
    many = 5 + np.random.default_rng(0).random((10_000, 3))
    np.save(tmp_path / "a.npy", np.vstack([many[:50], np.zeros((zeros, 3)), many[50:]]))
    found = read_cloud(tmp_path / "a.npy", most=200)
    assert found.counts is not None
    assert (found.number, found.left_out.zeros) == (number, 0 if zeros == 1 else 2)
    assert found.counts[~found.points.any(axis=1)].tolist() == [1] * (zeros == 1)


def test_a_point_at_the_origin_stays_in_its_place(tmp_path: Path) -> None:
    points = np.insert(POINTS, 7, 0, axis=0)
    np.save(tmp_path / "a.npy", points)
    np.testing.assert_array_equal(read_points(tmp_path / "a.npy"), points)
    np.save(tmp_path / "b.npy", np.zeros((1, 3)))
    np.testing.assert_array_equal(read_points(tmp_path / "b.npy"), [[0, 0, 0]])


@pytest.mark.parametrize("suffix", [".las", ".laz"])
@pytest.mark.parametrize("scale", [1, 257], ids=["8 bits", "16 bits"])
def test_laser_scans(suffix: str, scale: int, tmp_path: Path) -> None:
    laspy = pytest.importorskip("laspy")
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.offsets, header.scales = [5e5, 4e6, 0], [0.001] * 3
    scan = laspy.LasData(header)
    scan.x, scan.y, scan.z = (POINTS + header.offsets).T
    scan.red, scan.green, scan.blue = COLOURS.T.astype(np.uint16) * scale
    path = tmp_path / f"scan{suffix}"
    scan.write(path)
    cloud = read_cloud(path)
    np.testing.assert_allclose(cloud.points, POINTS + header.offsets, rtol=0, atol=0.0006)
    np.testing.assert_array_equal(cloud.colours, COLOURS)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read as .la"):
        read_cloud(path)


def test_laser_scans_need_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "laspy", None)
    (tmp_path / "a.las").touch()
    with pytest.raises(ImportError, match=r"a\.las: .* need laspy: pip install 'art-levelset\[las\]'"):
        read_cloud(tmp_path / "a.las")


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


def test_the_demo_scan_is_raw_and_small() -> None:
    path = demo_scan_path()
    assert path.stat().st_size < 300_000
    assert b"nx" not in path.read_bytes()[:300]
    assert check_cloud(read_points(path)).shape == (12_000, 3)
