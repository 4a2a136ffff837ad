"""PLY files as programs write them."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from art_levelset.recon import read_cloud

from .forms import COLOURS, SINGLE, Write, lines, pcd, ply, rows

XYZ = ["float x", "float y", "float z"]
BYTES = ["uchar red", "uchar green", "uchar blue"]
WITH_LISTS = ["float x", "float y", "list ushort double ids", "float z"]
FACES = "element face 3\nproperty list uchar int vertex_indices\n"
LITTLE, BIG = "binary_little_endian", "binary_big_endian"


def faces(order: str) -> bytes:
    return b"".join(struct.pack(f"{order}B{count}i", count, *range(count)) for count in (3, 4, 3))


def vertices_with_lists(order: str) -> bytes:
    return b"".join(
        struct.pack(f"{order}ffH{i % 3}df", x, y, i % 3, *range(i % 3), z) for i, (x, y, z) in enumerate(SINGLE)
    )


def with_a(kind: str) -> bytes:
    return b"".join(struct.pack(f"<fff{kind}", *point, 7) for point in SINGLE)


PLY: dict[str, bytes] = {
    "blank lines": ply("ascii", ["", *XYZ], "\n" + lines(SINGLE).replace("\n", "\n\n")).replace(b"property \n", b"\n"),
    "capitals": ply("ascii", ["float X", "float Y", "float Z"], lines(SINGLE)),
    "float colours": ply("ascii", [*XYZ, "float red", "float green", "float blue"], lines(SINGLE, COLOURS / 255)),
    "colours that are no bytes": ply(
        "ascii", [*XYZ, "uchar red", "uchar green", "uchar blue"], lines(SINGLE, COLOURS / 255)
    ),
    "bytes with decimals": ply("ascii", [*XYZ, *BYTES], lines(SINGLE, COLOURS, form="%.4f")),
    "CloudCompare's colours": ply("ascii", [*XYZ, "float Rf", "float Gf", "float Bf"], lines(SINGLE, COLOURS / 255)),
    "a name with a space": ply("ascii", [*XYZ, "float scalar field"], lines(SINGLE, SINGLE[:, :1])),
    "lists": ply(
        "ascii",
        ["list uchar int ids", *XYZ],
        "".join(f"{'2 7 8' if i % 2 else '0'} {row}\n" for i, row in enumerate(rows(SINGLE))),
    ),
    "lists in bytes": ply(
        LITTLE, ["float x", "float y", "list ushort double ids", "float z"], vertices_with_lists("<")
    ),
    "lists in big bytes": ply(
        BIG, ["float x", "float y", "list ushort double ids", "float z"], vertices_with_lists(">")
    ),
    "faces first": ply("ascii", XYZ, "3 0 1 2\n4 0 1 2 3\n3 0 1 2\n" + lines(SINGLE), before=FACES),
    "faces first in bytes": ply(LITTLE, XYZ, faces("<") + SINGLE.astype("<f4").tobytes(), before=FACES),
    "faces first in big bytes": ply(BIG, XYZ, faces(">") + SINGLE.astype(">f4").tobytes(), before=FACES),
    "int64": ply(LITTLE, [*XYZ, "int64 time"], with_a("q")),
    "uint64": ply(LITTLE, [*XYZ, "uint64 time"], with_a("Q")),
    "float16": ply(LITTLE, [*XYZ, "float16 weight"], with_a("e")),
    "CR": ply("ascii", XYZ, lines(SINGLE), end="\r"),
    "CR in bytes": ply(LITTLE, XYZ, SINGLE.tobytes(), end="\r"),
    "CR LF": ply("ascii", XYZ, lines(SINGLE), end="\r\n"),
    "CR LF in bytes": ply(LITTLE, XYZ, SINGLE.tobytes(), end="\r\n"),
}


@pytest.mark.parametrize("name", PLY)
@pytest.mark.parametrize("piece", [7, 1 << 17])
def test_ply(name: str, piece: int, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("art_levelset.recon.io.ply.BATCH", piece)
    cloud = read_cloud(write("a.ply", PLY[name]))
    np.testing.assert_allclose(cloud.points, SINGLE, atol=1e-3 if name == "bytes with decimals" else 1e-5)
    assert cloud.normals is None
    assert (cloud.colours is not None) == ("colours" in name or "decimals" in name)
    if cloud.colours is not None:
        np.testing.assert_array_equal(cloud.colours, COLOURS)


@pytest.mark.parametrize("form", ["ascii", LITTLE, "lists", "binary.pcd", "ascii.pcd"])
@pytest.mark.parametrize("promised", [60, 10**15])
def test_a_count_that_is_larger_than_the_file(
    form: str, promised: int, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    if form.endswith("pcd"):
        path = write("a.pcd", pcd(form.removesuffix(".pcd"), count=promised))
    elif form == "lists":
        path = write("a.ply", ply(LITTLE, WITH_LISTS, vertices_with_lists("<"), count=promised))
    else:
        path = write("a.ply", ply(form, XYZ, lines(SINGLE) if form == "ascii" else SINGLE.tobytes(), count=promised))
    np.testing.assert_allclose(read_cloud(path).points, SINGLE, rtol=1e-6)
    suffix = path.suffix
    assert f"a{suffix}: it ends after 40 of {promised:,} points, which are used" in caplog.text


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (ply(LITTLE, ["float x"] * 2 + ["float y", "float z"], b""), "in several ways"),
        (ply(LITTLE, XYZ, b"", count=-1), "its header has the line 'element vertex -1'"),
        (ply(LITTLE, ["list float int a", *XYZ], bytes(99)), "the list 'a' has no whole number of members"),
        (ply(LITTLE, ["list char int a", *XYZ], b"\xff" * 99), "a list has -1 members"),
        (ply("ascii", ["list char int a", *XYZ], "-1 1 2 3\n" * 40), "a list has '-1' members"),
        (ply("ascii", XYZ, "1 2 3\n1 b 3\n" * 20), "the row '1 b 3' has no number in column 2"),
        (ply(LITTLE, XYZ, b"", before="element face 9\nproperty list uint int a\n"), "ends in the element 'face'"),
        (b"ply\nformat ascii 1.0\n" + b"comment a\n" * 200_000, "its header does not end"),
    ],
)
def test_damaged_ply(contents: bytes, message: str, write: Write) -> None:
    with pytest.raises(ValueError, match=message):
        read_cloud(write("a.ply", contents))
