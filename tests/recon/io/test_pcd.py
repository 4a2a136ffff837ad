"""PCD files, in all their encodings."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from art_levelset.recon import read_cloud
from art_levelset.recon.io.pcd import decompress_lzf

from .forms import COLOURS, NORMALS, POINTS, SINGLE, Write, lines, packed_colours, pcd


def literal_lzf(data: bytes) -> bytes:
    """LZF without any references: runs of at most 32 bytes."""
    pieces = [data[start : start + 32] for start in range(0, len(data), 32)]
    return b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)


def compressed(columns: NDArray[np.float32]) -> bytes:
    data = np.ascontiguousarray(columns.T).tobytes()
    packed = literal_lzf(data)
    return struct.pack("<II", len(packed), len(data)) + packed


ALL = np.hstack([SINGLE, NORMALS.astype(np.float32), packed_colours()])
FIELDS = "x y z normal_x normal_y normal_z rgb"
COLOURS_AS_NUMBERS = np.hstack([ALL[:, :6].astype(np.float64), ALL[:, 6:].view(np.uint32)])
PCD: dict[str, bytes] = {
    "text": pcd("ascii", fields=FIELDS, body=lines(COLOURS_AS_NUMBERS, form="%.12g").encode()).replace(
        b"TYPE F F F F F F F", b"TYPE F F F F F F U"
    ),
    "bytes": pcd("binary", fields=FIELDS, body=ALL.tobytes()),
    "compressed": pcd("binary_compressed", fields=FIELDS, body=compressed(ALL)),
    "padded": pcd(
        "binary",
        fields="x y z _ _ normal_x normal_y normal_z rgb",
        body=np.hstack([SINGLE, SINGLE[:, :2], ALL[:, 3:]]).tobytes(),
    ),
    "counted": pcd(
        "binary",
        fields="fpfh x y z normal_x normal_y normal_z rgb",
        extra="COUNT 5 1 1 1 1 1 1 1\n",
        body=np.hstack([np.zeros((40, 5), np.float32), ALL]).tobytes(),
    ),
}


@pytest.mark.parametrize("name", PCD)
@pytest.mark.parametrize("piece", [7, 1 << 17])
def test_pcd(name: str, piece: int, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pcd", "ply"):
        monkeypatch.setattr(f"art_levelset.recon.io.{module}.BATCH", piece)
    cloud = read_cloud(write("a.pcd", PCD[name]))
    np.testing.assert_allclose(cloud.points, SINGLE, rtol=1e-7)
    assert cloud.normals is not None
    np.testing.assert_allclose(cloud.normals, NORMALS, atol=1e-6)
    np.testing.assert_array_equal(cloud.colours, COLOURS)


def test_pcd_of_few_words(write: Write) -> None:
    header = b"COLUMNS X Y Z\nWIDTH 8\nHEIGHT 5\nDATA ascii\n"
    np.testing.assert_allclose(read_cloud(write("a.pcd", header + lines(SINGLE).encode())).points, SINGLE, rtol=1e-6)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "it has no header"),
        (b"VERSION 0.7\n", "its header does not end"),
        (pcd("ascii", extra="COUNT 1 1\n"), "3 FIELDS, 3 SIZE, 3 TYPE, 2 COUNT"),
        (pcd("ascii").replace(b"SIZE 4", b"SIZE 3"), "its header has the TYPE 'F' of SIZE '3'"),
        (pcd("ascii", extra="COUNT 1 1 99999999\n"), "its points have 100,000,001 numbers each"),
        (pcd("ascii").replace(b"POINTS 40", b"POINTS -4"), "its header has the POINTS '-4'"),
        (pcd("zipped"), "its header has the DATA 'zipped'"),
        (pcd("ascii", fields="a b c"), "no columns are called x, y and z, but a, b, c"),
        (pcd("binary_compressed", body=b"1234"), "it ends before its compressed points"),
        (pcd("binary_compressed", body=struct.pack("<II", 9, 4)), "480 bytes, but 4 are compressed"),
        (
            pcd("binary_compressed", body=struct.pack("<II", 99, 480) + bytes(9)),
            "ends after 9 of 99 compressed",
        ),
        (pcd("binary_compressed", body=struct.pack("<II", 2, 480) + bytes(2)), "2 bytes cannot be 480 compressed ones"),
        (pcd("binary_compressed", body=struct.pack("<II", 99, 480) + b"\xff" * 99), "compressed points are damaged"),
        (
            pcd("binary_compressed", count=10**8, body=struct.pack("<II", 9, 12 * 10**8) + bytes(9)),
            "its points take 1,200,000,000 bytes: save them as binary",
        ),
    ],
)
def test_damaged_pcd(contents: bytes, message: str, write: Write) -> None:
    with pytest.raises(ValueError, match=message):
        read_cloud(write("a.pcd", contents))


def test_lzf() -> None:
    run = bytes([0]) + b"a" + bytes([0xE0, 10, 0])  # one letter, and 7 + 10 + 2 more of it
    assert decompress_lzf(run, 20) == b"a" * 20
    assert decompress_lzf(bytes([3]) + b"abcd" + bytes([0x20, 3]), 7) == b"abcdabc"
    for damaged in (bytes([0x20, 3]), bytes([3]) + b"ab", bytes([0xE0]), run + run):
        with pytest.raises(ValueError, match="its compressed points are damaged"):
            decompress_lzf(damaged, 20)


def test_the_viewpoint(write: Write) -> None:
    plain = pcd("ascii").decode()
    found = read_cloud(write("a.pcd", plain.replace("VIEWPOINT 0 0 0", "VIEWPOINT 1.5 -2 3e2").encode()))
    np.testing.assert_array_equal(found.sensors, np.tile([1.5, -2.0, 300.0], (len(POINTS), 1)))
    without = plain.replace("VIEWPOINT 0 0 0 1 0 0 0\n", "")
    assert "VIEWPOINT" not in without
    np.testing.assert_array_equal(read_cloud(write("b.pcd", without.encode())).sensors, np.zeros((len(POINTS), 3)))
    for bad in ("VIEWPOINT 1 2", "VIEWPOINT a b c"):
        with pytest.raises(ValueError, match="its header has the VIEWPOINT"):
            read_cloud(write("c.pcd", plain.replace("VIEWPOINT 0 0 0 1 0 0 0", bad).encode()))
