"""The vertices of OBJ files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import BATCH
from art_levelset.recon.io.dialect import Dialect
from art_levelset.recon.io.text import read_lines

_PLAIN = Dialect(None)


def read_obj(path: Path) -> Iterator[dict[str, NDArray[np.float64]]]:
    """
    Read the `v` lines of an OBJ file, and its `vn` lines.

    Faces say which normals belong to a vertex: its own is their mean, or zero where it is on no face. If no face has
    normals they are those of the vertices where there are as many.

    :param path: The file.
    :return: One batch: `points`, `normals` and `colours`, as far as there are any, each (n, 3).
    :raises ValueError: If a line is not made of numbers, or a face names what is not there.
    """
    kinds: dict[str, list[NDArray[np.float64]]] = {"v": [], "vn": []}
    corners: list[NDArray[np.int64]] = []
    lines = read_lines(path)
    while some := list(islice(lines, BATCH)):
        before = {kind: sum(map(len, batches)) for kind, batches in kinds.items()}
        if own := list(_corners(some, before["v"], before["vn"])):
            corners.append(np.array(own, np.int64))
        for kind, batches in kinds.items():
            rows = [line[len(kind) :] for line in some if line.startswith((f"{kind} ", f"{kind}\t"))]
            if rows:
                width = batches[0].shape[1] if batches else max(3, len(_PLAIN.fields(rows[0])))
                batches.append(_PLAIN.numbers(rows, range(min(width, 7))))
    found = {kind: np.concatenate(batches) for kind, batches in kinds.items() if batches}
    if "v" not in found:
        return
    width = found["v"].shape[1]
    batch = {"points": found["v"][:, :3]}
    if width >= 6:
        batch["colours"] = found["v"][:, width - 3 :]  # after x, y, z, or x, y, z, w
    if corners and "vn" in found:
        batch["normals"] = _normals_of_vertices(len(found["v"]), found["vn"][:, :3], np.concatenate(corners))
    elif len(found.get("vn", ())) == len(found["v"]):
        batch["normals"] = found["vn"][:, :3]
    yield batch


def _corners(lines: Sequence[str], vertices: int, normals: int) -> Iterator[tuple[int, int]]:
    """The vertex and the normal of each corner of faces that has both, counted from 0; so many are before the lines."""
    for line in lines:
        vertices += line.startswith(("v ", "v\t"))
        normals += line.startswith(("vn ", "vn\t"))
        if line.startswith(("f ", "f\t")) and "/" in line:
            for corner in line.split()[1:]:
                parts = corner.split("/")
                if len(parts) == 3 and parts[2]:
                    vertex, normal = int(parts[0]), int(parts[2])
                    yield (
                        vertex - 1 if vertex > 0 else vertices + vertex,
                        normal - 1 if normal > 0 else normals + normal,
                    )


def _normals_of_vertices(count: int, normals: NDArray[np.float64], corners: NDArray[np.int64]) -> NDArray[np.float64]:
    vertex, normal = corners.T
    if corners.min() < 0 or vertex.max() >= count or normal.max() >= len(normals):
        raise ValueError("its faces name vertices or normals that are not there")
    total = np.zeros((count, 3))
    np.add.at(total, vertex, normals[normal])
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    return np.asarray(total / np.maximum(lengths, 1e-30))
