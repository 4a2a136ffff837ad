"""Clouds in the forms in which programs write them: each is read right, or refused with a way out."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from art_levelset.recon import read_cloud
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.io.pcd import decompress_lzf

GENERATOR = np.random.default_rng(0)
POINTS: Points = np.round(GENERATOR.uniform(-2000, 2000, (40, 3)), 3)
"""Some above a thousand and some below, none whole."""
NORMALS: Points = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)
COLOURS = GENERATOR.integers(0, 256, (40, 3), dtype=np.uint8)
SINGLE = POINTS.astype(np.float32)

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, contents: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
        return path

    return write_file


def rows(*columns: NDArray[np.generic], separator: str = " ", form: str = "%.9g") -> list[str]:
    return [separator.join(form % number for number in row) for row in np.concatenate(columns, axis=1)]


def lines(*columns: NDArray[np.generic], separator: str = " ", form: str = "%.9g") -> str:
    return "".join(row + "\n" for row in rows(*columns, separator=separator, form=form))


def written_as(form: Callable[[float], str], separator: str) -> str:
    return "".join(separator.join(map(form, row)) + "\n" for row in POINTS.tolist())


def swapped(text: str) -> str:
    """English numbers as German ones, and the other way round."""
    return text.translate(str.maketrans(",.", ".,"))


SURVEY = "".join(
    f"{number},{north:.3f},{east:.3f},{height:.3f},TREE {number}\n"
    for number, (east, north, height) in enumerate(POINTS, 1)
)

TEXTS: dict[str, str | bytes] = {
    "plain.asc": lines(POINTS),
    "plain.txt": lines(POINTS),
    "plain.xyzn": lines(POINTS, NORMALS),
    "pipes.txt": lines(POINTS, separator=" | "),
    "old_mac.xyz": lines(POINTS).replace("\n", "\r"),
    "transposed.xyz": lines(POINTS.T),
    "transposed.csv": lines(POINTS.T, separator=","),
    "latin_1.csv": ("x;y;z;Höhe\n" + lines(POINTS, POINTS[:, 2:], separator=";")).encode("latin-1"),
    "utf_16.csv": ("x,y,z\n" + lines(POINTS, separator=",")).encode("utf-16"),
    "utf_16_without_mark.csv": ("x,y,z\r\n" + lines(POINTS, separator=",")).encode("utf-16-be"),
    "survey.csv": "Point,Northing,Easting,Elevation,Code\n" + SURVEY,
    "survey_letters.csv": "P,N,E,Z,D\n" + SURVEY,
    "east.csv": "easting, northing, elevation\n" + lines(POINTS, separator=", "),
    "units.csv": "x [m],y [m],z [m]\n" + lines(POINTS, separator=","),
    "units_between_blanks.txt": "x [m]  y [m]  z [m]\n" + lines(POINTS),
    "paraview.csv": '"id","Points:0","Points:1","Points:2"\n'
    + "".join(f"{i},{row}\n" for i, row in enumerate(rows(POINTS, separator=","))),
    "pandas.csv": ",x,y,z\n" + "".join(f"{i},{row}\n" for i, row in enumerate(rows(POINTS, separator=","))),
    "quoted_thousands.csv": "x,y,z\n" + written_as(lambda number: f'"{number:,.3f}"', ","),
    "thousands.csv": "x;y;z\n" + written_as(lambda number: f"{number:,.3f}", ";"),
    "thousands.xyz": written_as(lambda number: f"{number:,.3f}", " "),
    "german.csv": "X;Y;Z\n" + written_as(lambda number: swapped(f"{number:,.3f}"), ";"),
    "swiss.csv": "x;y;z\n" + written_as(lambda number: f"{number:,.3f}".replace(",", "'"), ";"),
    "french.csv": "x;y;z\n" + swapped(written_as(lambda number: f"{number:_.3f}".replace("_", "\u202f"), ";")),
    "decimal_commas.xyz": swapped(lines(POINTS)),
    "decimal_commas_tabs.txt": "X\tY\tZ\n" + swapped(lines(POINTS, separator="\t")),
    "fortran.xyz": lines(POINTS, form="%.9E").replace("E", "D"),
    "fortran_long.xyz": lines(POINTS, form="%.9E").replace("E", ""),
    "comment_at_the_end.csv": "x,y,z\n" + lines(POINTS, separator=",") + "# 40 points\n",
    "comments_in_rows.txt": "".join(f"{row}  # {i} of 40\n" for i, row in enumerate(rows(POINTS))),
    "total_at_the_end.csv": "x,y,z\n" + lines(POINTS, separator=",") + "Total: 40 points\n",
    "title.xyz": "Scan of 2024, hall\n" + lines(POINTS),
    "title_of_three_words.xyz": "a nice scan\n" + lines(POINTS),
    "count.xyz": "40\n" + lines(POINTS),
    "count_and_title.xyz": "40\na title\n" + lines(POINTS),
    "atoms.xyz": "40\nwater\n" + "".join(f"{'HO'[i % 2]} {row}\n" for i, row in enumerate(rows(POINTS))),
    "atoms_without_title.xyz": "40\n\n" + "".join(f"C {row}\n" for row in rows(POINTS)),
    "blocks.pts": "15\n" + lines(POINTS[:15]) + "25\n" + lines(POINTS[15:]),
    "latin_1.obj": ("# größer\no Würfel\n" + "".join(f"v {row}\n" for row in rows(POINTS))).encode("latin-1"),
    "cloudcompare.txt": "//X Y Z Rf Gf Bf Nx Ny Nz\n40\n" + lines(POINTS, COLOURS / 255, NORMALS),
    "cloudcompare.asc": "//X Y Z R G B\n" + lines(POINTS, COLOURS),
    "open3d.xyzrgb": lines(POINTS, COLOURS / 255),
    "no_index.txt": lines(POINTS, GENERATOR.uniform(0, 1, (40, 1))),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("piece", [7, 1 << 17])
def test_text(name: str, piece: int, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("art_levelset.recon.io.tables.BATCH", piece)
    cloud = read_cloud(write(name, TEXTS[name]))
    np.testing.assert_allclose(cloud.points, POINTS, atol=2e-6 if "fortran" in name else 1e-9)
    assert (cloud.normals is not None) == (name in ("plain.xyzn", "cloudcompare.txt"))
    assert (cloud.colours is not None) == name.startswith(("cloudcompare", "open3d"))
    if cloud.colours is not None:
        np.testing.assert_array_equal(cloud.colours, COLOURS)


NUMBERED = "".join(f"{i} {row}\n" for i, row in enumerate(rows(POINTS)))
LABELLED = "".join(f"{i % 3} {row}\n" for i, row in enumerate(rows(POINTS)))
IN_A_GRID = "".join(f"{i // 8} {i % 8} {row} 0.5\n" for i, row in enumerate(rows(POINTS)))
WHOLE = "".join(f"{i} {x:.0f} {y:.0f} {z:.0f}\n" for i, (x, y, z) in enumerate(POINTS))
NAMED_POINTS = "".join(f"P{i} {row}\n" for i, row in enumerate(rows(POINTS)))

AMBIGUOUS: dict[str, tuple[str, str, str | Sequence[int | str]]] = {
    "survey.csv": (SURVEY, "can be a number of the point, .*--columns 3,2,4 if northing, easting", "3,2,4"),
    "numbered.xyz": (NUMBERED, "can be a number of the point, .*say --columns 2,3,4 if x, y and z", (2, 3, 4)),
    "labelled.txt": (LABELLED, "can be a number of the point", [2, 3, 4]),
    "grid.xyz": (IN_A_GRID, "can be row and column of a grid.*say which are x, y and z: --columns", "3,4,5"),
    "named.txt": (NAMED_POINTS, "first columns of numbers are 2, 3, 4.*: --columns 2,1,3 .counted from 1.", "2,3,4"),
    "row_names_of_r.txt": ("x y z\n" + NUMBERED, "has 3 names, x, y, z, for 4 columns; .*--columns", "2,3,4"),
    "title.txt": ("a nice scan\n" + lines(POINTS), "x, y and z, but a, nice, scan; .*--columns", "1,2,3"),
    "angles.csv": (
        "lon,lat,height\n" + lines(POINTS, separator=","),
        "but lon, lat, height .longitude and latitude are angles.*; .*--columns",
        "lon,lat,height",
    ),
    "two_of_each.csv": (
        "x,y,z,Easting,Northing,Elevation\n" + lines(POINTS, POINTS + 1, separator=","),
        "can be read in several ways .x, y, z or Easting, Northing, Elevation",
        "x,y,z",
    ),
    "twice.csv": ("x,y,z,x\n" + lines(POINTS, POINTS[:, :1], separator=","), "in several ways", "1,2,3"),
    "comment.csv": ("# lat lon height\n" + lines(POINTS), "x, y and z, but lat, lon, height", "lat,2,height"),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguity_is_an_error_that_says_how_to_resolve_it(name: str, write: Write) -> None:
    text, message, columns = AMBIGUOUS[name]
    path = write(name, text)
    with pytest.raises(ValueError, match=message) as caught:
        read_cloud(path)
    assert "\n" not in str(caught.value)
    np.testing.assert_allclose(read_cloud(path, columns=columns).points, POINTS)


def test_a_running_number_beside_whole_coordinates(write: Write) -> None:
    path = write("a.xyz", WHOLE)
    with pytest.raises(ValueError, match="can be a number of the point"):
        read_cloud(path)
    np.testing.assert_array_equal(read_cloud(path, columns="2,3,4").points, np.rint(POINTS))


def test_a_comma_between_digits_can_mean_two_things(write: Write) -> None:
    with pytest.raises(ValueError, match="'1,234' can be a thousand or not: write decimal points"):
        read_cloud(write("a.xyz", "1,234 2,345 3,456\n4,567 5,678 6,789\n"))
    with pytest.raises(ValueError, match="both . and , are decimal signs"):
        read_cloud(write("b.xyz", "1.5 2,5 3,5\n" * 12))
    with pytest.raises(ValueError, match="commas can be between its numbers or decimal"):
        read_cloud(write("c.csv", "".join(f"{i},523,{2 * i},877,-{i},121\n" for i in (3, 1, 4, 1, 5, 9, 2, 6))))


def test_rows_that_cannot_be_points(write: Write) -> None:
    with pytest.raises(ValueError, match="it is an ESRI grid"):
        read_cloud(write("a.asc", "ncols 3\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 1\n1 2 3\n4 5 6\n"))
    with pytest.raises(ValueError, match="it has 100 columns: write one point a line"):
        read_cloud(write("b.txt", lines(np.ones((12, 100)))))
    with pytest.raises(ValueError, match="the number of its columns changes: '1 2 3', '1 2 3 4'"):
        read_cloud(write("c.xyz", "1 2 3\n1 2 3 4\n"))
    with pytest.raises(ValueError, match="the row '4.5 z 6.5' has no number in column 2"):
        read_cloud(write("d.xyz", "1.5 2.5 3.5\n4.5 z 6.5\n7.5 8.5 9.5\n"))
    with pytest.raises(ValueError, match="it is not text"):
        read_cloud(write("e.xyz", bytes(range(256))))
    with pytest.raises(ValueError, match="a line is longer than"):
        read_cloud(write("f.xyz", "1 " * (1 << 22)))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("1,2", "columns must be three different numbers, counted from 1, or names, such as 2,1,3"),
        ("1,2,2", "columns must be three different"),
        ((0, 1, 2), "columns must be three different"),
        ((1, 2, True), "columns must be three different"),
        (7, "columns must be three different"),
        ("1,2,9", "columns: there is no column 9, it has 5"),
        ("x,y,z", "columns: no column is called 'x' among Point, Northing, Easting, Elevation, Code"),
        ("2,northing,3", "columns must be three different ones"),
    ],
)
def test_columns_that_are_not_there(columns: object, message: str, write: Write) -> None:
    path = write("a.csv", TEXTS["survey.csv"])
    with pytest.raises(ValueError, match=message):
        read_cloud(path, columns=columns)


def test_columns_of_other_formats(write: Write, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", POINTS[:, [1, 0, 2]])
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.npy", columns="2,1,3").points, POINTS)
    np.savez(tmp_path / "a.npz", points=POINTS[:, [1, 0, 2]], colours=COLOURS)
    cloud = read_cloud(tmp_path / "a.npz", columns=(2, 1, 3))
    np.testing.assert_array_equal(cloud.points, POINTS)
    np.testing.assert_array_equal(cloud.colours, COLOURS)
    np.savez(tmp_path / "b.npz", e=POINTS[:, 0], n=POINTS[:, 1], h=POINTS[:, 2])
    np.testing.assert_array_equal(read_cloud(tmp_path / "b.npz", columns="e,n,h").points, POINTS)
    path = write("a.ply", ply("ascii", ["float a", "float b", "float c"], lines(POINTS)))
    np.testing.assert_array_equal(read_cloud(path, columns=["a", "b", 3]).points, POINTS)
    with pytest.raises(ValueError, match="columns: the columns of .stl files cannot be chosen"):
        read_cloud(write("a.stl", ""), columns="1,2,3")
    with pytest.raises(ValueError, match="they have no names, give their numbers"):
        read_cloud(write("a.xyz", lines(POINTS)), columns="u,v,w")


def ply(
    form: str, properties: Sequence[str], body: str | bytes, *, count: int = 40, before: str = "", end: str = "\n"
) -> bytes:
    header = f"ply\nformat {form} 1.0\ncomment größe\n{before}element vertex {count}\n"
    header += "".join(f"property {item}\n" for item in properties) + "end_header\n"
    data = body if isinstance(body, bytes) else body.replace("\n", end).encode()
    return header.replace("\n", end).encode("latin-1") + data


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


def pcd(form: str, *, count: int = 40, fields: str = "x y z", extra: str = "", body: bytes | None = None) -> bytes:
    numbers = len(fields.split())
    header = f"# .PCD v0.7\nVERSION 0.7\nFIELDS {fields}\nSIZE{' 4' * numbers}\nTYPE{' F' * numbers}\n{extra}"
    header += f"WIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {form}\n"
    if body is None:
        body = lines(SINGLE).encode() if form == "ascii" else SINGLE.astype("<f4").tobytes()
    return header.encode() + body


def packed_colours() -> NDArray[np.float32]:
    red, green, blue = COLOURS.T.astype(np.uint32)
    return ((255 << 24) | (red << 16) | (green << 8) | blue).astype(np.uint32).view(np.float32)[:, None]


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
    np.savez(tmp_path / "b.npz", points=POINTS)
    data = (tmp_path / "b.npz").read_bytes()
    assert data.count(b"(40, 3), }        ") == 1
    (tmp_path / "b.npz").write_bytes(data.replace(b"(40, 3), }        ", b"(40000000000, 3), "[:-1] + b"}"))
    with pytest.raises(ValueError, match="claims to be an array of 960,000,000,000 bytes|is damaged"):
        read_cloud(tmp_path / "b.npz")


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
