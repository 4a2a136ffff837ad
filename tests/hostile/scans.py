"""Readers of scans and meshes, with files of each form that they read."""

from __future__ import annotations

import gzip
import io
from contextlib import redirect_stderr, redirect_stdout
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from art_levelset.cli.main import main
from art_levelset.recon.io.meshes import read_mesh
from art_levelset.recon.io.reading import read_cloud


@cache
def _ball() -> trimesh.Trimesh:
    ball = trimesh.creation.icosphere(subdivisions=1).apply_translation([10.0, 20.0, 30.0])
    ball.visual.vertex_colors = np.arange(4 * len(ball.vertices)).reshape(-1, 4) % 256
    return ball


def _rows(separator: str, head: str = "", *, normals: bool = False) -> bytes:
    columns = np.hstack([_ball().vertices, _ball().vertex_normals]) if normals else np.asarray(_ball().vertices)
    rows = [separator.join(f"{number:.6f}" for number in row) for row in columns]
    return (head + "\n".join(rows) + "\n").encode()


def _pcd(form: str) -> bytes:
    points = np.asarray(_ball().vertices, np.float32)
    count = len(points)
    head = (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {count}\nHEIGHT 1\n"
        f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {form}\n"
    ).encode()
    if form == "ascii":
        return head + b"".join(b"%f %f %f\n" % tuple(point) for point in points)
    if form == "binary":
        return head + points.tobytes()
    plain = points.T.tobytes()
    packed = b"".join(bytes([len(plain[i : i + 32]) - 1]) + plain[i : i + 32] for i in range(0, len(plain), 32))
    return head + len(packed).to_bytes(4, "little") + len(plain).to_bytes(4, "little") + packed


def _las(path: Path) -> None:
    laspy = pytest.importorskip("laspy")
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.scales, header.offsets = [0.001] * 3, [0.0] * 3
    scan = laspy.LasData(header)
    scan.x, scan.y, scan.z = np.asarray(_ball().vertices).T
    scan.write(path)


def _e57(path: Path) -> None:
    pye57 = pytest.importorskip("pye57")
    file = pye57.E57(str(path), mode="w")
    file.write_scan_raw({f"cartesian{axis}": _ball().vertices[:, i].copy() for i, axis in enumerate("XYZ")})
    file.close()


def _exported(path: Path, **options: Any) -> None:
    _ball().export(path, **options)


def _numpy(path: Path, *, archive: bool) -> None:
    points, colours = np.asarray(_ball().vertices), np.asarray(_ball().visual.vertex_colors)[:, :3]
    if archive:
        np.savez_compressed(path, points=points, colours=colours)
    else:
        np.save(path, points)


def _written(content: bytes) -> Any:
    return lambda path: path.write_bytes(content)


def scans() -> dict[str, tuple[str, Any]]:
    """Suffixes, and what writes a file, by the form's name."""
    names = '"X","Y","Z","Nx","Ny","Nz"\n'
    return {
        "PLY, text": (".ply", partial(_exported, encoding="ascii")),
        "PLY": (".ply", _exported),
        "PCD, text": (".pcd", _written(_pcd("ascii"))),
        "PCD": (".pcd", _written(_pcd("binary"))),
        "PCD, compressed": (".pcd", _written(_pcd("binary_compressed"))),
        "XYZ": (".xyz", _written(_rows(" ", "# a title\n"))),
        "XYZN": (".xyzn", _written(_rows(" ", normals=True))),
        "CSV": (".csv", _written(_rows(",", names, normals=True))),
        "PTS": (".pts", _written(_rows(" ", "42\n"))),
        "TXT": (".txt", _written(_rows("\t"))),
        "OBJ": (".obj", _exported),
        "XYZ, packed": (".xyz.gz", _written(gzip.compress(_rows(" "), mtime=0))),
        "E57": (".e57", _e57),
        "LAS": (".las", _las),
        "LAZ": (".laz", _las),
        "NPY": (".npy", partial(_numpy, archive=False)),
        "NPZ": (".npz", partial(_numpy, archive=True)),
        "STL": (".stl", _exported),
        "OFF": (".off", _exported),
    }


def read_scan(path: Path) -> Any:
    """A cloud that is one."""
    cloud = read_cloud(path)
    assert cloud.points.dtype == np.float64
    assert cloud.points.ndim == 2
    assert cloud.points.shape[1] == 3
    for beside in (cloud.normals, cloud.colours):
        assert beside is None or beside.shape == cloud.points.shape
    return cloud.points, cloud.normals, cloud.colours


def meshes() -> dict[str, tuple[str, Any]]:
    """The same of meshes."""
    return {f"mesh, {suffix}": (suffix, _exported) for suffix in (".ply", ".obj", ".stl", ".off", ".glb")}


def read_triangles(path: Path) -> Any:
    """A mesh that is one."""
    mesh = read_mesh(path, "reference")
    assert mesh.faces.shape[1] == 3
    assert 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices)
    return mesh.vertices, mesh.faces


def command(arguments: list[str]) -> str:
    """
    What a command prints.

    :raises ValueError: If it fails, with its one line on stderr.
    """
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(arguments)
    lines = err.getvalue().splitlines()
    if status == 0:
        return out.getvalue()
    assert status == 2, (status, lines)
    assert len(lines) == 1, lines
    assert lines[0].isprintable(), ascii(lines[0])
    raise ValueError(lines[0])
