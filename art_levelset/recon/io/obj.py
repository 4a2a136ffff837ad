"""The vertices of OBJ files."""

from __future__ import annotations

from collections.abc import Iterator
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
    Read the `v` lines of an OBJ file, and its `vn` lines if there are as many.

    :param path: The file.
    :return: One batch: `points`, `normals` and `colours`, as far as there are any, each (n, 3).
    :raises ValueError: If a line is not made of numbers.
    """
    kinds: dict[str, list[NDArray[np.float64]]] = {"v": [], "vn": []}
    lines = read_lines(path)
    while some := list(islice(lines, BATCH)):
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
    if len(found.get("vn", ())) == len(found["v"]):
        batch["normals"] = found["vn"][:, :3]
    yield batch
