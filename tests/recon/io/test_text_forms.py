"""Clouds as text, as programs write them: each is read right, or refused with a way out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from art_levelset.recon import read_cloud

from .forms import COLOURS, GENERATOR, NORMALS, POINTS, Write, lines, ply, rows, swapped, written_as

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


def test_a_point_whose_name_is_no_number(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    path = write("a.csv", "BM," + SURVEY.removeprefix("1,"))
    with pytest.raises(ValueError, match="can be a number of the point"):
        read_cloud(path)
    assert "a.csv: left out a line before the rows: 'BM," in caplog.text
    caplog.clear()
    np.testing.assert_allclose(read_cloud(path, columns="3,2,4").points, POINTS)
    assert not caplog.text


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
