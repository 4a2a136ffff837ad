"""Polylines in files: .ply (vertices and edges), .obj (`l` elements) and .csv (one row a vertex)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves.polylines import Polyline

SUFFIXES = (".ply", ".obj", ".csv")


def write_polylines(lines: Sequence[Polyline], path: str | Path) -> None:
    """
    Write lines in the format that the file's suffix names, without rounding.

    A `.ply` file has the vertices (double) and the edges between them; an `.obj` file one `l` element a line, closed
    ones ending where they begin; a `.csv` file the columns piece, closed (0 or 1), s, x, y, z, with s the length along
    the piece up to the vertex.

    :param lines: The lines.
    :param path: The file; its directory exists.
    :raises ValueError: If the suffix is another.
    :raises OSError: If the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"cannot write lines as {path.suffix!r}, use {', '.join(SUFFIXES)}")
    path.write_bytes({".ply": _ply, ".obj": _obj, ".csv": _csv}[path.suffix.lower()](lines))


def _ply(lines: Sequence[Polyline]) -> bytes:
    vertices = np.concatenate([np.zeros((0, 3)), *(line.points for line in lines)])
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    first = 0
    for line in lines:
        here = np.arange(len(line))
        after = np.roll(here, -1)
        ends = np.stack([here, after], axis=1)
        pairs.append(first + (ends if line.closed else ends[:-1]))
        first += len(line)
    edges = np.concatenate(pairs)
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(vertices)}\nproperty double x\nproperty double y\nproperty double z\n"
        f"element edge {len(edges)}\nproperty int vertex1\nproperty int vertex2\nend_header\n"
    )
    return header.encode("ascii") + vertices.astype("<f8").tobytes() + edges.astype("<i4").tobytes()


def _obj(lines: Sequence[Polyline]) -> bytes:
    rows = [f"v {_numbers(point, ' ')}" for line in lines for point in line.points]
    first = 1
    for line in lines:
        indices = [*range(first, first + len(line)), *([first] if line.closed else [])]
        rows.append("l " + " ".join(map(str, indices)))
        first += len(line)
    return ("\n".join(rows) + "\n").encode("ascii")


def _csv(lines: Sequence[Polyline]) -> bytes:
    rows = ["piece,closed,s,x,y,z"]
    for number, line in enumerate(lines):
        for length, point in zip(line.parameters, line.points, strict=False):
            rows.append(f"{number},{int(line.closed)},{float(length)!r},{_numbers(point, ',')}")
    return ("\n".join(rows) + "\n").encode("ascii")


def _numbers(point: Points, separator: str) -> str:
    return separator.join(repr(float(number)) for number in point)
