"""Laser scans, by laspy: without what their own classification calls noise or withholds."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import BATCH
from art_levelset.untrusted import opened, size_of

logger = logging.getLogger(__name__)

MOST_BYTES = 1 << 26
"""So many bytes of points are read at once."""

NOISE = 7, 18
"""The classes of low and of high noise."""


def read_las(path: Path) -> Iterator[dict[str, NDArray[Any]]]:
    """
    Read positions and colours of the points that are neither noise nor withheld.

    :param path: The file.
    :return: Batches: `points` and, if there are any, `colours`, each (n, 3).
    :raises ValueError: If it is damaged, or all points are left out.
    :raises ImportError: If laspy is missing.
    """
    try:
        import laspy
    except ImportError as error:
        raise ImportError(f"{path}: .las and .laz files need laspy: pip install 'art-levelset[las]'") from error
    left_out = count = 0
    size = _check_header(path)
    backend = laspy.LazBackend.Lazrs  # the parallel one takes what the sizes of chunks claim
    with laspy.open(path, laz_backend=backend, read_evlrs=False) as file, _panics_caught():
        names = {*file.header.point_format.dimension_names}
        for points in file.chunk_iterator(max(1, min(BATCH, MOST_BYTES // size))):
            used = ~np.isin(np.asarray(points.classification), NOISE) & ~np.asarray(points.withheld, dtype=bool)
            batch = {"points": np.stack([points.x, points.y, points.z], axis=1)[used]}
            if {"red", "green", "blue"} <= names:
                batch["colours"] = np.stack([points.red, points.green, points.blue], axis=1)[used]
            count += len(used)
            left_out += len(used) - int(used.sum())
            yield batch
    if left_out == count > 0:
        raise ValueError(f"all of its {count:,} points are of the noise classes 7 and 18, or withheld")
    if left_out:
        counts = f"{left_out:,}", f"{count:,}"
        logger.warning("%s: left out %s of %s points, of the noise classes 7 and 18 or withheld", path, *counts)


def _check_header(path: Path) -> int:
    """
    Look at what a file claims before laspy does: it would make room for any number of records and chunks.

    :return: The bytes of a point before it is compressed.
    """
    with opened(path) as file:
        size = size_of(file)
        file.seek(0)
        header = file.read(375)
        if len(header) < 227 or not header.startswith(b"LASF"):
            raise ValueError("it has no header")
        start, records, form, length = struct.unpack_from("<IIBH", header, 96)
        if start > size or 54 * records > size or length < 20:
            raise ValueError("its header is damaged")
        if form & 0x80:  # compressed: here are the place of the table of chunks, and there its version and their number
            file.seek(start)
            (table,) = struct.unpack("<q", file.read(8).ljust(8, b"\0"))
            file.seek(table if 0 <= table < size else max(size - 8, 0))
            if table < 0:
                (table,) = struct.unpack("<q", file.read(8).ljust(8, b"\0"))
                file.seek(table if 0 <= table < size else 0)
            _, chunks = struct.unpack("<II", file.read(8).ljust(8, b"\0"))
            if not start <= table < size or chunks > size:
                raise ValueError("its table of chunks is damaged")
    return int(length)


@contextmanager
def _panics_caught() -> Iterator[None]:
    """What lazrs raises when it is surprised is no Exception."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError("its compressed points are damaged") from error
