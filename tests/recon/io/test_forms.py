"""What is left out of a cloud and counted, laser scans, and what messages look like."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import numpy as np
import pytest

from art_levelset.recon import read_cloud

from .forms import COLOURS, NORMALS, POINTS, Write, lines, rows


def test_what_is_no_point_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("art_levelset.recon.io.arrays.BATCH", 7)
    seen = np.insert(POINTS, [0, 5, 9, 9, 20], [[0, 0, 0]] * 2 + [[np.nan, 1, 2]] * 2 + [[-0.0, 0, 0]], axis=0)
    seen = np.vstack([seen, [[np.inf, 0, 0]]])
    np.save(tmp_path / "a.npy", seen)
    np.savetxt(tmp_path / "a.xyz", seen)
    for name in ("a.npy", "a.xyz"):
        caplog.clear()
        np.testing.assert_allclose(read_cloud(tmp_path / name).points, POINTS)
        assert f"{name}: left out points: 3 with NaN or infinite coordinates and 3 at exactly (0, 0, 0)" in caplog.text
    for number, message in ((np.nan, "it has no points, but 40 with NaN"), (0, "it has no points, but 40 at exactly")):
        np.save(tmp_path / "b.npy", np.full((40, 3), number))
        with pytest.raises(ValueError, match=message):
            read_cloud(tmp_path / "b.npy")


def test_missing_numbers_of_a_table(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    text = "x,y,z\n,,\n" + lines(POINTS, separator=",") + "1.5,,2\nNaN,NaN,NaN\n-nan(ind),1.#QNAN,1\nnull,N/A,-\n"
    np.testing.assert_allclose(read_cloud(write("a.csv", text)).points, POINTS)
    assert "left out points: 5 with NaN" in caplog.text


def test_one_point_at_the_origin_is_a_point(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    np.save(tmp_path / "a.npy", np.insert(POINTS, 7, 0, axis=0))
    assert len(read_cloud(tmp_path / "a.npy").points) == 41
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 0 0 0\n" + "".join(f"v {row}\n" for row in rows(POINTS)))
    assert len(read_cloud(tmp_path / "a.obj").points) == 42  # corners of triangles, and no depth camera's
    assert not caplog.text


def test_a_normal_that_is_missing(write: Write) -> None:
    normals = NORMALS.copy()
    normals[3], normals[17] = 0, np.nan
    for name, colours in (("a.xyz", []), ("b.txt", [COLOURS])):
        cloud = read_cloud(write(name, lines(POINTS, normals, *colours)))
        np.testing.assert_allclose(cloud.normals, normals, atol=1e-8)
        assert (cloud.colours is not None) == bool(colours)


def test_noise_of_laser_scans(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    laspy = pytest.importorskip("laspy")
    for version, form in (("1.2", 3), ("1.4", 6)):
        header = laspy.LasHeader(point_format=form, version=version)
        header.scales = [0.001] * 3
        scan = laspy.LasData(header)
        scan.x, scan.y, scan.z = np.vstack([POINTS, POINTS[:9] + 500]).T
        classes = np.full(49, 2, dtype=np.uint8)
        classes[40:43], classes[43:46] = 7, 18
        scan.classification = classes
        scan.withheld = np.arange(49) >= 46
        caplog.clear()
        scan.write(tmp_path / "a.laz")
        np.testing.assert_allclose(read_cloud(tmp_path / "a.laz").points, POINTS, atol=0.0006)
        assert "a.laz: left out 9 of 49 points, of the noise classes 7 and 18 or withheld" in caplog.text
        scan.classification = np.full(49, 7, dtype=np.uint8)
        scan.write(tmp_path / "b.las")
        with pytest.raises(ValueError, match="all of its 49 points are of the noise classes 7 and 18, or withheld"):
            read_cloud(tmp_path / "b.las")


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, b"LAS ", "it has no LAS header"),
        (96, struct.pack("<I", 2**32 - 1), "records before byte 4,294,967,295"),
        (100, struct.pack("<I", 2**32 - 1), "promises 4,294,967,295 records"),
        (247, struct.pack("<Q", 2**40), "promises 1,099,511,627,776 points, .* cannot hold them"),
    ],
)
def test_headers_of_laser_scans_that_promise_too_much(offset: int, value: bytes, message: str, tmp_path: Path) -> None:
    laspy = pytest.importorskip("laspy")
    scan = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
    scan.x, scan.y, scan.z = POINTS.T
    scan.write(tmp_path / "a.las")
    data = bytearray((tmp_path / "a.las").read_bytes())
    data[offset : offset + len(value)] = value
    (tmp_path / "a.las").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_cloud(tmp_path / "a.las")


def test_compressed_laser_scans_with_absurd_chunks(tmp_path: Path) -> None:
    laspy = pytest.importorskip("laspy")
    scan = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
    scan.x, scan.y, scan.z = POINTS.T
    scan.write(tmp_path / "a.laz")
    data = bytearray((tmp_path / "a.laz").read_bytes())
    begin = struct.unpack_from("<I", data, 96)[0]
    table = struct.unpack_from("<q", data, begin)[0]
    for place, value, message in (
        (table + 4, struct.pack("<I", 2**32 - 1), "promises 4,294,967,295 compressed chunks"),
        (begin, struct.pack("<q", 2**40), "its table of compressed chunks is not in the file"),
    ):
        data[place : place + len(value)] = value
        (tmp_path / "a.laz").write_bytes(data)
        with pytest.raises(ValueError, match=message):
            read_cloud(tmp_path / "a.laz")


def test_meshes_in_latin_1(write: Write) -> None:
    text = "OFF\n# größe\n40 1 0\n" + lines(POINTS) + "3 0 1 2\n"
    np.testing.assert_allclose(read_cloud(write("a.off", text.encode("latin-1"))).points, POINTS)


def test_messages_are_short_and_printable(write: Write) -> None:
    for name, contents in (
        ("a.stl", b"solid \xff\x01" + bytes(range(256)) * 9),
        ("a.ply", b"ply\nformat\x07\xff\n" * 99),
    ):
        with pytest.raises(ValueError, match="cannot be read as") as caught:
            read_cloud(write(name, contents))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 700
